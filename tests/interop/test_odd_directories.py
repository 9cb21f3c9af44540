"""Model directories in which something else lies than is looked for: what it is, and what to do, is said."""

import shutil

import numpy as np
import pytest

from t5x_lite import load_pretrained
from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf
from t5x_lite.interop.tensors import Tensor, open_safetensors, write_safetensors
from t5x_lite.params.paths import flatten
from tests.interop.conftest import hf_config, random_tensors, write_directory

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "model"
    write_directory(where, hf_config("t5_1.1"), random_tensors("t5_1.1"))
    return where


def refused(folder, message):
    with pytest.raises(InputError, match=message) as caught:
        load_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pointer_of_git_lfs_is_called_that(folder, name):
    (folder / name).write_text(POINTER)
    refused(folder, f"{name}: a Git LFS pointer, in place of the file itself; run `git lfs pull`")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "flax_model.msgpack", "spiece.model"])
def test_in_place_of_other_files_too(folder, name):
    if name != "spiece.model":
        (folder / "model.safetensors").unlink()
    else:
        for file in folder.glob("tokenizer*"):
            file.unlink()
    (folder / name).write_text(POINTER)
    refused(folder, f"{name}: a Git LFS pointer")


@pytest.mark.parametrize(
    "name, message",
    [
        ("tf_model.h5", "tf_model.h5 cannot be read: fetch the model's safetensors"),
        ("model.gguf", "model.gguf cannot be read"),
        ("model.fp16.safetensors", "a variant such as model.fp16.safetensors only wants that name"),
        (
            "model-00001-of-00002.safetensors",
            "is a shard of several, which model.safetensors.index",
        ),
        ("README.md", r"or its .index.json\)$"),
    ],
)
def test_weights_that_are_not_read_are_named(folder, name, message):
    (folder / "model.safetensors").rename(folder / name)
    refused(folder, message)


def test_a_trainers_output_has_its_checkpoints_named(folder, tmp_path):
    for step in (500, 1000):
        shutil.copytree(folder, tmp_path / "out" / f"checkpoint-{step}")
    refused(tmp_path / "out", "in checkpoint-500, checkpoint-1000: name .*checkpoint-1000, say")


def test_files_and_addresses_are_no_models(folder):
    refused(folder / "model.safetensors", f"a file; give the folder that it lies in, {folder}$")
    refused("https://huggingface.co/google/flan-t5-small", "an address; .* named by its id")


def rename(folder, change):
    tensors = change(open_safetensors(folder / "model.safetensors"))
    kept = {name: tensor.read() for name, tensor in tensors.items()}
    write_safetensors(
        folder / "model.safetensors",
        {name: Tensor(a.shape, a.dtype, lambda a=a: a) for name, a in kept.items()},
        {},
    )


@pytest.mark.parametrize("prefix", ["policy.", "student.model.", "t5."])
def test_whatever_a_script_called_its_t5(folder, prefix):
    expected = flatten(load_hf(folder, param_dtype="float32")[1])
    rename(folder, lambda tensors: {prefix + name: t for name, t in tensors.items()})
    found = flatten(load_hf(folder, param_dtype="float32")[1])
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[path], expected[path]) for path in expected)


def test_two_models_in_one_file_are_told_apart(folder):
    def twice(tensors):
        return {
            prefix + name: tensor
            for prefix in ("policy.", "reference.")
            for name, tensor in tensors.items()
        }

    rename(folder, twice)
    refused(folder, r"holds several models \(policy., reference.\); save the one")


def test_an_export_over_other_files(tmp_path):
    """Where an older tokenizer lay, its special tokens became those of the new one; an adapter would act on it."""
    t5 = load_pretrained("nano")
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": "<extra_id_0>"}')
    (tmp_path / "added_tokens.json").write_text('{"<x>": 2048}')
    (tmp_path / "notes.txt").write_text("mine")
    t5.save_pretrained(tmp_path)
    again = load_pretrained(tmp_path)
    assert (again.tokenizer.eos_id, again.tokenizer.size) == (1, t5.tokenizer.size)
    assert (tmp_path / "notes.txt").is_file()
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="an adapter lies there, .* choose another one"):
        t5.save_pretrained(tmp_path)

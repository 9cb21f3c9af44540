"""Every file format gives the same parameters; a damaged or dangerous file gives one line and nothing else."""

import json
import pickle
import shutil

import flax.serialization
import jax
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf
from t5x_lite.interop.torch_bin import open_torch_bin
from t5x_lite.interop.weight_files import open_weights

COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def to_flax(tensors):
    """The tree of transformers 4's FlaxT5ForConditionalGeneration, from its module definitions."""
    tree = {}
    for name, tensor in tensors.items():
        *modules, _ = name.split(".")
        node = tree
        for module in modules:
            node = node.setdefault(module, {})
        array = tensor.float().numpy().astype(str(tensor.dtype).removeprefix("torch."))
        if "norm" in modules[-1]:
            node["weight"] = array
        elif modules[-1] in ("shared", "relative_attention_bias"):
            node["embedding"] = array
        else:
            node["kernel"] = array.T
    return tree


def with_copies(tensors):
    """A torch state dict as T5's is: the embedding under three or four names that share one storage."""
    copies = [*COPIES] + ([] if "lm_head.weight" in tensors else ["lm_head.weight"])
    return tensors | {name: tensors["shared.weight"] for name in copies}


def write(directory, kind, tensors):
    bin_file = directory / "pytorch_model.bin"
    if kind == "bin":
        torch.save(with_copies(tensors), bin_file)
    elif kind == "legacy bin":
        torch.save(with_copies(tensors), bin_file, _use_new_zipfile_serialization=False)
    elif kind == "msgpack":
        data = flax.serialization.to_bytes(to_flax(tensors))
        (directory / "flax_model.msgpack").write_bytes(data)
    elif kind == "safetensors":
        save_file(tensors, directory / "model.safetensors")
    else:  # two shards of a kind
        stem, end = {
            "safetensors shards": ("model", "safetensors"),
            "bin shards": ("pytorch_model", "bin"),
        }[kind]
        names = sorted(tensors)
        weight_map = {}
        for number, part in enumerate((names[:7], names[7:]), start=1):
            file = f"{stem}-{number:05}-of-00002.{end}"
            saver = save_file if end == "safetensors" else torch.save
            saver({name: tensors[name] for name in part}, directory / file)
            weight_map |= dict.fromkeys(part, file)
        (directory / f"{stem}.{end}.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.fixture
def directory(oracle, tmp_path):
    """A model directory without weights yet."""
    shutil.copy(oracle.directory / "config.json", tmp_path)
    return tmp_path


def assert_equal_trees(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(
    "kind", ["bin", "legacy bin", "msgpack", "safetensors shards", "bin shards"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_format_gives_the_same_parameters(oracle, directory, kind, dtype):
    tensors = {name: tensor.to(dtype) for name, tensor in oracle.tensors.items()}
    write(directory, kind, tensors)
    config, params = load_hf(directory, param_dtype=None)
    reference = directory / "reference"
    reference.mkdir()
    shutil.copy(directory / "config.json", reference)
    write(reference, "safetensors", tensors)
    expected_config, expected = load_hf(reference, param_dtype=None)
    assert config == expected_config
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {str(dtype).split(".")[1]}
    assert_equal_trees(params, expected)


def test_of_several_files_the_one_that_transformers_reads_is_read(oracle, directory, caplog):
    """An old flax_model.msgpack stays behind when a repository gets newer weights; transformers reads it on demand."""
    halves = {name: tensor / 2 for name, tensor in oracle.tensors.items()}
    quarters = {name: tensor / 4 for name, tensor in oracle.tensors.items()}
    name = "encoder.final_layer_norm.weight"
    for kind, tensors in (("msgpack", quarters), ("bin", halves), ("safetensors", oracle.tensors)):
        write(directory, kind, tensors)
        with caplog.at_level("INFO", "t5x_lite"):
            np.testing.assert_array_equal(
                open_weights(directory)[name].read(), tensors[name].numpy()
            )
    assert (
        "model.safetensors is read, and pytorch_model.bin, flax_model.msgpack left" in caplog.text
    )


def test_views_of_one_storage_are_read_apart(tmp_path):
    base = torch.arange(24, dtype=torch.float32)
    views = {
        "all": base.view(4, 6),
        "transposed": base.view(4, 6).T,
        "middle": base[5:9],
        "steps": base[1::5],
        "scalar": base[7],
        "none": base[:0],
        "spread": base[3:4].expand(3),
    }
    for kind in (True, False):
        torch.save(views, tmp_path / "x.bin", _use_new_zipfile_serialization=kind)
        found = open_torch_bin(tmp_path / "x.bin")
        for name, view in views.items():
            assert found[name].shape == view.shape
            np.testing.assert_array_equal(found[name].read(), view.numpy(), err_msg=name)


def test_large_arrays_in_chunks_are_joined(oracle, directory, monkeypatch):
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 1000)
    write(directory, "msgpack", oracle.tensors)
    assert b"__msgpack_chunked_array__" in (directory / "flax_model.msgpack").read_bytes()
    assert_equal_trees(
        load_hf(directory, param_dtype=None), load_hf(oracle.directory, param_dtype=None)
    )


class Bomb:
    def __reduce__(self):
        import os

        return os.system, ("touch exploded",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(2), "x": Bomb()}, "x.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"x\.bin: refused to load (posix|nt)\.system"):
        open_torch_bin(tmp_path / "x.bin")
    assert not (tmp_path / "exploded").exists()


def test_a_pickle_of_something_else_is_refused(tmp_path):
    torch.save({"w": torch.ones(2, dtype=torch.int64)}, tmp_path / "int.bin")
    with pytest.raises(
        InputError, match=r"int\.bin: w is a torch\.LongStorage; weights must be floats"
    ):
        open_torch_bin(tmp_path / "int.bin")["w"].read()
    torch.save({"optimizer": {"step": torch.ones(1)}}, tmp_path / "nested.bin")
    with pytest.raises(InputError, match=r"nested\.bin: optimizer is a dict, not a tensor"):
        open_torch_bin(tmp_path / "nested.bin")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(
        InputError, match=r"plain\.bin: truncated or damaged \(not a PyTorch file\)"
    ):
        open_torch_bin(tmp_path / "plain.bin")


@pytest.mark.parametrize("kind", ["safetensors", "msgpack", "bin", "legacy bin"])
def test_a_truncated_file_is_named_wherever_it_ends(oracle, directory, kind):
    write(directory, kind, oracle.tensors)
    (file,) = (path for path in directory.iterdir() if path.name != "config.json")
    whole = file.read_bytes()
    for size in (0, 1, 7, 100, 1000, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(InputError, match=f"{file.name}: truncated or damaged"):
            load_hf(directory, param_dtype=None)


def test_missing_files_are_named(oracle, directory):
    with pytest.raises(InputError, match="no weights; expected one of model.safetensors"):
        load_hf(directory, param_dtype=None)
    write(directory, "safetensors shards", oracle.tensors)
    (directory / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"not there: \['model-00002-of-00002.safetensors'\]"):
        load_hf(directory, param_dtype=None)
    (directory / "model.safetensors.index.json").write_text('{"weight_map": ')
    with pytest.raises(InputError, match="index.json: not an index of weight files"):
        load_hf(directory, param_dtype=None)

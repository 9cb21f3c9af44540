"""Adapters whose files are where they are not looked for, or do not fit each other."""

import json
import logging
import re
import shutil

import jax
import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from t5x_lite import load_pretrained
from t5x_lite.errors import InputError
from t5x_lite.evaluation.text_classifier import load_text_classifier
from t5x_lite.interop.adapter_source import adapter_of
from t5x_lite.interop.hub import adapter_directory, model_directory
from t5x_lite.interop.peft import load_adapter
from tests.interop.test_peft_fields import adapted, torch_base

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture
def saved(base, tmp_path):
    folder = tmp_path / "adapter"
    adapted(base).save_pretrained(folder)
    return folder


def say(folder, **fields):
    file = folder / CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def change(folder, change):
    tensors = change(load_file(folder / TENSORS))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / TENSORS)


def read(base, folder):
    return load_adapter(folder, base[1], base[2])


@pytest.mark.parametrize("fields", [{"r": 16}, {"rank_pattern": {"SelfAttention.q": 7}}], ids=str)
def test_factors_of_another_rank_than_the_configs_are_refused(base, saved, fields):
    """The scale is alpha by rank: by which one, only those who mixed the files know. peft refuses them, too."""
    say(saved, **fields)
    with pytest.raises(RuntimeError, match="size mismatch"):
        peft.PeftModel.from_pretrained(torch_base(base), saved)
    with pytest.raises(
        InputError, match=r"factors of rank 3, and its config says (16|7) \(r, rank_p"
    ):
        read(base, saved)
    say(saved, r=16, rank_pattern={"^.*q": 3, "v": 3})
    read(base, saved)


@pytest.mark.parametrize("targets", [["q"], "q", r".*\.q", ["v", "SelfAttention.q"]], ids=str)
def test_factors_of_modules_that_are_no_targets_are_refused(base, saved, targets):
    """peft leaves them out, without a word: the same files would be two adapters."""
    say(saved, target_modules=targets)
    with pytest.raises(InputError, match="holds factors of .*, which target_modules = .* does not"):
        read(base, saved)


@pytest.mark.parametrize("targets", ["all-linear", r".*\.(q|v)", r"(?=.).*\.q", None, []], ids=str)
def test_other_ways_to_name_them(base, saved, targets):
    say(saved, target_modules=targets)
    read(base, saved)


@pytest.mark.parametrize("layers", [None, [0]])
def test_factors_that_are_missing_are_told(base, saved, caplog, layers):
    change(saved, lambda tensors: {name: t for name, t in tensors.items() if "block.0." in name})
    say(saved, layers_to_transform=layers)
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        read(base, saved)
    told = re.findall(r"(\d+) of the (\d+) modules that target_modules names", caplog.text)
    assert told == ([("10", "16")] if layers is None else [])


def test_an_adapter_that_does_nothing_is_told(base, saved, caplog):
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        read(base, saved)
        assert not caplog.records
        change(saved, lambda tensors: {n: t * ("lora_B" not in n) for n, t in tensors.items()})
        read(base, saved)
    assert "all of its lora_B are zero, so it changes nothing" in caplog.text


@pytest.mark.parametrize("name", ["ranking", "checkpoint-500"])
def test_an_adapter_in_a_folder_below_is_named(base, saved, name, tmp_path):
    shutil.copytree(saved, tmp_path / "out" / name)
    for call in (lambda: read(base, tmp_path / "out"), lambda: load_pretrained(tmp_path / "out")):
        with pytest.raises(InputError) as caught:
            call()
        if "no adapter there" in str(caught.value):
            assert f"there is one in {name}: name {tmp_path / 'out' / name}" in str(caught.value)
    with pytest.raises(InputError, match="a file; give the folder that it lies in"):
        read(base, saved / TENSORS)


def test_an_adapter_that_git_left_a_pointer_of(base, saved):
    (saved / TENSORS).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 9\n"
    )
    with pytest.raises(InputError, match="a Git LFS pointer.*git lfs pull"):
        read(base, saved)


def test_the_adapter_of_a_classifier_is_called_that(tmp_path):
    config = transformers.RobertaConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )  # fmt: skip
    model = transformers.RobertaForSequenceClassification(config)
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
    peft.get_peft_model(model, settings).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="an adapter, and no .*AutoPeftModelForSequenceClassifica"):
        load_text_classifier(tmp_path)


def test_weights_beside_an_adapter_on_the_hub(base, saved, tmp_path, monkeypatch):
    """TRL leaves the value head so; transformers puts the adapter on, from a directory and by the hub id."""
    torch.save({"v_head.summary.weight": torch.zeros(1, 4)}, saved / "pytorch_model.bin")
    repository = tmp_path / "hub" / "models--me--tuned"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    shutil.copytree(saved, repository / "snapshots" / ("a" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = model_directory("me/tuned")
    assert adapter_of("me/tuned") == adapter_directory("me/tuned") == found
    trees = [jax.tree.leaves(read(base, folder).tree) for folder in (saved, found)]
    assert all(map(np.array_equal, *trees))

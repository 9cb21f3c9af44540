"""Adapters as peft's users make them: every field that is read gives peft's merged weights, others are refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf
from t5x_lite.interop.names import name_table
from t5x_lite.interop.peft import load_adapter, save_adapter
from t5x_lite.params.lora import merge
from t5x_lite.params.paths import flatten


def torch_base(base):
    return transformers.T5ForConditionalGeneration.from_pretrained(base[0]).eval()


def adapted(base, **fields):
    """A peft model whose adapter does something."""
    settings = dict(task_type="SEQ_2_SEQ_LM", r=3, lora_alpha=6, target_modules=["q", "v"])
    model = peft.get_peft_model(torch_base(base), peft.LoraConfig(**settings | fields)).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_A" in name or "lora_B" in name or "lora_embedding" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
        if "magnitude" in name:
            parameter.data = parameter.data * 1.1
    return model


def assert_merges_alike(base, folder, model):
    _, config, params = base
    adapter = load_adapter(folder, config, params)
    merged = flatten(merge(params, jax.tree.map(jnp.asarray, adapter.tree)))
    theirs = dict(model.merge_and_unload().named_parameters())
    changed = 0
    for entry in name_table(config):
        expected = theirs[entry.hf_name].detach().numpy()
        found = entry.to_hf(np.asarray(merged[entry.path]))
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=entry.path)
        changed += not np.array_equal(found, entry.to_hf(np.asarray(flatten(params)[entry.path])))
    assert changed == len({path.rpartition("/")[0] for path in flatten(adapter.tree)}) > 0
    return adapter


READ = {
    "one layer": {"layers_to_transform": [1], "layers_pattern": "block"},
    "layers without pattern": {"layers_to_transform": [0], "layers_pattern": ["block"]},
    "regex": {"target_modules": r"decoder\.block\.\d\.layer\.1\.EncDecAttention\.(q|k)"},
    "all-linear": {"target_modules": "all-linear"},
    "excluded": {"target_modules": ["q", "k", "wo"], "exclude_modules": r".*decoder.*"},
    "excluded names": {"target_modules": ["q", "k", "wo"], "exclude_modules": ["wo"]},
    "fan in": {"fan_in_fan_out": True},
    "no bias to train": {"bias": "lora_only"},
    "ranks": {"rank_pattern": {r"block\.1\..*\.q": 2, "v": 5}, "alpha_pattern": {r".*\.v": 3}},
    "whole names": {"alpha_pattern": {r"encoder.block.0.layer.0.SelfAttention.q": 11}},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal", "r": 4},
    "no init": {"init_lora_weights": False},
    "rslora and dora": {"use_rslora": True, "use_dora": True},
    "output projection": {"target_modules": ["lm_head", "o"]},
}


@pytest.mark.parametrize("fields", READ.values(), ids=READ)
def test_what_is_read_merges_as_in_peft(base, tmp_path, fields):
    model = adapted(base, **fields)
    model.save_pretrained(tmp_path / "theirs")
    adapter = assert_merges_alike(base, tmp_path / "theirs", model)
    # And what we write of it, peft reads as the same.
    save_adapter(tmp_path / "ours", base[1], base[2], adapter, str(base[0]))
    again = peft.PeftModel.from_pretrained(torch_base(base), tmp_path / "ours").eval()
    assert_merges_alike(base, tmp_path / "ours", again)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: name.removeprefix("base_model.model."),
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
    ],
)
def test_names_of_a_state_dict_that_was_saved_as_it_is(base, tmp_path, rename):
    model = adapted(base)
    model.save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = {rename(name): tensor for name, tensor in load_file(file).items()}
    assert not tensors.keys() & load_file(file).keys()
    save_file(tensors, file)
    assert_merges_alike(base, tmp_path, model)


REFUSED = {
    "modules_to_save": ({"modules_to_save": ["lm_head"]}, "modules_to_save = "),
    "bias": ({"bias": "all"}, "bias = 'all' is not supported"),
    "lora_bias": ({"lora_bias": True}, "lora_bias = True|adapter"),
    "tokens": ({"trainable_token_indices": {"shared": [3, 4]}}, "trainable_token_indices = "),
    "embedding": ({"target_modules": ["shared", "q"]}, "no place for.*shared"),
}


@pytest.mark.parametrize("fields, message", REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_is_refused_by_name_with_the_way_out(base, tmp_path, fields, message):
    if fields.get("lora_bias"):  # peft wants layers with biases for it
        adapted(base).save_pretrained(tmp_path)
        file = tmp_path / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    else:
        adapted(base, **fields).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        load_adapter(tmp_path, base[1], base[2])
    assert "AutoPeftModelForSeq2SeqLM" in str(caught.value) and "\n" not in str(caught.value)


def test_a_resized_vocabulary_is_refused_and_the_way_out_leads_out(base, tmp_path):
    _, config, params = base
    model = torch_base(base)
    model.resize_token_embeddings(98)
    model = peft.get_peft_model(
        model, peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=2, target_modules=["q", "v"])
    )
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    with pytest.raises(
        InputError, match="an embedding of its own .a resized vocabulary.*merge_and_unload"
    ):
        load_adapter(tmp_path / "adapter", config, params)
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    assert load_hf(tmp_path / "merged", param_dtype=None)[0].vocab_size == 98


@pytest.mark.parametrize(
    "kind, merges", [("IA3", True), ("ADALORA", True), ("PREFIX_TUNING", False)]
)
def test_other_kinds_of_adapters(base, tmp_path, kind, merges):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": kind}))
    with pytest.raises(InputError, match=f"peft_type must be .*got '{kind}'") as caught:
        load_adapter(tmp_path, base[1], base[2])
    assert ("merge_and_unload" in str(caught.value)) == merges

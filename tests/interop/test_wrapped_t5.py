"""T5s whose tensors were saved by a wrapper, and what lies beside them in the file."""

import logging

import jax
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf

WRAPS = {
    "module": lambda name: f"module.{name}",
    "compiled": lambda name: f"_orig_mod.{name}",
    "compiled within": lambda name: name.replace("block.0.", "block.0._orig_mod."),
    "fsdp": lambda name: f"_fsdp_wrapped_module.{name}".replace(
        "block.1.", "block.1._fsdp_wrapped_module."
    ),
    "trl": lambda name: f"pretrained_model.{name}",
    "lightning": lambda name: f"model.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "task": lambda name: f"transformer.{name}",
}


@pytest.fixture
def directory(oracle, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text((oracle.directory / "config.json").read_text())
    return folder


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_wrappers_prefix_is_no_part_of_a_name(oracle, directory, wrap):
    tensors = {WRAPS[wrap](name): tensor for name, tensor in oracle.tensors.items()}
    assert tensors.keys() != oracle.tensors.keys()
    save_file(tensors, directory / "model.safetensors")
    found, expected = (load_hf(d, param_dtype=None) for d in (directory, oracle.directory))
    assert found[0] == expected[0]
    jax.tree.map(np.testing.assert_array_equal, found[1], expected[1])


def test_a_value_head_and_buffers_are_passed_over_in_one_line(oracle, directory, caplog):
    more = {
        "v_head.summary.weight": torch.ones(1, 32),
        "v_head.summary.bias": torch.ones(1),
        "position_ids": torch.arange(9),
        "qa_outputs.weight": torch.ones(2, 32),
        "classification_head.dense.weight": torch.ones(32, 32),
        "encoder.block.7.layer.0.layer_norm.weight": torch.ones(32),
    }
    save_file(oracle.tensors | more, directory / "model.safetensors")
    with caplog.at_level(logging.WARNING, "t5x_lite"):
        params = load_hf(directory, param_dtype=None)[1]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "passed over" in line and "and 2 more" in line and str(directory) in line
    expected = load_hf(oracle.directory, param_dtype=None)[1]
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert len(load_file(directory / "model.safetensors")) == len(oracle.tensors) + 6


def test_two_tensors_of_one_name_are_refused(oracle, directory):
    twice = oracle.tensors | {"module.shared.weight": oracle.tensors["shared.weight"] + 1}
    save_file(twice, directory / "model.safetensors")
    with pytest.raises(InputError, match=r"holds two tensors for shared.weight"):
        load_hf(directory, param_dtype=None)


def test_an_adapter_among_the_weights_is_refused_with_the_way_out(oracle, directory):
    name = "encoder.block.0.layer.0.SelfAttention.q"
    tensors = dict(oracle.tensors)
    tensors[f"{name}.base_layer.weight"] = tensors.pop(f"{name}.weight")
    tensors[f"{name}.lora_A.default.weight"] = torch.ones(2, 32)
    save_file(
        {f"base_model.model.{n}": t for n, t in tensors.items()}, directory / "model.safetensors"
    )
    with pytest.raises(InputError, match=r"an adapter lies among the weights.*merge_and_unload"):
        load_hf(directory, param_dtype=None)


def test_a_quantized_weight_is_refused_by_its_type(oracle, directory):
    tensors = oracle.tensors | {"shared.weight": torch.ones(96, 32, dtype=torch.int8)}
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(InputError, match="shared.weight has type I8; weights must be floats"):
        load_hf(directory, param_dtype=None)

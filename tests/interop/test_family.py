"""mT5, ByT5 and UMT5 as Hugging Face directories, in and out; their logits and gradients: test_hf_parity.py."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from t5x_lite.interop.hf import load_hf, save_hf

TOKENS = np.array([[5, 9, 17, 3, 1, 0], [8, 4, 1, 0, 0, 0]])
DECODER = np.array([[0, 7, 30], [0, 12, 11]])


def logits(model):
    tokens = torch.tensor(TOKENS)
    with torch.no_grad():
        return model(
            input_ids=tokens,
            attention_mask=(tokens != 0).long(),
            decoder_input_ids=torch.tensor(DECODER),
        ).logits.numpy()


@pytest.fixture(scope="module")
def exported(any_oracle, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported")
    save_hf(directory, *load_hf(any_oracle.directory, param_dtype=None))
    return directory


def test_there_and_back_is_bit_identical(any_oracle, exported):
    again = load_file(exported / "model.safetensors")
    assert again.keys() == any_oracle.tensors.keys()
    for name, tensor in any_oracle.tensors.items():
        assert torch.equal(again[name], tensor), name
    first, second = (load_hf(d, param_dtype=None)[0] for d in (any_oracle.directory, exported))
    assert first == second


def test_transformers_loads_the_export_as_the_model_it_was(any_oracle, exported, torch_of):
    model = torch_of(exported)
    assert type(model) is type(any_oracle.model)
    np.testing.assert_array_equal(logits(model), logits(any_oracle.model))
    was, now = (
        json.loads((directory / "config.json").read_text())
        for directory in (any_oracle.directory, exported)
    )
    assert (now["model_type"], now["architectures"]) == (was["model_type"], was["architectures"])


@pytest.mark.parametrize("model_type, scaled", [("t5", True), ("mt5", False), ("umt5", True)])
def test_what_is_tied_is_scaled_but_in_mt5(tied_directory, tmp_path, model_type, scaled):
    """transformers 5 on files that do not say; a scale_decoder_outputs of one's own counts in each."""
    directory = shutil.copytree(tied_directory, tmp_path / "model")
    path = directory / "config.json"
    fields = json.loads(path.read_text()) | {"model_type": model_type}
    biases = "relative_attention_bias"
    if model_type == "umt5":  # one a layer
        tensors = load_file(directory / "model.safetensors")
        layers = (("encoder", 2), ("decoder", 3))
        for stack, count in layers:
            name = f"{stack}.block.{{}}.layer.0.SelfAttention.{biases}.weight"
            tensors |= {name.format(i): tensors[name.format(0)].clone() for i in range(count)}
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    for said, expected in ((None, scaled), (True, True), (False, False)):
        path.write_text(json.dumps(fields | {"scale_decoder_outputs": said}))
        config, _ = load_hf(directory, param_dtype=None)
        assert config.scale_decoder_outputs == expected
        assert config.model_type == model_type

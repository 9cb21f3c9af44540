"""What hubs have in config.json beside the plain cases, read as transformers reads it or refused by its field."""

import numpy as np
import pytest
import torch
import transformers

from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf, save_hf
from t5x_lite.interop.hf_config import config_from_hf, config_to_hf
from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5
from tests.interop.conftest import hf_config, load_torch, random_tensors, write_directory

CLASSES = {
    "t5": transformers.T5Config,
    "mt5": transformers.MT5Config,
    "umt5": transformers.UMT5Config,
}
# What transformers calls the functions: two names of one function are one.
SAME = {"gelu": "gelu_erf", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "swish": "silu"}


def feed_forward(fields):
    config = config_from_hf(fields, separate_head=True, where="config.json")
    return config.is_gated, config.activation


@pytest.mark.parametrize("model_type", CLASSES)
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"feed_forward_proj": "gelu"},
        {"feed_forward_proj": "gated-gelu_pytorch_tanh"},
        {"feed_forward_proj": "gated-swish"},
        # transformers #20250: what FLAN-T5's said at first.
        {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu", "is_gated_act": True},
        {"dense_act_fn": "relu"},
        {"feed_forward_proj": "relu", "dense_act_fn": "gelu_new", "is_gated_act": True},
        {"feed_forward_proj": "gated-silu", "is_gated_act": False},
    ],
    ids=str,
)
def test_the_feed_forward_layer_is_transformers(model_type, said):
    fields = {n: v for n, v in hf_config("t5_1.0").items() if n != "feed_forward_proj"}
    fields |= {"model_type": model_type} | said
    theirs = CLASSES[model_type](**said)
    expected = theirs.is_gated_act, SAME.get(theirs.dense_act_fn, theirs.dense_act_fn)
    assert feed_forward(fields) == expected
    written = config_to_hf(config_from_hf(fields, separate_head=True, where=""), "float32")
    named = ("feed_forward_proj", "dense_act_fn", "is_gated_act")
    again = CLASSES[model_type](**{name: written[name] for name in named})
    assert (again.is_gated_act, SAME.get(again.dense_act_fn, again.dense_act_fn)) == expected
    assert feed_forward(written) == expected


@pytest.mark.parametrize(
    "said, message",
    [
        ({"dense_act_fn": "quick_gelu"}, "dense_act_fn is 'quick_gelu'; supported: relu, gelu,"),
        ({"feed_forward_proj": 3}, "feed_forward_proj is 3; .* 'gated-' before them"),
        ({"is_gated_act": "yes"}, "is_gated_act is 'yes'; expected true or false"),
    ],
)
def test_other_feed_forward_layers_are_refused(said, message):
    with pytest.raises(InputError, match=f"config.json: {message}"):
        feed_forward(hf_config("t5_1.1") | said)


def test_the_activation_that_is_said_beside_acts(tmp_path):
    config = hf_config("t5_1.1") | {"dense_act_fn": "gelu", "is_gated_act": True}
    where = write_directory(tmp_path / "flan", config, random_tensors("t5_1.1"))
    tokens, decoder = np.array([[5, 9, 17, 1]], np.int32), np.array([[0, 7, 30]], np.int32)
    with torch.no_grad():
        given = dict(input_ids=torch.tensor(tokens), decoder_input_ids=torch.tensor(decoder))
        expected = load_torch(where)(**given).logits.numpy()
    loaded, params = load_hf(where, param_dtype=None)
    save_hf(tmp_path / "again", loaded, params)
    assert load_hf(tmp_path / "again", param_dtype=None)[0] == loaded
    logits = T5(loaded, Execution()).apply({"params": params}, tokens, decoder)
    # The tanh form is 5e-4 away.
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def quantized(tensors, method):
    def changed(name, tensor):
        if "block" not in name or tensor.ndim < 2:
            return {name: tensor}
        if method == "gptq":
            return {name.replace("weight", "qweight"): tensor.to(torch.int32)}
        if method == "bitsandbytes":
            return {name: torch.zeros((tensor.numel() // 2, 1), dtype=torch.uint8)}
        return {name: tensor.to(torch.int8), name.replace("weight", "SCB"): tensor[:, 0].clone()}

    return {n: t for name, tensor in tensors.items() for n, t in changed(name, tensor).items()}


@pytest.mark.parametrize("method", ["gptq", "bitsandbytes", "bitsandbytes 8 bit"])
def test_quantized_weights_are_called_that(method, tmp_path):
    config = hf_config("t5_1.1") | {"quantization_config": {"quant_method": method}}
    where = write_directory(tmp_path / "m", config, quantized(random_tensors("t5_1.1"), method))
    with pytest.raises(InputError, match=rf"quantization_config: .*quantized \({method}\).*dequan"):
        load_hf(where, param_dtype=None)


def test_floats_of_a_quantized_config_are_read(tmp_path):
    config = hf_config("t5_1.1") | {"quantization_config": {"load_in_8bit": True}}
    where = write_directory(tmp_path / "m", config, random_tensors("t5_1.1"))
    assert load_hf(where, param_dtype=None)[0].vocab_size == 96

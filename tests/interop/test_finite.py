"""Weights that are not finite are neither read nor written; the message names the tensor."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.foreign.hashes import FILE as HASHES
from t5x_lite.interop.finite import is_finite
from t5x_lite.interop.hf import load_hf, save_hf
from t5x_lite.interop.peft import load_adapter, save_adapter
from t5x_lite.interop.tensors import Tensor, open_safetensors, write_safetensors
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5
from t5x_lite.params.adapters import Adapter
from t5x_lite.params.soft_prompts import SOFT_PROMPT, SoftPromptSettings

CONFIG = T5Config(
    vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_encoder_layers=1, num_decoder_layers=1,
    num_heads=2, tie_word_embeddings=True, scale_decoder_outputs=True, dropout_rate=0.0,
)  # fmt: skip
KERNEL = "encoder/layers_0/mlp/wo/kernel"


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_every_type(dtype, bad):
    array = np.array([0.0, -1.0, 6e4, 1e-7] * 3).astype(dtype).reshape(3, 4)
    assert is_finite(array) and is_finite(array.T) and is_finite(array[:0])
    array[2, 1] = bad
    assert not is_finite(array) and not is_finite(array.T)


@pytest.fixture(scope="module")
def params():
    return init_params(T5(CONFIG, Execution()), jax.random.key(0))


def spoilt(params, value):
    flat = {path: leaf for path, leaf in params.items()}
    wo = params["encoder"]["layers_0"]["mlp"]["wo"]
    broken = wo["kernel"].at[1, 2].set(value)
    layer = {**params["encoder"]["layers_0"]}
    layer["mlp"] = {**layer["mlp"], "wo": {"kernel": broken}}
    flat["encoder"] = {**params["encoder"], "layers_0": layer}
    return flat


def test_an_export_that_is_not_finite_leaves_the_one_before(params, tmp_path):
    save_hf(tmp_path, CONFIG, params)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(InputError, match=f"{KERNEL}: 1 of its 64 numbers are not finite"):
        save_hf(tmp_path, CONFIG, spoilt(params, jnp.nan))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_model_file_that_is_not_finite_is_refused(params, tmp_path):
    save_hf(tmp_path, CONFIG, params)
    file = tmp_path / "model.safetensors"
    arrays = {name: tensor.read().copy() for name, tensor in open_safetensors(file).items()}
    (tmp_path / HASHES).unlink()  # as a file from elsewhere has none
    name = "decoder.block.0.layer.0.SelfAttention.q.weight"
    arrays[name][0, 0] = np.inf
    write_safetensors(
        file,
        {n: Tensor(a.shape, a.dtype, lambda a=a: a) for n, a in arrays.items()},
    )
    with pytest.raises(InputError, match=f"{name}: 1 of its 64 numbers") as raised:
        load_hf(tmp_path, param_dtype="bfloat16")
    assert "\n" not in str(raised.value)


def test_an_adapter_that_is_not_finite(params, tmp_path):
    rows = np.ones((2, CONFIG.d_model), np.float32)
    settings = SoftPromptSettings(length=2, init_from="normal")
    save_adapter(tmp_path, CONFIG, params, Adapter(settings, {SOFT_PROMPT: rows}), "base")
    bad = rows.copy()
    bad[0, 0] = np.nan
    with pytest.raises(InputError, match="save_adapter: prompt_embeddings: 1 of its 16 numbers"):
        save_adapter(tmp_path, CONFIG, params, Adapter(settings, {SOFT_PROMPT: bad}), "base")
    (tmp_path / HASHES).unlink()
    file = tmp_path / "adapter_model.safetensors"
    write_safetensors(file, {"prompt_embeddings": Tensor(bad.shape, bad.dtype, lambda: bad)})
    with pytest.raises(InputError, match="prompt_embeddings holds values that are not finite"):
        load_adapter(tmp_path, CONFIG, None)

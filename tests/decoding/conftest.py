"""Tiny random models whose greedy rows end by eos at varied lengths, and the same weights in torch."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import save_file

from t5x_lite.decoding.generate import Generator
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

T5_1_0 = T5Config(
    vocab_size=96,
    d_model=32,
    d_kv=8,
    d_ff=64,
    num_encoder_layers=2,
    num_decoder_layers=2,
    num_heads=4,
    tie_word_embeddings=True,
    scale_decoder_outputs=True,
)
T5_1_1 = dataclasses.replace(
    T5_1_0,
    feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,
    scale_decoder_outputs=False,
)


@dataclasses.dataclass
class Pair:
    """One model, here and in torch."""

    config: T5Config
    params: dict[str, Any]
    generator: Generator
    torch_model: transformers.T5ForConditionalGeneration

    def inputs(self, batch: int, length: int, *, left: bool = False, seed: int = 0) -> np.ndarray:
        """Rows of mixed lengths, padded to `length` on the right or on the left."""
        rng = np.random.default_rng(seed)
        rows = np.zeros((batch, length), np.int32)
        for row in rows:
            used = int(rng.integers(3, length + 1))
            where = slice(length - used, length) if left else slice(0, used)
            row[where] = [*rng.integers(2, self.config.vocab_size, used - 1), 1]
        return rows

    def torch_generate(self, inputs: np.ndarray, **settings: Any) -> Any:
        """transformers' `generate`, with the logits of each step (before processors)."""
        tokens = torch.tensor(inputs, dtype=torch.long)
        with torch.no_grad():
            return self.torch_model.generate(
                tokens,
                attention_mask=(tokens != 0).long(),
                output_logits=True,
                output_scores=True,
                return_dict_in_generate=True,
                **settings,
            )


@pytest.fixture(scope="session")
def gated_pair(tmp_path_factory) -> Pair:
    """T5 1.1."""
    return make_pair(T5_1_1, 3, 2.0, tmp_path_factory.mktemp("t5_1_1"))


@pytest.fixture(scope="session")
def tied_pair(tmp_path_factory) -> Pair:
    """T5 1.0."""
    return make_pair(T5_1_0, 3, 1.5, tmp_path_factory.mktemp("t5_1_0"))


@pytest.fixture(params=["tied_pair", "gated_pair"])
def pair(request) -> Pair:
    """Both, for what depends on the architecture."""
    return request.getfixturevalue(request.param)


def make_pair(config: T5Config, seed: int, eos: float, folder: pathlib.Path) -> Pair:
    execution = Execution(attention="einsum")
    params = lively_params(config, execution, seed, eos)
    save_torch(config, params, folder)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    tied = torch.equal(model.lm_head.weight, model.shared.weight)
    assert tied == config.tie_word_embeddings, "transformers tied (or untied) the head on its own"
    return Pair(config, params, Generator(config, execution), model)


def lively_params(config: T5Config, execution: Execution, seed: int, eos: float) -> dict[str, Any]:
    """Random weights whose greedy text does not fall into loops at once; `eos` scales the logit of eos."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        noise = rng.normal(size=leaf.shape)
        if name.endswith("scale"):
            values = 1 + 0.1 * noise
        elif "relpos_bias" in name:
            values = 2 * noise
        elif name == "token_embedder/embedding":  # small: a tied model repeats its input otherwise
            values = 0.05 * noise
        else:
            gain = 4.0 if name.startswith("decoder/layers") and "out" in name else 1.5
            values = gain * config.d_model**-0.5 * noise
        return values.astype(np.float32)

    params = jax.tree_util.tree_map_with_path(draw, abstract_params(T5(config, execution)))
    if config.tie_word_embeddings:
        params["token_embedder"]["embedding"][config.eos_token_id] *= eos
    else:
        params["decoder"]["logits_dense"]["kernel"][:, config.eos_token_id] *= eos
    return params


def save_torch(config: T5Config, params: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes an HF directory (a separate head keeps transformers from tying)."""
    tensors = {"shared.weight": params["token_embedder"]["embedding"]}
    if not config.tie_word_embeddings:
        tensors["lm_head.weight"] = params["decoder"]["logits_dense"]["kernel"].T
    for stack in ("encoder", "decoder"):
        ours = params[stack]
        tensors[f"{stack}.final_layer_norm.weight"] = ours[f"{stack}_norm"]["scale"]
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        tensors[bias] = ours["relpos_bias"]["rel_embedding"].T
        sublayers = [("attention", "SelfAttention", "pre_attention_layer_norm")]
        if stack == "decoder":
            sublayers = [
                ("self_attention", "SelfAttention", "pre_self_attention_layer_norm"),
                ("encoder_decoder_attention", "EncDecAttention", "pre_cross_attention_layer_norm"),
            ]
        layers = config.num_decoder_layers if stack == "decoder" else config.num_encoder_layers
        for i in range(layers):
            layer = ours[f"layers_{i}"]
            for j, (attention, name, norm) in enumerate(sublayers):
                prefix = f"{stack}.block.{i}.layer.{j}."
                tensors[f"{prefix}layer_norm.weight"] = layer[norm]["scale"]
                for letter, kernel in zip("qkv", ("query", "key", "value"), strict=True):
                    matrix = layer[attention][kernel]["kernel"].reshape(config.d_model, -1)
                    tensors[f"{prefix}{name}.{letter}.weight"] = matrix.T
                out = layer[attention]["out"]["kernel"].reshape(-1, config.d_model)
                tensors[f"{prefix}{name}.o.weight"] = out.T
            prefix = f"{stack}.block.{i}.layer.{len(sublayers)}."
            tensors[f"{prefix}layer_norm.weight"] = layer["pre_mlp_layer_norm"]["scale"]
            for name, kernel in layer["mlp"].items():
                tensors[f"{prefix}DenseReluDense.{name}.weight"] = kernel["kernel"].T
    save_file(
        {k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / "model.safetensors"
    )
    hf = {
        "architectures": ["T5ForConditionalGeneration"],
        "num_layers": config.num_encoder_layers,
        "num_decoder_layers": config.num_decoder_layers,
        **{
            name: getattr(config, name)
            for name in (
                "vocab_size d_model d_kv d_ff num_heads feed_forward_proj tie_word_embeddings "
                "scale_decoder_outputs layer_norm_epsilon relative_attention_num_buckets "
                "relative_attention_max_distance pad_token_id eos_token_id decoder_start_token_id "
                "dropout_rate model_type"
            ).split()
        },
    }
    (folder / "config.json").write_text(json.dumps(hf))

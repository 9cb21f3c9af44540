"""The name table: which Hugging Face tensor is which of our parameters, and in what layout.

PyTorch stores a linear layer as [out, in] with heads and kv flattened into one axis; ours is [in, out] with heads and
kv apart. So every tensor maps by at most one transpose and one reshape, and the table runs both ways.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from t5x_lite.models.config import T5Config

SHARED = "shared.weight"
HEAD = "lm_head.weight"
# Other names under which a file may hold the token embedding (again): with, or in place of, SHARED.
EMBEDDING_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# Early T5 files carry a cross-attention bias that no implementation has ever read.
UNUSED = frozenset({"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"})


@dataclasses.dataclass(frozen=True)
class Entry:
    """One parameter: its Hugging Face name and shape, its canonical path ("/"-joined) and shape.

    transpose: the Hugging Face tensor is a matrix stored transposed.
    """

    hf_name: str
    path: str
    hf_shape: tuple[int, ...]
    shape: tuple[int, ...]
    transpose: bool

    def to_canonical(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor `hf_name` of shape `hf_shape` as our parameter, of shape `shape`."""
        return (tensor.T if self.transpose else tensor).reshape(self.shape)

    def to_hf(self, parameter: np.ndarray) -> np.ndarray:
        """The inverse of `to_canonical`, C-contiguous."""
        if self.transpose:
            parameter = parameter.reshape(self.hf_shape[::-1]).T
        return np.ascontiguousarray(parameter.reshape(self.hf_shape))


def name_table(config: T5Config) -> tuple[Entry, ...]:
    """Every parameter of the model, once, in the order in which files are written."""
    vocab, embed = config.vocab_size, config.d_model

    def entries() -> Iterator[Entry]:
        yield Entry(SHARED, "token_embedder/embedding", (vocab, embed), (vocab, embed), False)
        for layer in range(config.num_encoder_layers):
            block, ours = f"encoder.block.{layer}.layer", f"encoder/layers_{layer}"
            yield _norm(f"{block}.0.layer_norm", f"{ours}/pre_attention_layer_norm", embed)
            yield from _attention(f"{block}.0.SelfAttention", f"{ours}/attention", config)
            yield _norm(f"{block}.1.layer_norm", f"{ours}/pre_mlp_layer_norm", embed)
            yield from _mlp(f"{block}.1.DenseReluDense", f"{ours}/mlp", config)
        yield from _relative_position_biases("encoder", config.num_encoder_layers, config)
        yield _norm("encoder.final_layer_norm", "encoder/encoder_norm", embed)
        for layer in range(config.num_decoder_layers):
            block, ours = f"decoder.block.{layer}.layer", f"decoder/layers_{layer}"
            yield _norm(f"{block}.0.layer_norm", f"{ours}/pre_self_attention_layer_norm", embed)
            yield from _attention(f"{block}.0.SelfAttention", f"{ours}/self_attention", config)
            yield _norm(f"{block}.1.layer_norm", f"{ours}/pre_cross_attention_layer_norm", embed)
            yield from _attention(
                f"{block}.1.EncDecAttention", f"{ours}/encoder_decoder_attention", config
            )
            yield _norm(f"{block}.2.layer_norm", f"{ours}/pre_mlp_layer_norm", embed)
            yield from _mlp(f"{block}.2.DenseReluDense", f"{ours}/mlp", config)
        yield from _relative_position_biases("decoder", config.num_decoder_layers, config)
        yield _norm("decoder.final_layer_norm", "decoder/decoder_norm", embed)
        if not config.tie_word_embeddings:
            yield _linear(HEAD, "decoder/logits_dense", embed, vocab)

    return tuple(entries())


def _linear(
    hf_name: str, path: str, rows: int, columns: int, shape: tuple[int, ...] | None = None
) -> Entry:
    return Entry(hf_name, f"{path}/kernel", (columns, rows), shape or (rows, columns), True)


def _norm(hf_name: str, path: str, embed: int) -> Entry:
    return Entry(f"{hf_name}.weight", f"{path}/scale", (embed,), (embed,), False)


def _relative_position_biases(stack: str, layers: int, config: T5Config) -> Iterator[Entry]:
    buckets, heads = config.relative_attention_num_buckets, config.num_heads
    # Where all layers share a bias, Hugging Face keeps it in the first block.
    for layer in range(layers if config.has_bias_per_layer else 1):
        hf_name = f"{stack}.block.{layer}.layer.0.SelfAttention.relative_attention_bias.weight"
        owner = f"{stack}/layers_{layer}" if config.has_bias_per_layer else stack
        path = f"{owner}/relpos_bias/rel_embedding"
        yield Entry(hf_name, path, (buckets, heads), (heads, buckets), True)


def _attention(hf_name: str, path: str, config: T5Config) -> Iterator[Entry]:
    embed, heads, kv = config.d_model, config.num_heads, config.d_kv
    for letter, word in (("q", "query"), ("k", "key"), ("v", "value")):
        yield _linear(
            f"{hf_name}.{letter}.weight", f"{path}/{word}", embed, heads * kv, (embed, heads, kv)
        )
    yield _linear(f"{hf_name}.o.weight", f"{path}/out", heads * kv, embed, (heads, kv, embed))


def _mlp(hf_name: str, path: str, config: T5Config) -> Iterator[Entry]:
    for wi in ("wi_0", "wi_1") if config.is_gated else ("wi",):
        yield _linear(f"{hf_name}.{wi}.weight", f"{path}/{wi}", config.d_model, config.d_ff)
    yield _linear(f"{hf_name}.wo.weight", f"{path}/wo", config.d_ff, config.d_model)

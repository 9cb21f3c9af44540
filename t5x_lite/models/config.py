"""What a T5 is (`T5Config`, stored with its weights) and how it is run (`Execution`, chosen per run)."""

from __future__ import annotations

from typing import Annotated

from t5x_lite.errors import InputError
from t5x_lite.sections import Amount, AtLeast, AtMost, Fraction, OneOf, Section

ACTIVATIONS = ("relu", "gelu", "gelu_erf", "silu")
Dtype = Annotated[str, OneOf("float32", "bfloat16", "float16")]
MODEL_TYPES = ("t5", "mt5", "umt5")
Remat = Annotated[
    str,
    OneOf("none", "dots", "full"),
    "What the backward pass recomputes: nothing, all but matmuls of weights, or whole layers.",
]
Attention = Annotated[
    str,
    OneOf("auto", "einsum", "rowwise", "blockwise"),
    "Scores of all rows at once, of a row at a time, or of blocks (memory then grows with the length alone); 'auto':"
    " blockwise from 2,048 x 2,048 tokens on, below rowwise on a single CPU device and einsum elsewhere.",
]


# Sizes beyond any model that was ever trained: what lies above is a damaged or hostile file, and would take hours or
# all memory to find out.
Size = Annotated[int, AtLeast(1), AtMost(1 << 22)]
Layers = Annotated[int, AtLeast(1), AtMost(1024)]
_Id = Annotated[int, AtLeast(0)]


class T5Config(Section, name="model"):
    """The architecture of a model of the T5 family, in the names of its Hugging Face `config.json`.

    `feed_forward_proj` is an activation, or "gated-" and an activation: "relu" is T5 1.0, "gated-gelu" T5 1.1.
    T5 1.0 ties the output projection to the embedding and scales the decoder's output by d_model**-0.5;
    the two are separate fields because checkpoints in the wild mix them.

    `model_type` is "t5" (T5 1.0, T5 1.1, FLAN-T5, ByT5), "mt5" (T5 1.1 by another name) or "umt5", in which every layer
    has a relative position bias of its own.

    Source: Raffel et al. 2020 (arXiv:1910.10683); T5 1.1: Shazeer 2020 (arXiv:2002.05202); mT5: Xue et al. 2021
    (arXiv:2010.11934); ByT5: Xue et al. 2022 (arXiv:2105.13626); UMT5: Chung et al. 2023 (arXiv:2304.09151).
    """

    vocab_size: Size
    d_model: Size
    d_kv: Size
    d_ff: Size
    num_encoder_layers: Layers
    num_decoder_layers: Layers
    num_heads: Size
    tie_word_embeddings: bool
    scale_decoder_outputs: bool
    feed_forward_proj: str = "relu"
    relative_attention_num_buckets: Size = 32
    relative_attention_max_distance: Annotated[int, AtMost((1 << 31) - 1)] = 128
    layer_norm_epsilon: Fraction = 1e-6
    dropout_rate: Fraction = 0.1
    initializer_factor: Amount = 1.0
    pad_token_id: _Id = 0
    eos_token_id: _Id = 1
    decoder_start_token_id: _Id = 0
    model_type: str = "t5"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pad_token_id", "eos_token_id", "decoder_start_token_id"):
            if (id := getattr(self, name)) >= self.vocab_size:
                raise InputError(
                    f"model.{name} = {id} is no token: model.vocab_size is {self.vocab_size}, so ids end below that"
                )
        if self.model_type not in MODEL_TYPES:
            raise InputError(
                f"model.model_type must be one of {MODEL_TYPES}, got {self.model_type!r}"
            )
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"model.feed_forward_proj must be one of {ACTIVATIONS}, or 'gated-' and one of them,"
                f" got {self.feed_forward_proj!r}"
            )
        if self.relative_attention_num_buckets < 4 or self.relative_attention_num_buckets % 2:
            raise InputError(
                "model.relative_attention_num_buckets must be an even number from 4 on (half of them"
                f" look back, half ahead), got {self.relative_attention_num_buckets}"
            )
        # Up to half of the buckets' number, distances have a bucket each; beyond, they grow by a logarithm.
        if self.relative_attention_max_distance <= self.relative_attention_num_buckets // 2:
            raise InputError(
                "model.relative_attention_max_distance must be above half of relative_attention_num_buckets"
                f" = {self.relative_attention_num_buckets}, got {self.relative_attention_max_distance}"
            )

    @property
    def is_gated(self) -> bool:
        """Whether the feed-forward layer is gated (T5 1.1's GEGLU): two input kernels, wi_0 and wi_1."""
        return self.feed_forward_proj.startswith("gated-")

    @property
    def has_bias_per_layer(self) -> bool:
        """Whether every layer has a relative position bias of its own, in place of one for its stack."""
        return self.model_type == "umt5"

    @property
    def activation(self) -> str:
        """The feed-forward activation: "relu", "gelu" (the tanh form, as everywhere in T5), "gelu_erf" or "silu"."""
        return self.feed_forward_proj.removeprefix("gated-")


class Execution(Section, name="model"):
    """How a model is computed; no field changes what it computes beyond rounding.

    dtype: compute type of activations and matmuls; norms, softmax and logits are float32 in any case.
    remat: what the backward pass recomputes: "none"; "dots" keeps matmuls of weights, recomputes the rest;
      "full" keeps each layer's input alone.
    scan_layers: layers as one scanned body with stacked parameters (fast compiles of deep models).
    attention: "einsum" holds [batch, heads, query, key] scores; "rowwise" computes one batch row at a time and
      recomputes it in the backward pass (the scores stay in a CPU's cache); "blockwise" holds those of a block of
      queries and keys, whatever the lengths. "auto" takes "blockwise" for long texts, and for others "rowwise" on a
      single CPU device, "einsum" elsewhere.
    """

    dtype: Dtype = "float32"
    remat: Remat = "none"
    scan_layers: bool = False
    attention: Attention = "auto"

    @property
    def residual_dtype(self) -> str:
        """Type of the sum that runs through the layers. T5's passes float16's 65,504 (transformers #20287)."""
        return "float32" if self.dtype == "float16" else self.dtype

"""The matrix products that a T5's formulas ask for, to hold a compiled program against.

A product of [a, b] and [b, c] is 2abc operations. Of training, 3 times the forward pass: the gradients by the inputs
and by the weights cost as much again each ("6ND": 2ND forward, 4ND backward, for D tokens through N weights).
Attention is counted whole: masks, causality too, save nothing, as in the program.
"""

from __future__ import annotations

import dataclasses

from t5x_lite.models.config import T5Config


@dataclasses.dataclass(frozen=True)
class Forward:
    """Operations of a forward pass over a batch: products with weights, and of attention (scores, and averages)."""

    weights: int
    attention: int

    def training(self) -> int:
        """With gradients of everything."""
        return 3 * (self.weights + self.attention)

    def adapter_training(self) -> int:
        """With gradients that pass through frozen weights, but of none of them; without adapters' own products."""
        return 2 * self.weights + 3 * self.attention


def forward(config: T5Config, rows: int, encoder_length: int, decoder_length: int) -> Forward:
    """Teacher-forced, with the logits of every decoder position."""
    encoder = encode(config, rows, encoder_length)
    inner, d = config.num_heads * config.d_kv, config.d_model
    decoder_tokens, encoder_tokens = rows * decoder_length, rows * encoder_length
    in_layer = (
        4 * d * inner * decoder_tokens  # self-attention
        + 2 * d * inner * decoder_tokens  # cross-attention's query and output
        + 2 * d * inner * encoder_tokens  # its keys and values
        + _feed_forward(config) * decoder_tokens
    )
    keys = decoder_length + encoder_length
    return Forward(
        encoder.weights
        + 2 * (config.num_decoder_layers * in_layer + d * config.vocab_size * decoder_tokens),
        encoder.attention + 4 * config.num_decoder_layers * inner * decoder_tokens * keys,
    )


def encode(config: T5Config, rows: int, length: int) -> Forward:
    """The encoder alone."""
    inner, tokens = config.num_heads * config.d_kv, rows * length
    in_layer = 4 * config.d_model * inner + _feed_forward(config)
    return Forward(
        2 * config.num_encoder_layers * in_layer * tokens,
        4 * config.num_encoder_layers * inner * tokens * length,
    )


def _feed_forward(config: T5Config) -> int:
    return (3 if config.is_gated else 2) * config.d_model * config.d_ff

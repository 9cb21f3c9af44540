"""Tiny models with random weights: sizes that differ wherever they can, so that a mix-up of axes cannot go unseen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from t5x_lite.models.config import T5Config
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5

T5_1_0 = T5Config(
    vocab_size=61,
    d_model=16,
    d_kv=4,
    d_ff=24,
    num_encoder_layers=2,
    num_decoder_layers=2,
    num_heads=3,
    tie_word_embeddings=True,
    scale_decoder_outputs=True,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=20,
)
T5_1_1 = dataclasses.replace(
    T5_1_0,
    feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,
    scale_decoder_outputs=False,
)
UMT5 = dataclasses.replace(T5_1_1, model_type="umt5")
# The same parts as T5 1.1 has; ByT5's encoder is three times as deep as its decoder.
MT5 = dataclasses.replace(T5_1_1, model_type="mt5", vocab_size=67)
BYT5 = dataclasses.replace(T5_1_1, num_encoder_layers=3, num_decoder_layers=1, vocab_size=384)


@pytest.fixture(scope="session")
def config() -> T5Config:
    return T5_1_0


@pytest.fixture(scope="session", params=[T5_1_0, T5_1_1, UMT5], ids=["t5_1_0", "t5_1_1", "umt5"])
def family_config(request: pytest.FixtureRequest) -> T5Config:
    """Those that are built of different parts."""
    return request.param


@pytest.fixture(
    params=[T5_1_0, T5_1_1, MT5, BYT5, UMT5], ids=["t5_1_0", "t5_1_1", "mt5", "byt5", "umt5"]
)
def every_config(request: pytest.FixtureRequest) -> T5Config:
    return request.param


@pytest.fixture(scope="session")
def random_params() -> Callable[..., dict[str, Any]]:
    """random_params(model, seed=0): weights under which attention is far from uniform and every part counts."""

    def make(model: T5, seed: int = 0) -> dict[str, Any]:
        rng = np.random.default_rng(seed)

        def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            noise = rng.normal(size=leaf.shape)
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            if name.endswith("scale"):
                noise = 1 + 0.3 * noise
            elif name.endswith("kernel"):
                noise = 0.3 * noise
            return noise.astype(np.float32)

        return jax.tree_util.tree_map_with_path(draw, abstract_params(model))

    return make


@pytest.fixture(scope="session")
def close() -> Callable[..., None]:
    """close(ours, theirs, tolerance): every leaf, relative to the largest number of that leaf."""

    def check(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
        def compare(path: tuple, one: Any, other: Any) -> None:
            one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
            assert one.shape == other.shape, jax.tree_util.keystr(path)
            difference, scale = np.max(np.abs(one - other)), np.max(np.abs(other))
            assert difference <= tolerance * scale, f"{jax.tree_util.keystr(path)}: {difference}"

        jax.tree_util.tree_map_with_path(compare, ours, theirs)

    return check

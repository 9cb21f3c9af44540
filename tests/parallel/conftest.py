"""A tiny model whose every sharded axis can be cut into eight, and weights that make its greedy text varied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5

CONFIG = T5Config(
    vocab_size=64,
    d_model=32,
    d_kv=4,
    d_ff=48,
    num_encoder_layers=2,
    num_decoder_layers=2,
    num_heads=8,
    tie_word_embeddings=False,
    scale_decoder_outputs=False,
    feed_forward_proj="gated-gelu",
    relative_attention_num_buckets=8,
    relative_attention_max_distance=20,
    dropout_rate=0.0,
)


@pytest.fixture(scope="session")
def config() -> T5Config:
    return CONFIG


@pytest.fixture(scope="session")
def random_params() -> Callable[[T5Config], dict[str, Any]]:
    def make(config: T5Config) -> dict[str, Any]:
        rng = np.random.default_rng(0)

        def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            noise = rng.normal(size=leaf.shape)
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            if name.endswith("scale"):
                noise = 1 + 0.1 * noise
            elif name.endswith("kernel"):
                noise = 1.5 * config.d_model**-0.5 * noise
            return noise.astype(np.float32)

        return jax.tree_util.tree_map_with_path(draw, abstract_params(T5(config, Execution())))

    return make

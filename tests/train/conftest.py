"""A tiny model, batches of any shape, and optimizers whose state shows what the step gave them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import pytest

from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5
from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.optim.sections import OptimizerSettings

T5_1_0 = T5Config(
    vocab_size=61,
    d_model=16,
    d_kv=4,
    d_ff=24,
    num_encoder_layers=1,
    num_decoder_layers=1,
    num_heads=3,
    tie_word_embeddings=True,
    scale_decoder_outputs=True,
    dropout_rate=0.0,
)
T5_1_1 = dataclasses.replace(
    T5_1_0,
    feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,
    scale_decoder_outputs=False,
)


@pytest.fixture(scope="session")
def config() -> T5Config:
    return T5_1_0


@pytest.fixture(scope="session", params=[T5_1_0, T5_1_1], ids=["t5_1_0", "t5_1_1"])
def family_config(request: pytest.FixtureRequest) -> T5Config:
    return request.param


@pytest.fixture(scope="session")
def random_params() -> Callable[..., dict[str, Any]]:
    """random_params(config): numpy arrays, so that every use of them makes buffers of its own to donate."""

    def make(config: T5Config, seed: int = 0) -> dict[str, Any]:
        rng = np.random.default_rng(seed)

        def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            noise = rng.normal(size=leaf.shape)
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            if name.endswith("scale"):
                noise = 1 + 0.1 * noise
            elif name.endswith("kernel"):
                noise = 0.2 * noise
            return noise.astype(np.float32)

        return jax.tree_util.tree_map_with_path(draw, abstract_params(T5(config, Execution())))

    return make


@pytest.fixture(scope="session")
def make_batch() -> Callable[..., dict[str, np.ndarray]]:
    """make_batch(config, rows, encoder_length, decoder_length, seed): right-padded rows of several lengths."""

    def make(
        config: T5Config,
        rows: int = 8,
        encoder_length: int = 6,
        decoder_length: int = 5,
        seed: int = 0,
    ) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)

        def tokens(length: int) -> np.ndarray:
            used = rng.integers(1, length + 1, (rows, 1))
            drawn = rng.integers(2, config.vocab_size, (rows, length))
            return np.where(np.arange(length) < used, drawn, 0).astype(np.int32)

        targets = tokens(decoder_length)
        return {
            "encoder_input_tokens": tokens(encoder_length),
            "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
            "decoder_target_tokens": targets,
            "decoder_loss_weights": (targets != 0).astype(np.float32),
        }

    return make


@pytest.fixture(scope="session")
def adamw() -> Callable[..., optax.GradientTransformation]:
    """adamw(schedule, **changes): with nothing but Adam, unless asked for."""

    def make(schedule: optax.Schedule, **changes: Any) -> optax.GradientTransformation:
        settings: dict[str, Any] = dict(
            b1=0.9,
            b2=0.98,
            eps=1e-6,
            weight_decay=0.0,
            no_weight_decay=(),
            clip_norm=0.0,
            rate_multipliers=(),
        )
        return make_optimizer(OptimizerSettings("adamw", **settings | changes), schedule)

    return make

"""How long the compiler takes for a train step and for the initialization, and what it makes of them.

    python scripts/compile_times.py --size base --random rbg

For whoever looks into start-up: one process a program, so that nothing is compiled yet, and no persistent cache. A line
of JSON on standard output. What an H200 gave is in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from t5x_lite import streams
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import abstract_params, init_params
from t5x_lite.models.t5 import T5
from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.optim.sections import LossSettings, OptimizerSettings
from t5x_lite.train.state import init_state
from t5x_lite.train.step import make_train_step

# Architecture, compute type, and rows, encoder and decoder length of a batch.
SIZES: dict[str, tuple[dict[str, int], str, tuple[int, int, int]]] = {
    "tiny": (
        dict(vocab_size=512, d_model=64, d_ff=128, d_kv=16, num_heads=6)
        | dict(num_encoder_layers=2, num_decoder_layers=2),
        "float32",
        (4, 64, 16),
    ),
    "base": (
        dict(vocab_size=32128, d_model=768, d_ff=2048, d_kv=64, num_heads=12)
        | dict(num_encoder_layers=12, num_decoder_layers=12),
        "bfloat16",
        (32, 512, 128),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--program", choices=("init", "train"), default="train")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument(
        "--random", choices=("threefry2x32", "rbg", "unsafe_rbg"), default="threefry2x32"
    )
    parser.add_argument("--steps", type=int, default=5, help="timed, of the compiled train step")
    options = parser.parse_args()
    jax.config.update("jax_default_prng_impl", options.random)
    jax.config.update("jax_enable_compilation_cache", False)
    found = vars(options) | {"device": jax.devices()[0].device_kind}

    def clock(name: str, function: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = jax.block_until_ready(function())
        found[name] = round(time.perf_counter() - began, 2)
        return result

    fields, dtype, shape = SIZES[options.size]
    gated = dict(
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, scale_decoder_outputs=False
    )
    model = T5(T5Config(**fields, **gated, dropout_rate=0.1), Execution(dtype=dtype))  # type: ignore[arg-type]
    if options.program == "init":
        clock("init_seconds", lambda: init_params(model, streams.key(0, "init")))
    else:
        time_train_step(model, shape, options.steps, found, clock)
    print(json.dumps(found))


def time_train_step(
    model: T5,
    shape: tuple[int, int, int],
    steps: int,
    found: dict[str, Any],
    clock: Callable[[str, Callable[[], Any]], Any],
) -> None:
    """AdamW with clipping and dropout, as `scripts/benchmark.py` trains, on random tokens and weights."""
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(0.03 * generator.standard_normal(leaf.shape, np.float32)),
        abstract_params(model),
    )
    schedule = optax.constant_schedule(1e-4)
    section = OptimizerSettings(
        name="adamw", b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.01, no_weight_decay=(), clip_norm=1.0,
        rate_multipliers=(),
    )  # fmt: skip
    optimizer = make_optimizer(section, schedule)
    loss = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=0)
    step = jax.jit(make_train_step(model, optimizer, schedule, loss), donate_argnums=0)
    rows, encoder_length, decoder_length = shape
    inputs, targets = (
        generator.integers(2, model.config.vocab_size, (rows, length), np.int32)
        for length in (encoder_length, decoder_length)
    )
    batch = {
        "encoder_input_tokens": inputs,
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_target_tokens": targets,
        "decoder_loss_weights": np.ones(targets.shape, np.float32),
    }
    state, rng = init_state(params, optimizer), streams.key(0, "dropout")
    lowered = clock("trace_and_lower_seconds", lambda: step.lower(state, batch, rng))
    compiled = clock("compile_seconds", lowered.compile)
    text = compiled.as_text()
    found |= {
        "stablehlo_lines": lowered.as_text().count("\n"),
        "hlo_lines": text.count("\n"),
        "fusions": text.count(" fusion("),
    }
    state, _ = compiled(state, batch, rng)
    began = time.perf_counter()
    for _ in range(steps):
        state, _ = compiled(state, batch, rng)
    jax.block_until_ready(state)
    found["step_milliseconds"] = round((time.perf_counter() - began) / steps * 1e3, 2)


if __name__ == "__main__":
    main()

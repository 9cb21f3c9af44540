"""What the benchmark runs on either side: models, batch, table of cases. See benchmark.py."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

FLAN_T5_SMALL = dict(
    vocab_size=32128,
    d_model=512,
    d_kv=64,
    d_ff=1024,
    num_encoder_layers=8,
    num_decoder_layers=8,
    num_heads=6,
    feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,
    scale_decoder_outputs=False,
    dropout_rate=0.0,
)
MODELS: dict[str, dict[str, Any]] = {
    "flan-t5-small": FLAN_T5_SMALL,
    "tiny": FLAN_T5_SMALL
    | dict(
        vocab_size=512, d_model=64, d_ff=128, d_kv=16, num_encoder_layers=2, num_decoder_layers=2
    ),
}
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 1e-4, 0.01, 1.0

# A call does one unit of work to its end and returns what both sides must agree on.
Call = Callable[[], list[Any]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the benchmark: what each side runs, what a call amounts to, when calls agree."""

    sides: dict[str, Callable[[argparse.Namespace], Call]]
    tokens: Callable[[argparse.Namespace], int]  # processed by one call, for the throughput
    disagreement: Callable[[np.ndarray, np.ndarray], float]
    tolerance: dict[str, float]  # by dtype


def make_batch(options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Seeded random tokens; rows fill between half and all of their length, as bucketed text does."""
    rng = np.random.default_rng(0)
    vocab = MODELS[options.model]["vocab_size"]

    def rows(length: int) -> np.ndarray:
        tokens = rng.integers(2, vocab, (options.batch, length), np.int32)
        ends = rng.integers(length // 2, length, options.batch, endpoint=True)
        tokens[np.arange(length) >= ends[:, None]] = 0
        return tokens

    targets = rows(options.decoder_length)
    return {
        "encoder_input_tokens": rows(options.encoder_length),
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_target_tokens": targets,
        "decoder_loss_weights": (targets != 0).astype(np.float32),
    }


def write_weights(options: argparse.Namespace) -> None:
    """Writes seeded random weights in Hugging Face's format to `options.weights`; both sides load them."""
    import jax

    from t5x_lite.interop.hf import save_hf
    from t5x_lite.models.config import Execution, T5Config
    from t5x_lite.models.init import init_params
    from t5x_lite.models.t5 import T5

    config = T5Config(**MODELS[options.model])
    save_hf(options.weights, config, init_params(T5(config, Execution()), jax.random.key(0)))


# --- t5x_lite ---


def load_ours(options: argparse.Namespace) -> tuple[Any, Any]:
    from t5x_lite.interop.hf import load_hf
    from t5x_lite.models.config import Execution
    from t5x_lite.models.t5 import T5

    config, params = load_hf(options.weights, param_dtype="float32")
    return T5(config, Execution(dtype=options.dtype)), params


def train_ours(options: argparse.Namespace) -> Call:
    """One call: t5x_lite's train step, jitted, its state donated. Returns the loss before the step."""
    import jax
    import optax

    from t5x_lite.optim.optimizers import make_optimizer
    from t5x_lite.optim.sections import LossSettings, OptimizerSettings
    from t5x_lite.train.state import init_state
    from t5x_lite.train.step import make_train_step

    model, params = load_ours(options)
    schedule = optax.constant_schedule(LEARNING_RATE)
    section = OptimizerSettings(
        name="adamw",
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        weight_decay=WEIGHT_DECAY,
        no_weight_decay=(),
        clip_norm=CLIP_NORM,
        rate_multipliers=(),
    )
    optimizer = make_optimizer(section, schedule)
    settings = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=0)
    step = jax.jit(make_train_step(model, optimizer, schedule, settings), donate_argnums=0)
    state, rng = init_state(params, optimizer), jax.random.key(0)
    batch = jax.device_put(make_batch(options))

    def call() -> list[Any]:
        nonlocal state
        state, metrics = step(state, batch, rng)
        jax.block_until_ready(state)
        return [float(metrics["loss"])]

    return call


def generate_ours(options: argparse.Namespace) -> Call:
    """One call: greedy decoding, jitted whole, with its cache; no early end. Returns the tokens."""
    from t5x_lite.decoding.generate import Generator
    from t5x_lite.decoding.settings import GenerationSettings

    model, params = load_ours(options)
    generator = Generator(model.config, model.execution)
    settings = GenerationSettings(
        min_new_tokens=options.new_tokens, max_new_tokens=options.new_tokens
    )
    tokens = make_batch(options)["encoder_input_tokens"]

    def call() -> list[Any]:
        return np.asarray(generator.generate(params, tokens, settings).tokens).tolist()

    return call


# --- transformers ---


def load_theirs(options: argparse.Namespace) -> tuple[Any, dict[str, Any], Any]:
    import torch
    from transformers import T5ForConditionalGeneration

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = T5ForConditionalGeneration.from_pretrained(options.weights).to(device)
    batch = {key: torch.from_numpy(x).to(device) for key, x in make_batch(options).items()}
    autocast = torch.autocast(device, torch.bfloat16, enabled=options.dtype == "bfloat16")
    return model, batch, autocast


def train_theirs(options: argparse.Namespace) -> Call:
    """One call: forward, backward, clip and AdamW, eager. Returns the loss before the step."""
    import torch

    model, batch, autocast = load_theirs(options)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, eps=1e-8
    )
    targets = batch["decoder_target_tokens"].long()
    labels = targets.masked_fill(batch["decoder_loss_weights"] == 0, -100)

    def call() -> list[Any]:
        with autocast:
            loss = model(
                input_ids=batch["encoder_input_tokens"],
                attention_mask=(batch["encoder_input_tokens"] != 0).long(),
                decoder_input_ids=batch["decoder_input_tokens"],
                labels=labels,
            ).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return [float(loss.detach())]

    return call


def generate_theirs(options: argparse.Namespace) -> Call:
    """One call: `generate`, greedy, with its cache; no early end. Returns the tokens."""
    import torch

    model, batch, autocast = load_theirs(options)
    model.eval()

    def call() -> list[Any]:
        with torch.inference_mode(), autocast:
            tokens = model.generate(
                input_ids=batch["encoder_input_tokens"],
                attention_mask=(batch["encoder_input_tokens"] != 0).long(),
                do_sample=False,
                min_new_tokens=options.new_tokens,
                max_new_tokens=options.new_tokens,
            )
        return tokens[:, 1:].cpu().tolist()

    return call


# --- The table: a new case is a new row ---


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.max(np.abs(a - b) / np.abs(b)))


def share_of_different_rows(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean(np.any(a != b, axis=-1)))


CASES = {
    "train_step": Case(
        sides={"t5x_lite": train_ours, "transformers": train_theirs},
        tokens=lambda options: options.batch * (options.encoder_length + options.decoder_length),
        disagreement=relative_difference,
        tolerance={"float32": 1e-3, "bfloat16": 2e-2},
    ),
    "greedy": Case(
        sides={"t5x_lite": generate_ours, "transformers": generate_theirs},
        tokens=lambda options: options.batch * options.new_tokens,
        disagreement=share_of_different_rows,
        # Where two tokens tie within rounding, the rest of a row differs; a bug makes all rows differ.
        tolerance={"float32": 0.5, "bfloat16": 1.0},
    ),
}

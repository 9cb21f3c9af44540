"""Optimizers by name, each with clipping and decoupled weight decay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax
import optax
import optax.contrib

from t5x_lite.optim.per_layer import per_layer
from t5x_lite.optim.sections import OptimizerSettings
from t5x_lite.params.paths import map_with_path, matches_any

_MINIMUM_RMS = 1e-3
_MUON_RMS = 0.2  # the RMS of AdamW's updates, so that the two take the same learning rates (arXiv:2502.16982)


def make_optimizer(
    section: OptimizerSettings, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """An optax optimizer.

    section.name:
      "adamw": Loshchilov & Hutter 2019; equal to `torch.optim.AdamW`.
      "rms_adamw": AdamW whose update is scaled by the RMS of each matrix (at least 1e-3), as Adafactor does;
        nanoT5 (arXiv:2309.02373) found it the best for T5 from scratch. Learning rates are relative: about 0.01.
      "adafactor": Shazeer & Stern 2018, scaled by parameter RMS, second moments of matrices factored where
        both axes have 128 elements; `b1` > 0 adds a momentum, `b2` and `eps` are not used (it has its own).
      "muon": momentum orthogonalized by Newton-Schulz (Jordan 2024) for matrices inside the layers, AdamW with
        Nesterov momentum for embeddings, the output kernel, norms and position biases.
    section.rate_multipliers: Adam moves every element alike, so a tied embedding of unit variance, scaled by
      d_model**-0.5, learns slowly.
    """
    name, b1, no_weight_decay = section.name, section.b1, section.no_weight_decay

    def decayed(params: Any) -> Any:
        if not no_weight_decay:
            return jax.tree.map(lambda _: True, params)
        return jax.tree.map(lambda excluded: not excluded, matches_any(no_weight_decay, params))

    decay = (
        optax.add_decayed_weights(section.weight_decay, mask=decayed)
        if section.weight_decay
        else optax.identity()
    )
    parts = [optax.clip_by_global_norm(section.clip_norm)] if section.clip_norm else []
    if name == "adafactor":
        momentum = [optax.ema(b1, debias=False)] if b1 else []
        factored = (
            optax.scale_by_factored_rms(decay_rate=0.8),
            optax.clip_by_block_rms(1.0),
            optax.scale_by_param_block_rms(_MINIMUM_RMS),
        )
        parts.append(per_layer(optax.chain(*factored, *momentum)))
    elif name == "muon":
        # The rate is applied below, as for all; optax's sign convention asks for -1 here.
        muon = optax.contrib.muon(
            -1.0,
            adam_b1=b1,
            adam_b2=section.b2,
            eps=section.eps,
            consistent_rms=_MUON_RMS,
            muon_weight_dimension_numbers=_matrices,
        )
        parts.append(per_layer(muon))
    else:
        parts.append(optax.scale_by_adam(b1=b1, b2=section.b2, eps=section.eps))
        if name == "rms_adamw":
            parts.append(per_layer(optax.scale_by_param_block_rms(_MINIMUM_RMS)))
    multiply = [_multiply_rates(section.rate_multipliers)] if section.rate_multipliers else []
    return optax.chain(*parts, decay, *multiply, optax.scale_by_learning_rate(schedule))


def _multiply_rates(multipliers: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    def multiply(updates: Any, params: Any) -> Any:
        matches_any(
            [pattern for pattern, _ in multipliers], updates
        )  # a pattern that matches nothing is an error

        def scaled(path: str, update: jax.Array) -> jax.Array:
            factors = (factor for pattern, factor in multipliers if re.fullmatch(pattern, path))
            return update * next(factors, 1.0)

        return map_with_path(scaled, updates)

    return optax.stateless(multiply)


def _matrices(params: Any) -> Any:
    """For each parameter: which axes are a matrix's input and output (attention's kernels have three), or None."""

    def dimensions(path: str, leaf: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        if "/layers" not in path or not path.endswith("/kernel"):
            return None
        axes = tuple(range(leaf.ndim))
        inputs = axes[:-1] if path.endswith("/out/kernel") else axes[:1]
        return optax.contrib.MuonDimensionNumbers(inputs, axes[len(inputs) :])

    return map_with_path(dimensions, params)

"""Optimizers by name, each with clipping and decoupled weight decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax
import optax.contrib

from t5x_lite.errors import InputError
from t5x_lite.optim.masters import with_masters
from t5x_lite.optim.matrices import as_matrices
from t5x_lite.optim.per_layer import per_layer
from t5x_lite.optim.sections import OptimizerSettings
from t5x_lite.params.paths import map_with_path
from t5x_lite.params.roles import in_layer, matrix_inputs
from t5x_lite.params.selection import values_by_path

_MINIMUM_RMS = 1e-3
_MUON_RMS = 0.2  # the RMS of AdamW's updates, so that the two take the same learning rates (arXiv:2502.16982)


def make_optimizer(
    section: OptimizerSettings, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """An optax optimizer. Of parameters smaller than float32 its state holds float32 masters (`optim.masters`).

    section.name:
      "adamw": Loshchilov & Hutter 2019; equal to `torch.optim.AdamW`.
      "rms_adamw": AdamW whose update is scaled by the RMS of each matrix (at least 1e-3), as Adafactor does;
        nanoT5 (arXiv:2309.02373) found it the best for T5 from scratch. Learning rates are relative: about 0.01.
      "adafactor": Shazeer & Stern 2018, scaled by parameter RMS, second moments of matrices factored where
        both axes have 128 elements (attention's heads and kv count as one axis, as in T5X); `b1` > 0 adds a
        momentum, `b2` and `eps` are not used (it has its own).
      "muon": momentum orthogonalized by Newton-Schulz (Jordan 2024) for matrices inside the layers, AdamW with
        Nesterov momentum for embeddings, the output kernel, norms and position biases.
    section.no_weight_decay, section.rate_multipliers: patterns of canonical paths (of each layer, whether they are
      stacked or not). Adam moves every element alike, so a tied embedding of unit variance, scaled by d_model**-0.5,
      learns slowly.
    """
    name, b1 = section.name, section.b1

    parts = [optax.clip_by_global_norm(section.clip_norm)] if section.clip_norm else []
    if name == "adafactor":
        momentum = [optax.ema(b1, debias=False)] if b1 else []
        factored = (
            as_matrices(optax.scale_by_factored_rms(decay_rate=0.8)),
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
    if section.weight_decay:
        parts.append(_decay_weights(section.weight_decay, section.no_weight_decay))
    if section.rate_multipliers:
        parts.append(_multiply_rates(section.rate_multipliers))
    return with_masters(optax.chain(*parts, optax.scale_by_learning_rate(schedule)))


def check_compute_dtype(dtype: str) -> None:
    """Refuses to train in float16: gradients below 6e-8 are 0 there, and nothing scales the loss up here.

    Raises:
      InputError: for "float16".
    """
    if dtype == "float16":
        raise InputError(
            "config.model.dtype: 'float16' is for generation and scoring alone; in training it loses small gradients"
            " (there is no loss scaling here): take 'bfloat16', which has float32's range, or 'float32'"
        )


def _decay_weights(
    weight_decay: float, no_weight_decay: Sequence[str]
) -> optax.GradientTransformation:
    spared = [(pattern, 0.0) for pattern in no_weight_decay]

    def decay(updates: Any, params: Any) -> Any:
        shares = values_by_path(spared, 1.0, params)
        return jax.tree.map(
            lambda share, update, param: update + weight_decay * share * param,
            shares,
            updates,
            params,
        )

    return _stateless(decay)


def _multiply_rates(multipliers: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    def multiply(updates: Any, params: Any) -> Any:
        factors = values_by_path(multipliers, 1.0, updates)
        return jax.tree.map(lambda factor, update: update * factor, factors, updates)

    return _stateless(multiply)


def _stateless(update: Callable[[Any, Any], Any]) -> optax.GradientTransformation:
    """As `optax.stateless`, but seen once when the state is made: a pattern without a match is told before step 1."""

    def init(params: Any) -> optax.EmptyState:
        jax.eval_shape(update, params, params)
        return optax.EmptyState()

    return optax.GradientTransformation(init, optax.stateless(update).update)


def _matrices(params: Any) -> Any:
    """For each parameter: which axes are a matrix's input and output (attention's kernels have three), or None."""

    def dimensions(path: str, leaf: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        inputs = matrix_inputs(path, leaf.ndim)
        if inputs is None or not in_layer(path):
            return None
        axes = tuple(range(leaf.ndim))
        return optax.contrib.MuonDimensionNumbers(axes[:inputs], axes[inputs:])

    return map_with_path(dimensions, params)

"""Teacher-forced evaluation: the loss of the reference texts, summed exactly over a whole split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from t5x_lite.console import progress
from t5x_lite.errors import InputError

EvalStep = Callable[[Any, Mapping[str, Any]], Mapping[str, jax.Array]]


def evaluate_loss(
    eval_step: EvalStep,
    params: Any,
    batches: Iterable[Mapping[str, Any]],
    *,
    total: int | None = None,
) -> dict[str, float]:
    """{loss, perplexity, accuracy, tokens} of a split, each target token weighted as its batch says.

    `eval_step(params, batch)` returns the scalar sums `loss_sum` (natural-log cross-entropy), `weight_sum` and
    `correct_sum` (of the weighted tokens, those that argmax gets right). Sums, not means: batches of unequal token
    counts would otherwise weigh alike. They are added in float64 on the host (exactly, for the counts); padding rows
    have no weight. `total`: the number of batches, for the progress bar.

    The sums of a batch are read only after the next one is dispatched, so that the device does not wait for the host.

    Returns loss in nats a token, perplexity exp(loss) (inf where that overflows), accuracy in [0, 1], and tokens,
    the sum of the weights.

    Raises:
        InputError: no batches, or no token with weight.
    """
    sums = {"loss_sum": 0.0, "weight_sum": 0.0, "correct_sum": 0.0}

    def add(step_sums: Mapping[str, jax.Array]) -> None:
        for name, value in jax.device_get({name: step_sums[name] for name in sums}).items():
            sums[name] += float(value)

    pending = None
    with progress(total, "evaluating the loss", "batch") as bar:
        for batch in batches:
            step_sums = eval_step(params, batch)
            if pending is not None:
                add(pending)
            pending = step_sums
            bar.update()
        if pending is not None:
            add(pending)
    if sums["weight_sum"] <= 0:
        raise InputError(
            "the evaluation data has no target token to score (no rows, or only padding)"
        )
    loss = sums["loss_sum"] / sums["weight_sum"]
    return {
        "loss": loss,
        "perplexity": _exp(loss),
        "accuracy": sums["correct_sum"] / sums["weight_sum"],
        "tokens": sums["weight_sum"],
    }


def _exp(loss: float) -> float:
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf

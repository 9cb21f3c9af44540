"""What a student learns of its teacher: the objective of distillation, whose batches bring the teacher's word, or the
teacher itself."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax

from t5x_lite.models.t5 import T5, project
from t5x_lite.optim.distillation import LOGPROBS, TOKENS, Said, distillation_sums, say
from t5x_lite.optim.losses import LossSettings, Sums, chunks, joined
from t5x_lite.optim.sections import TeachingSettings
from t5x_lite.params.adapters import variables
from t5x_lite.train.state import Params
from t5x_lite.train.step import hidden_states
from t5x_lite.train.update import Batch, Metrics, Objective

# The teacher's parameters in a batch; and the loss weights of those of its targets that are labels.
TEACHER, LABEL_WEIGHTS = "teacher", "label_weights"
_HIDDEN = "teacher_hidden"


def teacher_says(model: T5, params: Params, batch: Batch, settings: TeachingSettings) -> Any:
    """(the teacher's arrays of a batch's positions, how a chunk of them becomes `Said`).

    params: of the teacher, unrolled.
    """
    hidden, kernel = hidden_states(model, variables(params, None), batch, None)
    to_logits = functools.partial(project, model.config)

    def said(piece: Mapping[str, jax.Array]) -> Said:
        return say(to_logits(kernel, piece[_HIDDEN]), settings)

    return {_HIDDEN: jax.lax.stop_gradient(hidden)}, said


def word_of(
    model: T5, params: Params, batch: Batch, settings: TeachingSettings, chunk: int
) -> dict[str, jax.Array]:
    """What the teacher says of the targets of a batch, as a batch brings it along: `TOKENS`, `LOGPROBS`.

    chunk: decoder positions whose logits exist at a time; 0 = all at once.
    """
    arrays, said = teacher_says(model, params, batch, settings)
    length = batch["decoder_input_tokens"].shape[1]
    pieces = {name: chunks(array, min(chunk or length, length)) for name, array in arrays.items()}
    heard = jax.lax.map(said, pieces)
    return {TOKENS: joined(heard.tokens, length), LOGPROBS: joined(heard.logprobs, length)}


def _as_brought(piece: Mapping[str, jax.Array]) -> Said:
    return Said(piece[TOKENS], piece[LOGPROBS])


def distil_sums(
    model: T5,
    teacher: T5,
    params: Params,
    adapters: Params | None,
    batch: dict[str, Any],
    rng: jax.Array | None,
    settings: tuple[LossSettings, TeachingSettings],
) -> Sums:
    """`optim.distillation.distillation_sums` of a student on a T5 batch; dropout acts on it when `rng` is given.

    The batch has what the teacher says of its targets (`TOKENS`, `LOGPROBS`), or else the teacher's parameters
    (`TEACHER`), which are asked here; they get no gradient.
    """
    loss, teaching = settings
    if LOGPROBS in batch:
        arrays, said = {name: batch[name] for name in (TOKENS, LOGPROBS)}, _as_brought
    else:
        arrays, said = teacher_says(teacher, batch[TEACHER], batch, teaching)
    hidden, kernel = hidden_states(model, variables(params, adapters), batch, rng)
    weights = batch["decoder_loss_weights"]
    positions = {
        "hidden": hidden,
        "targets": batch["decoder_target_tokens"],
        "weights": weights,
        "label_weights": batch.get(LABEL_WEIGHTS, weights),
        **arrays,
    }
    return distillation_sums(
        functools.partial(project, model.config), kernel, positions, said, loss, teaching
    )


def distillation(
    model: T5, teacher: T5, loss: LossSettings, settings: TeachingSettings
) -> Objective:
    """The mean over the weighted tokens of what `settings` and `loss` mix.

    Metrics: loss; divergence (nats a token, without the temperature's square), nll, accuracy (weighted means over the
    texts of the batch, whoever wrote them), tokens (sum of weights).
    """

    def metrics(sums: Sums, total: jax.Array) -> Metrics:
        return {
            "loss": sums["loss"] / total,
            "divergence": sums["divergence"] / total,
            "nll": sums["nll"] / total,
            "accuracy": sums["correct"] / total,
            "tokens": sums["weight"],
        }

    return Objective(
        lambda params, adapters, batch, rng: distil_sums(
            model, teacher, params, adapters, batch, rng, (loss, settings)
        ),
        lambda batch: batch["decoder_loss_weights"].sum(),
        metrics,
        shared=(TEACHER,),
    )

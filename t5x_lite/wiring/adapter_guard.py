"""The guard after a run that trained an adapter: gathers what `evaluation.adapter_check` judges."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from t5x_lite.console import log
from t5x_lite.data.plan import Plan
from t5x_lite.evaluation.adapter_check import AdapterCheck, count_frozen, moved_norms
from t5x_lite.models.t5 import T5, project
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.params.adapters import variables
from t5x_lite.params.partition import FROZEN
from t5x_lite.params.paths import Params
from t5x_lite.train.state import TrainState
from t5x_lite.train.step import Batch
from t5x_lite.wiring.adaptation import Adaptation, begun_adapters
from t5x_lite.wiring.scoring import make_loss


def check_adapter(
    adaptation: Adaptation, model: T5, state: TrainState, evaluation: Plan, mesh: Mesh
) -> dict[str, Any]:
    """The report's sections "adapter" (a paragraph) and "adapter_check" (its figures). A failure is logged, too.

    Compared is with the base, or, where training began with a loaded adapter, with that one as it was.

    evaluation: the plan of the held-out rows; its first batch shows whether outputs differ, all of it the losses.
    """
    loss = make_loss(model, evaluation, mesh)
    losses = {}
    begun = begun_adapters(adaptation)
    for name, adapters in (("without", begun), ("with", state.adapters)):
        values = loss(state.params, lambda: False, adapters)
        assert values is not None
        losses[name] = values["evaluation/loss"]
    check = AdapterCheck(
        frozen_before=adaptation.frozen_fingerprint,
        frozen_after=adaptation.fingerprint_frozen(state.params),
        frozen=count_frozen(state.params, adaptation.labels, FROZEN),
        norms=moved_norms(state.adapters, adaptation.begin),
        difference=_difference(model, state, begun, OwnRows(mesh).read(evaluation, 0)),
        loss_without=losses["without"],
        loss_with=losses["with"],
        loaded=adaptation.loaded,
    )
    first = "before training" if check.loaded else "without the adapter"
    say = log.warning if check.failures() else log.info
    say("%s", check.paragraph())
    return {
        "adapter": check.paragraph(),
        "adapter_check": {
            "learned": not check.failures(),
            "frozen weights unchanged": check.frozen_before == check.frozen_after,
            "frozen weights sha256": check.frozen_after,
            "smallest norm": min(check.norms.values()),
            "largest norm": max(check.norms.values()),
            "largest logit difference": check.difference,
            f"evaluation loss {first}": check.loss_without,
            "evaluation loss with the adapter": check.loss_with,
        },
    }


def _difference(model: T5, state: TrainState, begun: Params | None, batch: Batch) -> float:
    """The largest difference between logits with the adapter, and without it or as it was."""

    @jax.jit
    def largest(params: Params, adapters: Params, begun: Params | None, batch: Batch) -> jax.Array:
        inputs = (
            batch["encoder_input_tokens"],
            batch["decoder_input_tokens"],
            batch.get("encoder_segment_ids"),
            batch.get("decoder_segment_ids"),
        )
        sides = []
        for tree in (variables(params, adapters), variables(params, begun)):
            hidden: Any = model.apply(tree, *inputs, method="hidden")
            kernel = model.apply(tree, method="output_kernel")
            sides.append((hidden, kernel))
        (adapted, kernel), (plain, plain_kernel) = sides

        def of_position(position: jax.Array) -> jax.Array:
            """Of one decoder position: the logits of all would not fit a large vocabulary's memory."""
            logits = [
                project(model.config, k, h[:, position][:, None])[:, 0]
                for h, k in ((adapted, kernel), (plain, plain_kernel))
            ]
            weights = batch["decoder_loss_weights"][:, position]
            return jnp.max(jnp.abs(logits[0] - logits[1]) * weights[:, None])

        return jnp.max(jax.lax.map(of_position, jnp.arange(adapted.shape[1])))

    return float(largest(state.params, state.adapters, begun, batch))

"""The turns of a PPO run: its learner, scores, rollouts and evaluations, put into the one loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath
from jax.sharding import Mesh

from t5x_lite import streams
from t5x_lite.data.plan import Plan
from t5x_lite.params.overview import count
from t5x_lite.rl.preflight import Checks
from t5x_lite.rl.rewards import WeightedSum
from t5x_lite.rl.rollout import Roller
from t5x_lite.rl.step import PPOState
from t5x_lite.rl.turns import Learner, PPOTurns, Scoring
from t5x_lite.tasks.ppo import report as ppo_report
from t5x_lite.tasks.ppo.measure import Measure
from t5x_lite.tasks.ppo.parts import Algorithm, Parts, Trees, jit_ppo_step, prompts_of
from t5x_lite.tasks.ppo.sections import Config
from t5x_lite.tasks.ppo.texts import Rollouts, Texts
from t5x_lite.wiring.resume import States, cadence_of, place_of, run_turns


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a run is made of; `held` are its arrays, the state aside."""

    algorithm: Algorithm
    parts: Parts
    held: Trees
    roller: Roller
    reward: WeightedSum
    texts: Texts
    prompts: Plan


def train_policy(
    config: Config,
    setup: Setup,
    examples: str,
    measure: Measure,
    folder: epath.Path,
    mesh: Mesh,
) -> PPOState:
    """Turns until the last step, from where the folder's last checkpoint is; the state then.

    examples: the fingerprint of the training rows, which a run that goes on must have again.
    """
    parts, held = setup.parts, setup.held
    few = config.evaluation.rows_while_training
    sizes = sizes_of(parts)

    def evaluate(state: PPOState, stopping: Callable[[], bool]) -> Mapping[str, float] | None:
        if stopping():
            return None
        return ppo_report.evaluation_metrics(measure(state.trainable, few, 1)) if few else {}

    learner = Learner(
        parts.policy,
        held.frozen,
        held.reference,
        jit_ppo_step(parts, setup.algorithm, mesh),
        streams.key(config.seed, "update"),
    )
    return run_turns(
        place_of(config, folder),
        States(lambda: parts.begin(held.initial), parts.state),
        cadence_of(config, config.ppo.steps),
        {"examples": examples, "frozen": parts.adaptation.frozen_fingerprint},
        lambda start, batch_of: PPOTurns(
            learner,
            setup.roller,
            lambda number: prompts_of(setup.prompts)(batch_of(number + 1)),
            Scoring(
                lambda rows, tokens: setup.reward.to_learn_from(*setup.texts.of(rows, tokens)),
                setup.algorithm.scores,
            ),
            Checks(config.mode, config.reference.source, config.ppo.dropout),
            Rollouts(folder, start, setup.texts),
            lambda step: setup.prompts.names(batch_of(step)),
        ),
        evaluate,
        f"{sizes['trainable parameters']:,} of {sizes['all parameters']:,} parameters are trained (value head and"
        f" critic: {sizes['parameters of value head and critic']:,}); {config.ppo.steps} steps of"
        f" {config.ppo.prompts * config.ppo.samples_per_prompt} responses",
    )  # fmt: skip


def sizes_of(parts: Parts) -> dict[str, Any]:
    """Counts of parameters, by what the report calls them."""
    heads = {name: tree for name, tree in parts.shapes.initial.items() if name != "policy"}
    return {**parts.adaptation.sizes(), "parameters of value head and critic": count(heads)}

"""PPO (or RLOO, GRPO) of a summarizer against a reward: config -> prompts -> rollouts -> updates -> report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath
from jax.sharding import Mesh

from t5x_lite import streams
from t5x_lite.data.features import fingerprint
from t5x_lite.data.plan import Plan
from t5x_lite.decoding.structure import prepare
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.processes import wait_for_all
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.params.overview import count
from t5x_lite.rl.preflight import Checks
from t5x_lite.rl.rewards import WeightedSum, check_rewards, make_rewards
from t5x_lite.rl.rollout import Roller
from t5x_lite.rl.step import PPOState
from t5x_lite.rl.turns import Learner, PPOTurns, Scoring
from t5x_lite.tasks.ppo import report as ppo_report
from t5x_lite.tasks.ppo.measure import Measure
from t5x_lite.tasks.ppo.outcome import report, save_policy
from t5x_lite.tasks.ppo.parts import (
    Algorithm,
    Parts,
    Trees,
    check_policy,
    check_rollout,
    in_range,
    jit_ppo_step,
    make_roller,
    parts_of,
    prompt_length,
    prompt_plan,
    prompts_of,
    read_algorithm,
)
from t5x_lite.tasks.ppo.rewards import Classifiers, make_judge, probe, sources_of
from t5x_lite.tasks.ppo.sections import Config
from t5x_lite.tasks.ppo.texts import Rollouts, Texts
from t5x_lite.wiring.classifier_training import put_rows
from t5x_lite.wiring.holdout import read_with_holdout
from t5x_lite.wiring.model import load_model
from t5x_lite.wiring.resume import States, cadence_of, place_of, run_turns
from t5x_lite.wiring.text import check_texts, get_vocabulary, make_split
from t5x_lite.wiring.trained_sources import check_source, rehearse_sources, trained
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


@dataclasses.dataclass(frozen=True)
class _Setup:
    """What a run is made of; `held` are its arrays, the state aside."""

    algorithm: Algorithm
    parts: Parts
    held: Trees
    roller: Roller
    reward: WeightedSum
    texts: Texts
    prompts: Plan


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is; a finished run is measured again."""
    mesh = make_mesh(config.mesh.sizes())
    algorithm, settings = read_algorithm(config, mesh), check_rollout(config)
    _check(config)
    train_rows, evaluation_rows = read_with_holdout(
        config.data,
        config.seed,
        lambda rows: in_range(rows, config.data.cut_field, config.data.characters),
    )
    folder = open_workdir(workdir, config)
    source = trained(config.model.source, folder / "trained_model")
    built = dataclasses.replace(config, model=dataclasses.replace(config.model, source=source))
    with on_mesh(mesh):
        vocabulary = get_vocabulary(built, train_rows, folder)
        train = make_split(config.data, train_rows, vocabulary, "train")
        held_out = make_split(config.data, evaluation_rows, vocabulary, "evaluation")
        execution = config.model.execution
        loaded = load_model(built.model, execution, vocabulary, mesh, config.seed)
        prepare(settings, loaded.model.config, config.ppo.prompts)
        parts = parts_of(config, loaded, algorithm, mesh)
        rehearse_sources(sources_of(config).values(), folder)
        reward, toxicity, judges = _judges(config, folder, mesh)
        held = parts.make()
        # The first call of the rewards: what is wrong with their arguments must not spoil the folder.
        probes, found = probe(
            dataclasses.asdict(config.toxicity.probes), train_rows[0], reward, toxicity
        )
        claim_workdir(folder, config)
        roller = make_roller(
            parts, settings, config.rollout, loaded.abstract, put_rows(mesh), config.seed
        )
        # One length for both, so that measuring compiles nothing anew where its batches have as many rows.
        length = prompt_length(train.examples, held_out.examples)
        plan, evaluation = (
            prompt_plan(
                split.examples, loaded.model.config, length=length, rows=rows, seed=seed,
                multiple=row_multiple(mesh),
            )
            for split, rows, seed in (
                (train, config.ppo.prompts, config.seed),
                (held_out, config.evaluation.batch_size, None),
            )
        )  # fmt: skip
        measure = Measure(
            config, vocabulary, evaluation_rows, evaluation, (held, roller),
            (reward, toxicity, judges),
        )  # fmt: skip
        texts = Texts(config, vocabulary, train_rows)
        setup = _Setup(algorithm, parts, held, roller, reward, texts, plan)
        state = _train(config, setup, fingerprint(train.examples), measure, folder, mesh)
        save_policy(
            folder, built.model.source, loaded.model.config, parts.adaptation, held,
            state.trainable, roller.generation_params(state.trainable, held.frozen), vocabulary,
        )  # fmt: skip
        before, after, others = _measured(config, measure, held.initial, state.trainable)
    wait_for_all()  # the reports of all read what process 0 wrote
    report(config, folder, evaluation_rows, (before, after, others), (probes, found), _sizes(parts))


def _check(config: Config) -> None:
    """What is wrong with the config and can be told before any data is read."""
    check_policy(config)
    check_texts(config.data, ("train",))
    check_rewards(config.rewards, "config.rewards")
    for where, source in {"config.model.source": config.model.source, **sources_of(config)}.items():
        check_source(source, where)


def _train(
    config: Config,
    setup: _Setup,
    examples: str,
    measure: Measure,
    folder: epath.Path,
    mesh: Mesh,
) -> PPOState:
    parts, held = setup.parts, setup.held
    few = config.evaluation.rows_while_training
    sizes = _sizes(parts)

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


def _judges(config: Config, folder: epath.Path, mesh: Mesh) -> tuple[WeightedSum, Any, Any]:
    """The reward, the judge of toxicity, and the judges that no reward reads."""
    classifiers = Classifiers(folder, mesh)
    reward = make_rewards(config.rewards, classifiers.load, "config.rewards")
    toxicity = make_judge(config.toxicity, classifiers)
    return (
        reward,
        toxicity,
        {
            name: make_judge(section, classifiers, f"config.judges.{name}")
            for name, section in config.judges.items()
        },
    )


def _measured(
    config: Config, measure: Measure, before: Any, after: Any
) -> tuple[ppo_report.Measured, ppo_report.Measured, dict[str, ppo_report.Measured]]:
    """The responses of the policy before and after, and of further systems (best of n)."""
    draws, several = config.evaluation.draws, config.evaluation.best_of
    measured = measure(before, 0, draws), measure(after, 0, draws)
    others = {f"best of {several}": measure.best_of(before, several)} if several > 1 else {}
    return *measured, others


def _sizes(parts: Parts) -> dict[str, Any]:
    heads = {name: tree for name, tree in parts.shapes.initial.items() if name != "policy"}
    return {**parts.adaptation.sizes(), "parameters of value head and critic": count(heads)}

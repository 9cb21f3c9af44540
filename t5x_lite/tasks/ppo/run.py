"""PPO (or RLOO, GRPO) of a summarizer against a reward: config -> prompts -> rollouts -> updates -> report."""

from __future__ import annotations

import dataclasses

from t5x_lite.data.features import fingerprint
from t5x_lite.decoding.structure import prepare
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.processes import wait_for_all
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.tasks.ppo.measure import Measure
from t5x_lite.tasks.ppo.outcome import report, save_policy
from t5x_lite.tasks.ppo.parts import (
    check_policy,
    check_rollout,
    in_range,
    make_roller,
    parts_of,
    prompt_length,
    prompt_plan,
    read_algorithm,
)
from t5x_lite.tasks.ppo.rewards import check_judges, judges_of, probe, sources_of
from t5x_lite.tasks.ppo.sections import Config
from t5x_lite.tasks.ppo.texts import Texts
from t5x_lite.tasks.ppo.training import Setup, sizes_of, train_policy
from t5x_lite.wiring.classifier_training import put_rows
from t5x_lite.wiring.holdout import read_with_holdout
from t5x_lite.wiring.model import load_model
from t5x_lite.wiring.text import check_texts, get_vocabulary, make_split
from t5x_lite.wiring.trained_sources import rehearse_sources, trained
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is; a finished run is measured again."""
    mesh = make_mesh(config.mesh.sizes())
    algorithm, settings = read_algorithm(config, mesh), check_rollout(config)
    check_policy(config)
    check_texts(config.data, ("train",))
    check_judges(config)
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
        loaded = load_model(built.model, config.model.execution, vocabulary, mesh, config.seed)
        prepare(settings, loaded.model.config, config.ppo.prompts)
        parts = parts_of(config, loaded, algorithm, mesh)
        rehearse_sources(sources_of(config).values(), folder)
        reward, toxicity, judges = judges_of(config, folder, mesh)
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
        setup = Setup(algorithm, parts, held, roller, reward, texts, plan)
        state = train_policy(config, setup, fingerprint(train.examples), measure, folder, mesh)
        save_policy(
            folder, built.model.source, loaded.model.config, parts.adaptation, held,
            state.trainable, roller.generation_params(state.trainable, held.frozen), vocabulary,
        )  # fmt: skip
        measured = measure.before_and_after(held.initial, state.trainable)
    wait_for_all()  # the reports of all read what process 0 wrote
    report(config, folder, evaluation_rows, measured, (probes, found), sizes_of(parts))

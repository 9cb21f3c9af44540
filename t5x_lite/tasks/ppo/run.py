"""PPO (or RLOO, GRPO) of a summarizer against a reward: config -> prompts -> rollouts -> updates -> report."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from t5x_lite.checkpoints import Checkpoints
from t5x_lite.console import log
from t5x_lite.data.features import fingerprint
from t5x_lite.decoding.generate import Generator
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.processes import check_same, from_process_zero, wait_for_all
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.params.lora import merge
from t5x_lite.params.overview import count
from t5x_lite.reports.metrics import MetricsWriter
from t5x_lite.rl.loop import Roller, run_ppo
from t5x_lite.rl.policy import make_resharding
from t5x_lite.rl.rewards import check_rewards, make_rewards
from t5x_lite.rl.rollout import make_scorer
from t5x_lite.tasks.ppo import report as ppo_report
from t5x_lite.tasks.ppo.measure import Measure
from t5x_lite.tasks.ppo.outcome import report, save_policy
from t5x_lite.tasks.ppo.parts import (
    Parts,
    check_policy,
    check_rollout,
    in_range,
    jit_ppo_step,
    make_parts,
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
from t5x_lite.wiring.model import load_model, shardings_of
from t5x_lite.wiring.supervised import check_same_run
from t5x_lite.wiring.text import check_texts, get_vocabulary, make_split
from t5x_lite.wiring.trained_sources import check_source, trained
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is; a finished run is measured again."""
    mesh = make_mesh(config.mesh.sizes())
    algorithm, settings = read_algorithm(config, mesh), check_rollout(config)
    check_policy(config)
    check_texts(config.data, ("train",))
    check_rewards(config.rewards, "config.rewards")
    for where, source in sources_of(config).items():
        check_source(source, where)
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
        model = loaded.model.config
        classifiers = Classifiers(folder, mesh)
        reward = make_rewards(config.rewards, classifiers.load, "config.rewards")
        toxicity = make_judge(config.toxicity, classifiers)
        judges = {name: make_judge(section, classifiers) for name, section in config.judges.items()}
        parts = make_parts(config, loaded, algorithm, mesh)
        claim_workdir(folder, config)
        probes, found = probe(
            dataclasses.asdict(config.toxicity.probes), train_rows[0], reward, toxicity
        )
        roller = Roller(
            Generator(model, execution),
            model,
            make_resharding(merge, shardings_of(loaded.abstract)),
            make_scorer(parts.policy),
            settings,
            length=config.rollout.length,
            length_range=config.rollout.length_range or None,
            mask_first_token=config.rollout.mask_first_token,
            put=put_rows(mesh),
            seed=config.seed,
        )
        texts = Texts(config, vocabulary, train_rows)
        # One length for both, so that measuring compiles nothing anew where its batches have as many rows.
        length = prompt_length(train.examples, held_out.examples)
        plan, evaluation = (
            prompt_plan(
                split.examples, model, length=length, rows=rows, seed=seed,
                multiple=row_multiple(mesh),
            )
            for split, rows, seed in (
                (train, config.ppo.prompts, config.seed),
                (held_out, config.evaluation.batch_size, None),
            )
        )  # fmt: skip
        measure = Measure(
            config, vocabulary, evaluation_rows, evaluation, parts, roller, reward, toxicity, judges
        )
        sizes = _sizes(parts)
        metadata = {
            "examples": fingerprint(train.examples),
            "frozen": parts.adaptation.frozen_fingerprint,
        }
        check_same("training examples", metadata["examples"])
        checkpoints = Checkpoints(folder / "checkpoints", keep=config.checkpoint.keep)
        try:
            start, state = 0, parts.state
            if from_process_zero(checkpoints.latest_step) is not None:
                state, saved = checkpoints.restore(parts.abstract_state)
                start = int(state.step)
                check_same_run(saved, metadata, folder)
                log.info("going on from step %d of %s", start, checkpoints.directory)
            log.info(
                "%s of %s parameters are trained (value head and critic: %s); %d prompts; %d steps of %d responses",
                f"{sizes['trainable parameters']:,}", f"{sizes['all parameters']:,}",
                f"{sizes['parameters of value head and critic']:,}", len(train_rows),
                config.ppo.steps, config.ppo.prompts * config.ppo.samples_per_prompt,
            )  # fmt: skip
            few = config.evaluation.rows_while_training
            with MetricsWriter(
                folder, start_step=start, tensorboard=config.logging.tensorboard
            ) as writer:
                state = run_ppo(
                    parts.policy,
                    roller,
                    jit_ppo_step(parts, algorithm, mesh),
                    state,
                    parts.frozen,
                    parts.reference,
                    prompts_of(plan),
                    lambda rows, tokens: reward(*texts.of(rows, tokens)),
                    algorithm.scores,
                    jax.random.fold_in(jax.random.key(config.seed), 1),
                    start=start,
                    steps=config.ppo.steps,
                    mode=config.mode,
                    reference_name=config.reference.source,
                    dropout=config.ppo.dropout,
                    writer=writer,
                    recorder=Rollouts(folder, start, texts),
                    evaluate=lambda state, step: (
                        ppo_report.evaluation_metrics(measure(state.trainable, few, 1))
                        if few
                        else {}
                    ),
                    evaluate_every=config.evaluation.every_steps,
                    saver=checkpoints,
                    save_every=config.checkpoint.every_steps,
                    metadata=metadata,
                )
        finally:
            checkpoints.close()
        save_policy(
            folder, built.model.source, model, parts, state.trainable,
            roller.generation_params(state.trainable, parts.frozen), vocabulary,
        )  # fmt: skip
        before, after = (
            measure(trainable, 0, config.evaluation.draws)
            for trainable in (parts.initial, state.trainable)
        )
        others = {}
        if (several := config.evaluation.best_of) > 1:
            others[f"best of {several}"] = measure.best_of(parts.initial, several)
    wait_for_all()  # the reports of all read what process 0 wrote
    report(config, folder, evaluation_rows, before, after, others, probes, found, sizes)


def _sizes(parts: Parts) -> dict[str, Any]:
    heads = {name: tree for name, tree in parts.initial.items() if name != "policy"}
    return {**parts.adaptation.sizes(), "parameters of value head and critic": count(heads)}

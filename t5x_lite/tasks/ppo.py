"""PPO (or RLOO, GRPO) of a summarizer against a reward: config -> prompts -> rollouts -> updates -> report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from t5x_lite.checkpoints import Checkpoints
from t5x_lite.console import log
from t5x_lite.data.features import fingerprint
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import find_template, render
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.generate import Generator
from t5x_lite.errors import InputError
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.text_classifier import TextClassifier, load_text_classifier
from t5x_lite.interop.hf import save_hf
from t5x_lite.models.config import Execution
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.params.lora import merge
from t5x_lite.params.overview import count
from t5x_lite.reports.environment import environment
from t5x_lite.reports.metrics import MetricsWriter, json_value, read_metrics
from t5x_lite.reports.report import write_report
from t5x_lite.rl.loop import Roller, run_ppo
from t5x_lite.rl.policy import make_resharding
from t5x_lite.rl.rewards import OUTPUTS, ClassifierReward, WeightedSum, check_rewards, make_rewards
from t5x_lite.rl.rollout import make_scorer
from t5x_lite.tasks import ppo_report
from t5x_lite.tasks.classifier_training import put_rows
from t5x_lite.tasks.holdout import read_with_holdout
from t5x_lite.tasks.model import load_model, shardings_of
from t5x_lite.tasks.ppo_wiring import (
    Parts,
    check_adapter,
    check_rollout,
    in_range,
    jit_ppo_step,
    make_parts,
    prompt_plan,
    prompts_of,
    read_algorithm,
    sum_rows,
)
from t5x_lite.tasks.recipes import check_source, trained
from t5x_lite.tasks.text import check_texts, get_vocabulary, make_split
from t5x_lite.tasks.workdir import claim_workdir, local_copy, open_workdir

_CONFIDENCE = 0.95
_EVALUATION_SEED = 1_000_003  # added to the seed: responses that are measured are no rollouts


def run(config: ConfigDict, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is."""
    if jax.process_count() > 1:
        raise InputError("the task 'ppo' runs in one process (on any number of devices)")
    mesh = make_mesh(config.mesh.to_dict())
    algorithm, settings = read_algorithm(config, mesh), check_rollout(config)
    check_adapter(config)
    check_texts(config.data, ("train",))
    check_rewards(config.rewards.to_dict(), "config.rewards")
    for where, source in _sources(config).items():
        check_source(source, where)
    train_rows, evaluation_rows = (
        in_range(rows, config.data.cut_field, config.data.characters)
        for rows in read_with_holdout(config.data, config.seed)
    )
    folder = open_workdir(workdir, config)
    built = config.copy_and_resolve_references().unlock()
    built.model.source = trained(config.model.source, folder / "trained_model")
    with on_mesh(mesh):
        vocabulary = get_vocabulary(built, train_rows, folder)
        train = make_split(config.data, train_rows, vocabulary, "train")
        held_out = make_split(config.data, evaluation_rows, vocabulary, "evaluation")
        execution = Execution(dtype=config.model.dtype, attention=config.model.attention)
        loaded = load_model(built.model, execution, vocabulary, mesh, config.seed)
        model = loaded.model.config
        classifiers = _Classifiers(folder, mesh)
        reward = make_rewards(config.rewards.to_dict(), classifiers.load, "config.rewards")
        judge = _judge(config, classifiers)
        parts = make_parts(config, loaded, algorithm, mesh)
        claim_workdir(folder, config)
        roller = Roller(
            Generator(model, execution),
            model,
            make_resharding(parts.policy, merge, shardings_of(loaded.abstract)),
            make_scorer(parts.policy),
            settings,
            length=config.rollout.length,
            length_range=tuple(config.rollout.length_range) or None,
            mask_first_token=config.rollout.mask_first_token,
            put=put_rows(mesh),
            seed=config.seed,
        )
        texts = _Texts(config, vocabulary, train_rows)
        measure = _Measure(
            config, vocabulary, evaluation_rows, held_out, parts, roller, reward, judge, mesh
        )
        plan = prompt_plan(
            train.examples, model, rows=config.ppo.prompts, seed=config.seed,
            multiple=row_multiple(mesh),
        )  # fmt: skip
        checkpoints = Checkpoints(folder / "checkpoints", keep=config.checkpoint.keep)
        try:
            start, state = 0, parts.state
            examples = fingerprint(train.examples)
            if checkpoints.latest_step() is not None:
                state, saved = checkpoints.restore(parts.abstract_state)
                start = int(state.step)
                if saved["examples"] != examples:
                    raise InputError(
                        f"--workdir {folder}: the prompts are not those that its run began with; take another folder"
                    )
                log.info("going on from step %d of %s", start, checkpoints.directory)
            log.info(
                "%s trainable of %s parameters; %d prompts; %d steps of %d responses",
                f"{count(state.trainable):,}",
                f"{count(loaded.abstract) + (count(state.trainable) if parts.frozen else 0):,}",
                len(train_rows), config.ppo.steps, config.ppo.prompts * config.ppo.samples_per_prompt,
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
                    recorder=_Rollouts(folder, start, texts),
                    evaluate=lambda state, step: (
                        ppo_report.evaluation_metrics(measure(state.trainable, few)) if few else {}
                    ),
                    evaluate_every=config.evaluation.every_steps,
                    saver=checkpoints,
                    save_every=config.checkpoint.every_steps,
                    metadata={"examples": examples},
                )
        finally:
            checkpoints.close()
        params = roller.generation_params(state.trainable, parts.frozen)
        with local_copy(folder / "model", with_files=False) as directory:
            save_hf(directory, model, params, vocabulary)
        before, after = measure(parts.initial, 0), measure(state.trainable, 0)
        others = {}
        if config.evaluation.best_of > 1:
            others[f"best of {config.evaluation.best_of}"] = measure.best_of(parts.initial)
    _report(config, folder, evaluation_rows, before, after, others, count(state.trainable))


def _sources(config: ConfigDict) -> dict[str, str]:
    """Every model source by the name of its field."""
    found = {
        "config.model.source": config.model.source,
        "config.toxicity.source": config.toxicity.source,
    }
    for name, section in config.rewards.items():
        if "source" in section:
            found[f"config.rewards.{name}.source"] = section.source
    return found


class _Classifiers:
    """Opens each source once; "train:" ones are trained in the folder first."""

    def __init__(self, folder: epath.Path, mesh: Mesh):
        self._folder, self._put = folder, put_rows(mesh)
        self._opened: dict[str, TextClassifier] = {}

    def load(self, source: str) -> TextClassifier:
        if source not in self._opened:
            name = "".join(c if c.isalnum() else "_" for c in source)
            place = trained(source, self._folder / f"trained_{name}")
            self._opened[source] = load_text_classifier(place, put=self._put)
        return self._opened[source]


def _judge(
    config: ConfigDict, classifiers: _Classifiers
) -> Callable[[Sequence[Row], Sequence[str]], np.ndarray]:
    """(rows, responses) -> p(toxic): an independent judge, where its source is another than the reward's."""
    section = config.toxicity
    judge = classifiers.load(section.source)
    judge.index(section.label)
    return ClassifierReward(judge, section.label, OUTPUTS[1], section.text)


class _Texts:
    """Responses as rewards read them: the rows they answer, with {prompt} and {raw_response}, and their texts."""

    def __init__(self, config: ConfigDict, vocabulary: Vocabulary, rows: Sequence[Row]):
        self._vocabulary, self._rows = vocabulary, rows
        self._template = find_template(config.data.template)

    def of(self, rows: np.ndarray, tokens: Sequence[np.ndarray]) -> tuple[list[Row], list[str]]:
        raw = self._vocabulary.tokenizer.batch_decode(
            [ids.tolist() for ids in tokens], skip_special_tokens=False
        )
        extended = [
            {
                **self._rows[number],
                "prompt": self._template.render(self._rows[number]),
                "raw_response": text,
            }
            for number, text in zip(rows.tolist(), raw, strict=True)
        ]
        return extended, [text.strip() for text in self._vocabulary.decode(tokens)]


class _Rollouts:
    """samples of training and what is no single number, a line a step: rollouts.jsonl and distributions.jsonl."""

    def __init__(self, folder: epath.Path, start: int, texts: _Texts):
        self._files = {name: folder / f"{name}.jsonl" for name in ("rollouts", "distributions")}
        self._texts = texts
        for file in self._files.values():
            # A resumed run repeats nothing that is written.
            lines = file.read_text().splitlines() if start and file.exists() else []
            kept = [line for line in lines if json.loads(line)["step"] <= start]
            file.write_text("".join(f"{line}\n" for line in kept))

    def record(self, step: int, content: Mapping[str, Any]) -> None:
        _, responses = self._texts.of(content["rows"], content["tokens"])
        rows = {"rows": content["rows"], "responses": responses, "scores": content["scores"]}
        for name, values in (("rollouts", rows), ("distributions", content["distributions"])):
            line = json.dumps(json_value({"step": step, **values}), ensure_ascii=False)
            with self._files[name].open("a") as file:
                file.write(f"{line}\n")


class _Measure:
    """Responses to the evaluation rows, seeded, and their scores."""

    def __init__(
        self,
        config: ConfigDict,
        vocabulary: Vocabulary,
        rows: Sequence[Row],
        split: Any,
        parts: Parts,
        roller: Roller,
        reward: WeightedSum,
        judge: Callable[[Sequence[Row], Sequence[str]], np.ndarray],
        mesh: Mesh,
    ):
        self._config, self._rows = config, list(rows)
        self._parts, self._reward, self._judge = parts, reward, judge
        settings = roller.settings.updated({"num_return_sequences": 1})
        self._roller = dataclasses.replace(
            roller, settings=settings, seed=config.seed + _EVALUATION_SEED
        )
        self._plan = prompt_plan(
            split.examples, roller.config, rows=config.evaluation.batch_size, seed=None,
            multiple=row_multiple(mesh),
        )  # fmt: skip
        self._texts = _Texts(config, vocabulary, rows)
        self._references = [render(config.data.target, row) for row in rows]

    def __call__(self, trainable: Any, limit: int, draw: int = 0) -> ppo_report.Measured:
        """One response to each of the first `limit` rows (0: all); another `draw` samples others."""
        rows, extended, texts, kl = self._respond(trainable, limit or len(self._rows), draw)
        references = [self._references[i] for i in rows]
        return ppo_report.measure(extended, references, texts, kl, self._reward, self._judge)

    def best_of(self, trainable: Any) -> ppo_report.Measured:
        """Of `evaluation.best_of` responses to every row the one with the highest reward. No weight is trained."""
        drawn = [self(trainable, 0, n) for n in range(self._config.evaluation.best_of)]
        best = np.argmax([measured.reward for measured in drawn], axis=0)
        columns = {
            name: np.array([drawn[n].numbers()[name][i] for i, n in enumerate(best)])
            for name in drawn[0].numbers()
        }
        return ppo_report.Measured([drawn[n].responses[i] for i, n in enumerate(best)], **columns)

    def _respond(
        self, trainable: Any, limit: int, draw: int
    ) -> tuple[list[int], list[Row], list[str], np.ndarray]:
        extended: list[Row] = []
        texts: list[str] = []
        rows: list[int] = []
        kl: list[float] = []
        prompts = prompts_of(self._plan)
        for step in range(self._plan.steps_per_epoch):
            if len(rows) >= limit:
                break
            batch = prompts(step)
            number = draw * self._plan.steps_per_epoch + step
            responses = self._roller.respond(trainable, self._parts.frozen, batch, number)
            scored = self._roller.score(
                trainable, self._parts.frozen, self._parts.reference, responses.inputs
            )
            tokens = np.asarray(responses.inputs["decoder_target_tokens"])
            real = np.flatnonzero(batch.rows >= 0)[: limit - len(rows)]
            of_batch, written = self._texts.of(
                batch.rows[real], [tokens[i, : responses.lengths[i]] for i in real]
            )
            extended += of_batch
            texts += written
            rows += batch.rows[real].tolist()
            difference = jnp.subtract(scored.logprobs, scored.ref_logprobs)
            kl += sum_rows(difference, responses.mask)[real].tolist()
        return rows, extended, texts, np.array(kl)


def _report(
    config: ConfigDict,
    folder: epath.Path,
    rows: Sequence[Row],
    before: ppo_report.Measured,
    after: ppo_report.Measured,
    others: Mapping[str, ppo_report.Measured],
    trainable: int,
) -> None:
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    table = ppo_report.comparison(before, after, others, bootstrap)
    found = ppo_report.warnings(before, after, bootstrap)
    for warning in found:
        log.warning("%s", warning)
    for line in table:
        log.info(
            "%s: %.4g before, %.4g after (difference %.4g, %.4g to %.4g, p %.2g)",
            *(line[key] for key in ("number", "before", "after", "difference", "low", "high", "p")),
        )
    systems = {"before": before, "after": after, **others}
    with (folder / "samples.jsonl").open("w") as file:
        for i, row in enumerate(rows):
            record: dict[str, Any] = {"id": row["id"], "input": row[config.data.cut_field]}
            for name, measured in systems.items():
                record |= {
                    f"response {name}": measured.responses[i],
                    f"reward {name}": float(measured.reward[i]),
                }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    steps = [record for record in read_metrics(folder) if "objective/kl" in record]
    published = config.published.to_dict()
    report = {
        "title": f"{config.task} ({config.mode}): {config.data.train.source}",
        "summary": " ".join(found) or "Nothing to warn of.",
        "before and after": table,
        "toxicity of responses": ppo_report.toxicity_table(systems, bootstrap),
        "judges": ppo_report.agreement_of_judges(before, after),
        "responses by change of reward": ppo_report.largest_changes(rows, before, after),
        "training": {
            "steps": config.ppo.steps,
            "trainable parameters": trainable,
            "KL at step 1": steps[0]["objective/kl"],
            "KL at the last step": steps[-1]["objective/kl"],
            "mean score at step 1": steps[0]["ppo/mean_scores"],
            "mean score at the last step": steps[-1]["ppo/mean_scores"],
            "responses without an end": steps[-1]["ppo/missing_eos"],
        },
        "evaluation rows": len(rows),
        "samples": [
            {"id": row["id"], "input": row[config.data.cut_field], "before": b, "after": a}
            for row, b, a in zip(rows, before.responses, after.responses, strict=True)
        ][: config.evaluation.samples],
        "environment": environment(),
        "config": config.to_dict(),
    }
    if published:
        report["published"] = [{"run": name, **numbers} for name, numbers in published.items()]
    write_report(folder, report, ppo_report.PANELS)
    log.info("report: %s", folder / "report.md")

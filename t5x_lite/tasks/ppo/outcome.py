"""What a PPO run leaves: the policy as files that other tasks read, samples.jsonl, and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from t5x_lite.console import log
from t5x_lite.data.sources import Row
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.interop.hf import save_hf
from t5x_lite.interop.peft import save_adapter
from t5x_lite.models.config import T5Config
from t5x_lite.params.partition import TRAINABLE, separate
from t5x_lite.reports.environment import environment
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.reports.report import write_report
from t5x_lite.rl.policy import parts_of
from t5x_lite.tasks.ppo import report as ppo_report
from t5x_lite.tasks.ppo.parts import Parts
from t5x_lite.tasks.ppo.rewards import places_of
from t5x_lite.tasks.ppo.tried import tried_on
from t5x_lite.wiring.adaptation import unrolled_adapter
from t5x_lite.wiring.model import RANDOM
from t5x_lite.wiring.workdir import local_copy

_CONFIDENCE = 0.95


def save_policy(
    folder: epath.Path,
    base: str,
    model: T5Config,
    parts: Parts,
    trainable: Any,
    merged: Any,
    vocabulary: Vocabulary,
) -> None:
    """Writes the policy, as `finetune` does what it trained.

    Without an adapter: model/. With one: adapter/ in peft's format, merged/ (the model with the adapter in its
    weights), and model/, its base, where that is nowhere else (random weights, or trained ones).

    base: where the model came from (`model.source`).
    """
    params, adapters = parts_of(trainable, parts.frozen)
    adaptation = parts.adaptation
    labels = jax.tree.leaves(separate(adaptation.labels)[0]) if adaptation.labels else [TRAINABLE]
    if TRAINABLE in labels or base == RANDOM:
        with local_copy(folder / "model", with_files=False) as directory:
            save_hf(directory, model, params, vocabulary)
        base = str(folder / "model")
    if adaptation.settings is None:
        return
    adapter = unrolled_adapter(adaptation, adapters)
    with local_copy(folder / "adapter", with_files=False) as directory:
        save_adapter(directory, model, params, adapter, base)
    with local_copy(folder / "merged", with_files=False) as directory:
        save_hf(directory, model, merged, vocabulary)


def report(
    config: ConfigDict,
    folder: epath.Path,
    rows: Sequence[Row],
    before: ppo_report.Measured,
    after: ppo_report.Measured,
    others: Mapping[str, ppo_report.Measured],
    probes: list[dict[str, Any]],
    found: Sequence[str],
    sizes: Mapping[str, Any],
) -> None:
    """Writes samples.jsonl and the report, and logs the comparison.

    others: further systems (best of n). probes: of `ppo_rewards.probe`, with what it `found`.
    """
    before, after, left_out = ppo_report.finite_ones(before, after)
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    table = ppo_report.comparison(before, after, others, bootstrap)
    found = [*found, *left_out, *ppo_report.warnings(before, after, bootstrap)]
    for warning in found:
        log.warning("%s", warning)
    for line in table:
        log.info(
            "%s: %.4g before, %.4g after (difference %.4g, %.4g to %.4g, p %.2g)",
            *(line[key] for key in ("number", "before", "after", "difference", "low", "high", "p")),
        )
    systems = {"before": before, "after": after, **others}
    _write_samples(folder, rows, before, after, config.data.cut_field)
    steps = [record for record in read_metrics(folder) if "objective/kl" in record]
    toxicity = ppo_report.toxicity_table(systems, config.toxicity.rows, bootstrap)
    content = {
        "title": f"{config.task} ({config.mode}): {config.data.train.source}",
        "summary": " ".join(found) or "Nothing to warn of.",
        "before and after": table,
        "toxicity of responses": toxicity,
        "judges": ppo_report.agreement_of_judges(before, after),
        "rewards and judges were tried on": tried_on(places_of(config, folder)),
        "rewards of a clean and a toxic text": probes,
        "responses by change of reward": ppo_report.largest_changes(rows, before, after),
        "training": {
            "steps": config.ppo.steps,
            **sizes,
            "KL at step 1": steps[0]["objective/kl"],
            "KL at the last step": steps[-1]["objective/kl"],
            "largest KL": max(step["objective/kl"] for step in steps),
            "KL target": config.ppo.kl_target,
            "mean score at step 1": steps[0]["ppo/mean_scores"],
            "mean score at the last step": steps[-1]["ppo/mean_scores"],
            "responses without an end": steps[-1]["ppo/missing_eos"],
            "minutes in steps": sum(step["time/ppo/total"] for step in steps) / 60,
        },
        "seconds a step": ppo_report.seconds_a_step(steps),
        "evaluation": {"rows": len(set(before.rows.tolist())), "responses": len(before.rows)},
        "samples": [
            {
                "id": rows[number]["id"],
                "input": rows[number][config.data.cut_field],
                "before": before.responses[i],
                "after": after.responses[i],
            }
            for i, number in enumerate(before.rows[: config.evaluation.samples].tolist())
        ],
        "environment": environment(),
        "config": config.to_dict(),
    }
    if config.published:
        content["published"] = ppo_report.beside_published(toxicity, config.published.to_dict())
    write_report(folder, content, ppo_report.PANELS)
    log.info("report: %s", folder / "report.md")


def _write_samples(
    folder: epath.Path,
    rows: Sequence[Row],
    before: ppo_report.Measured,
    after: ppo_report.Measured,
    field: str,
) -> None:
    with (folder / "samples.jsonl").open("w") as file:
        for i, number in enumerate(before.rows.tolist()):
            record: dict[str, Any] = {"id": rows[number]["id"], "input": rows[number][field]}
            for name, measured in (("before", before), ("after", after)):
                record |= {f"response {name}": measured.responses[i]} | {
                    f"{column} {name}": float(values[i])
                    for column, values in measured.numbers().items()
                }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

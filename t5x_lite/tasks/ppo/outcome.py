"""What a PPO run leaves: the policy as files that other tasks read, samples.jsonl, and the report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from t5x_lite.console import log
from t5x_lite.data.sources import Row
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.interop.hf import save_hf
from t5x_lite.interop.peft import save_adapter
from t5x_lite.models.config import T5Config
from t5x_lite.params.partition import TRAINABLE, separate
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.reports.outcome import report_run
from t5x_lite.reports.report import WARNINGS
from t5x_lite.rl.policy import parts_of
from t5x_lite.rl.sections import ClassifierRewardSettings
from t5x_lite.tasks.ppo import report as ppo_report
from t5x_lite.tasks.ppo.parts import Trees
from t5x_lite.tasks.ppo.rewards import places_of
from t5x_lite.tasks.ppo.sections import Config
from t5x_lite.tasks.ppo.tried import tried_on
from t5x_lite.wiring.adaptation import Adaptation, unrolled_adapter
from t5x_lite.wiring.model import RANDOM
from t5x_lite.wiring.trained_files import defaults_of
from t5x_lite.wiring.workdir import local_copy

_CONFIDENCE = 0.95


def save_policy(
    folder: epath.Path,
    base: str,
    model: T5Config,
    adaptation: Adaptation,
    held: Trees,
    trainable: Any,
    merged: Any,
    vocabulary: Vocabulary,
) -> None:
    """Writes the policy, as `finetune` does what it trained.

    Without an adapter: model/. With one: adapter/ in peft's format, merged/ (the model with the adapter in its
    weights), and model/, its base, where that is nowhere else (random weights, or trained ones).

    base: where the model came from (`model.source`).
    """
    params, adapters = parts_of(trainable, held.frozen)
    defaults = defaults_of(base)
    labels = jax.tree.leaves(separate(adaptation.labels)[0]) if adaptation.labels else [TRAINABLE]
    if TRAINABLE in labels or base == RANDOM:
        with local_copy(folder / "model", with_files=False) as directory:
            save_hf(directory, model, params, vocabulary, generation=defaults)
        base = str(folder / "model")
    if adaptation.settings is None:
        return
    adapter = unrolled_adapter(adaptation, adapters)
    with local_copy(folder / "adapter", with_files=False) as directory:
        save_adapter(directory, model, params, adapter, base)
    with local_copy(folder / "merged", with_files=False) as directory:
        save_hf(directory, model, merged, vocabulary, generation=defaults)


def report(
    config: Config,
    folder: epath.Path,
    rows: Sequence[Row],
    measured: tuple[ppo_report.Measured, ppo_report.Measured, Mapping[str, ppo_report.Measured]],
    probed: tuple[list[dict[str, Any]], list[str]],
    sizes: Mapping[str, Any],
) -> None:
    """Writes samples.jsonl and the report, and logs the comparison.

    measured: before, after, and further systems (best of n). probed: of `ppo.rewards.probe`.
    """
    probes, found = probed
    before, after, left_out = ppo_report.finite_ones(*measured[:2])
    others, left_out_of_others = ppo_report.finite_others(measured[2])
    bootstrap = Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed)
    table = ppo_report.comparison(before, after, others, bootstrap)
    found = [*found, *left_out, *left_out_of_others, *ppo_report.warnings(before, after, bootstrap)]
    for warning in found:
        log.warning("%s", warning)
    for line in table:
        log.info(
            "%s: %.4g before, %.4g after (difference %.4g, %.4g to %.4g, p %.2g)",
            *(line[key] for key in ("number", "before", "after", "difference", "low", "high", "p")),
        )
    systems = {"before": before, "after": after, **others}
    write_samples(folder, rows, before, after, config.data.cut_field)
    steps = [record for record in read_metrics(folder) if "objective/kl" in record]
    toxicity = ppo_report.toxicity_table(systems, config.toxicity.rows, bootstrap)
    content = {
        **({WARNINGS: found} if found else {"summary": "Nothing to warn of."}),
        "before and after": table,
        "how to read it": reading_of(config),
        "toxicity of responses": toxicity,
        "judges": ppo_report.agreement_of_judges(before, after),
        "rewards and judges were tried on": tried_on(places_of(config, folder)),
        "rewards of a clean and a toxic text": probes,
        "responses by change of reward": ppo_report.largest_changes(rows, before, after),
        "training": training_table(config, steps, sizes),
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
    }
    if config.published:
        content["published"] = ppo_report.beside_published(toxicity, config.published)
    title = f"{config.task} ({config.mode}): {config.data.train.source}"
    report_run(config, folder, title, content, panels=ppo_report.PANELS)


def reading_of(config: Config) -> str:
    """What the numbers before and after are, in a paragraph; and whether the judge of toxicity is the reward itself."""
    parts = ", ".join(f"{one.weight:g} x {name}" for name, one in config.rewards.items())
    same = [
        name
        for name, one in config.rewards.items()
        if isinstance(one, ClassifierRewardSettings) and one.source == config.toxicity.source
    ]
    judge = (
        f"the classifier of the reward {' and '.join(same)}: it tells whether PPO did what it was asked to, and not"
        " whether anybody else would find the texts less toxic"
        if same
        else "no part of the reward"
    )
    others = (
        f"Judges that no reward reads: {', '.join(config.judges)}."
        if config.judges
        else "No other judge read the texts; config.judges takes some."
    )
    look_at = "rouge1 (against the references), at words" if config.data.target else "words"
    return (
        f"reward is what PPO makes larger: {parts}. kl is how far the policy went from the one that it began as, in"
        " nats a response; the further, the less its texts are those of a language model, and ppo.kl_target bounds it."
        f" toxicity is p({config.toxicity.label}) by {config.toxicity.source}, {judge}. {others} Reward hacking is a"
        f" reward that rises while the texts become worse: look at {look_at}, and read the samples."
        " low and high bound the difference, paired by row, with 95 %; p is the probability of one so large by chance."
    )


def training_table(
    config: Config, steps: Sequence[Mapping[str, Any]], sizes: Mapping[str, Any]
) -> dict[str, Any]:
    """The report's section "training". steps: of metrics.jsonl, where a number that is not finite is a string."""
    kl = [float(step["objective/kl"]) for step in steps]
    seconds = [float(step["time/ppo/total"]) for step in steps]
    first, last = steps[0], steps[-1]
    return {
        "steps": config.ppo.steps,
        **sizes,
        f"KL at step {first['step']}": kl[0],
        "KL at the last step": kl[-1],
        "largest KL": max((one for one in kl if math.isfinite(one)), default=math.nan),
        "KL target": config.ppo.kl_target,
        f"mean score at step {first['step']}": float(first["ppo/mean_scores"]),
        "mean score at the last step": float(last["ppo/mean_scores"]),
        "responses without an end": float(last["ppo/missing_eos"]),
        "largest gap of sampler and scorer": float(
            np.max([float(one["ppo/sampler_gap"]) for one in steps])  # NaN, if one is
        ),
        # Not every step is written.
        "minutes in steps": sum(seconds) / len(seconds) * config.ppo.steps / 60,
    }


def write_samples(
    folder: epath.Path,
    rows: Sequence[Row],
    before: ppo_report.Measured,
    after: ppo_report.Measured,
    field: str,
) -> None:
    """Process 0 writes, and a kill leaves the file of before, or this one."""
    if jax.process_index() != 0:
        return
    lines = []
    for i, number in enumerate(before.rows.tolist()):
        record: dict[str, Any] = {"id": rows[number]["id"], "input": rows[number][field]}
        for name, measured in (("before", before), ("after", after)):
            record |= {f"response {name}": measured.responses[i]} | {
                f"{column} {name}": float(values[i])
                for column, values in measured.numbers().items()
            }
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    fresh = folder / "samples.jsonl.new"
    fresh.write_text("".join(lines))
    fresh.replace(folder / "samples.jsonl")

"""What judges the responses of a PPO run: its rewards, an independent judge, and a look at both before step 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from jax.sharding import Mesh

from t5x_lite.console import log
from t5x_lite.data.sources import Row
from t5x_lite.evaluation.text_classifier import TextClassifier, load_text_classifier
from t5x_lite.rl.rewards import (
    ClassifierReward,
    Reward,
    WeightedSum,
    check_rewards,
    make_rewards,
    template_for,
)
from t5x_lite.rl.sections import ClassifierRewardSettings, JudgeSettings
from t5x_lite.tasks.ppo.sections import Config as PPOConfig
from t5x_lite.wiring.classifier_training import put_rows
from t5x_lite.wiring.sections import JudgedConfig
from t5x_lite.wiring.trained_sources import check_source, is_recipe, trained

Judge = Callable[[Sequence[Row], Sequence[str]], np.ndarray]


def sources_of(config: JudgedConfig) -> dict[str, str]:
    """The source of each model that judges, by the name of its field; those of the rewards come first."""
    found = {
        f"config.rewards.{name}.source": section.source
        for name, section in config.rewards.items()
        if isinstance(section, ClassifierRewardSettings)
    }
    found["config.toxicity.source"] = config.toxicity.source
    return found | {f"config.judges.{name}.source": s.source for name, s in config.judges.items()}


def check_judges(config: PPOConfig) -> None:
    """What is wrong with the rewards, and with the sources of all models, before any data is read."""
    check_rewards(config.rewards, "config.rewards")
    for where, source in {"config.model.source": config.model.source, **sources_of(config)}.items():
        check_source(source, where)


def places_of(config: Any, folder: epath.Path) -> dict[str, str]:
    """Where the model of each reward and judge lies, by the name of its section. folder: the run's."""
    return {
        field.removeprefix("config.").removesuffix(".source"): (
            str(_folder_of(source, folder)) if is_recipe(source) else source
        )
        for field, source in sources_of(config).items()
    }


def _folder_of(source: str, folder: epath.Path) -> epath.Path:
    """Where the recipe of a "train:" source is trained, within the run's folder."""
    name = "".join(c if c.isalnum() else "_" for c in source)
    return folder / f"trained_{name}"


class Classifiers:
    """Opens each source once; "train:" ones are trained in the folder first."""

    def __init__(self, folder: epath.Path, mesh: Mesh):
        self._folder, self._mesh = folder, mesh
        self._opened: dict[str, TextClassifier] = {}

    def load(self, source: str) -> TextClassifier:
        """The classifier of a source.

        Raises:
          InputError: as `load_text_classifier`.
        """
        if source not in self._opened:
            place = trained(source, _folder_of(source, self._folder))
            self._opened[source] = load_text_classifier(
                place, put=put_rows(self._mesh), mesh=self._mesh
            )
        return self._opened[source]


def make_judge(
    section: JudgeSettings, classifiers: Classifiers, where: str = "config.toxicity"
) -> ClassifierReward:
    """(rows, responses) -> p(toxic), of the section `toxicity` or one of `judges`.

    Raises:
      InputError: the classifier has no such label, or no template of its own where that is asked for.
    """
    judge = classifiers.load(section.source)
    judge.index(section.label)
    text = template_for(judge, section.text, f"{where}.text")
    return ClassifierReward(judge, section.label, "probability", text)


def probe(
    probes: Mapping[str, str], row: Row, reward: WeightedSum, judge: Judge
) -> tuple[list[dict[str, Any]], list[str]]:
    """The lab's look at the reward model: what a clean and a toxic text get.

    Args:
      probes: {"clean": text, "toxic": text}.
      row: the one that both texts stand as responses to.

    Returns:
      A row a text for the report: the text, its reward, each part of that, p(toxic) of the judge, and of each
      classifier all logits and probabilities; and what to warn of: labels that look swapped.
    """
    table = []
    for name, text in probes.items():
        rows, texts = [{**row, "raw_response": text, "prompt": ""}], [text]
        shown: dict[str, Any] = {
            "text": text,
            "meant to be": name,
            "reward": float(reward(rows, texts)[0]),
            "p(toxic) of the judge": float(judge(rows, texts)[0]),
        }
        for part, (_, one) in reward.parts.items():
            shown[part] = float(np.asarray(one(rows, texts))[0])
            shown |= _all_outputs(part, one, rows, texts)
        table.append(shown)
    found = []
    by_name = {line["meant to be"]: line for line in table}
    clean, toxic = by_name["clean"], by_name["toxic"]
    if clean["p(toxic) of the judge"] >= toxic["p(toxic) of the judge"]:
        found.append(
            f"The judge finds {clean['text']!r} no less toxic than {toxic['text']!r}: is config.toxicity.label the"
            " toxic one?"
        )
    for part, (weight, one) in reward.parts.items():  # a function may well reward something else
        if isinstance(one, ClassifierReward) and weight * clean[part] < weight * toxic[part]:
            found.append(
                f"The reward {part!r} prefers {toxic['text']!r} ({toxic[part]:.3g}) to {clean['text']!r}"
                f" ({clean[part]:.3g}): is config.rewards.{part}.label the clean one?"
            )
    for warning in found:
        log.warning("%s", warning)
    return table, found


def _all_outputs(
    name: str, reward: Reward, rows: Sequence[Row], texts: Sequence[str]
) -> dict[str, str]:
    if not isinstance(reward, ClassifierReward):
        return {}
    classifier, read = reward.classifier, reward.texts(rows, texts)
    return {
        f"{name}, {title}": ", ".join(
            f"{label} {value:.3f}"
            for label, value in zip(classifier.labels, values[0], strict=True)
        )
        for title, values in (
            ("logits", classifier.logits(read)),
            ("probabilities", classifier.probabilities(read)),
        )
    }


def judges_of(
    config: JudgedConfig, folder: epath.Path, mesh: Mesh
) -> tuple[WeightedSum, Judge, dict[str, Judge]]:
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

"""Where scores come from: a classifier, a trained reward model, a Python function, or a weighted sum of them.

A reward model has its own tokenizer: responses are decoded to text and encoded again, so that any model can judge.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from t5x_lite.console import log
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import find_template
from t5x_lite.errors import InputError
from t5x_lite.evaluation.text_classifier import TextClassifier
from t5x_lite.parallel.sharing import share_out
from t5x_lite.rl.sections import OF_THE_MODEL, FunctionRewardSettings, RewardSettings


class Reward(Protocol):
    """Scores responses: the better, the higher."""

    def __call__(self, rows: Sequence[Row], responses: Sequence[str]) -> np.ndarray:
        """One finite number a response, float [responses]; rows[i] is what responses[i] was written for."""


@dataclasses.dataclass(frozen=True)
class ClassifierReward:
    """A logit or probability of a classifier; of a reward model, its one logit.

    text: a template of what it reads: {response}, the row's fields, and {prompt} ({raw_response} has the special
      tokens that the labs left in). A `T5Scorer`'s ends with {response}; what stands before that is its prompt.
    """

    classifier: TextClassifier
    label: str
    output: str
    text: str

    def texts(self, rows: Sequence[Row], responses: Sequence[str]) -> list[Any]:
        """What the classifier reads."""
        filled = [
            {"raw_response": response, **row, "response": response}
            for row, response in zip(rows, responses, strict=True)
        ]
        return self.classifier.render(self.text, filled)

    def __call__(self, rows: Sequence[Row], responses: Sequence[str]) -> np.ndarray:
        texts = self.texts(rows, responses)
        column = self.classifier.index(self.label)
        if self.output == "logit":
            return self.classifier.logits(texts)[:, column]
        return self.classifier.probabilities(texts)[:, column]


@dataclasses.dataclass(frozen=True)
class FunctionReward:
    """`function(rows, responses, **arguments)`, any Python function that scores each response on its own.

    Of several processes each calls it with responses of its own, and all get all scores.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    name: str

    def __call__(self, rows: Sequence[Row], responses: Sequence[str]) -> np.ndarray:
        scores = share_out(len(responses), lambda own: self._of(rows[own], responses[own]))
        return np.array(scores, np.float32)

    def _of(self, rows: Sequence[Row], responses: Sequence[str]) -> list[float]:
        if not responses:
            return []
        scores = np.asarray(self.function(rows, responses, **self.arguments), np.float32)
        if scores.shape != (len(responses),):
            raise InputError(
                f"config.rewards: {self.name} gave the shape {scores.shape} for {len(responses)} responses;"
                " expected one number a response"
            )
        return scores.tolist()


@dataclasses.dataclass(frozen=True)
class WeightedSum:
    """sum of weight * reward, in float32."""

    parts: Mapping[str, tuple[float, Reward]]

    def __call__(self, rows: Sequence[Row], responses: Sequence[str]) -> np.ndarray:
        total = np.zeros(len(responses), np.float32)
        for weight, reward in self.parts.values():
            total += np.float32(weight) * np.asarray(reward(rows, responses), np.float32)
        return total


def check_rewards(sections: Mapping[str, RewardSettings], where: str) -> None:
    """Refuses what is wrong in a `rewards` section, before a model is read.

    Raises:
      InputError: no reward, or a function that cannot be imported or called with its arguments.
    """
    if not sections:
        raise InputError(f"{where}: name at least one reward")
    for name, section in sections.items():
        if isinstance(section, FunctionRewardSettings):
            function = find_function(section.function, f"{where}.{name}.function")
            _check_arguments(function, section, f"{where}.{name}.arguments")


def _check_arguments(
    function: Callable[..., Any], section: FunctionRewardSettings, where: str
) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of C code none is known
        return
    try:
        signature.bind([], [], **section.arguments)
    except TypeError as error:
        raise InputError(
            f"{where}: {section.function} is called as function(rows, responses, **arguments), and does not take these"
            f" ({error})"
        ) from error


def make_rewards(
    sections: Mapping[str, RewardSettings],
    load: Callable[[str], TextClassifier],
    where: str,
) -> WeightedSum:
    """The rewards of a checked section; `load` opens a classifier by its source.

    Raises:
      InputError: a classifier that cannot be loaded, or has no such label.
    """
    parts: dict[str, tuple[float, Reward]] = {}
    for name, section in sections.items():
        reward: Reward
        if isinstance(section, FunctionRewardSettings):
            function = find_function(section.function, f"{where}.{name}.function")
            reward = FunctionReward(function, section.arguments, section.function)
        else:
            classifier = load(section.source)
            classifier.index(section.label)
            text = template_for(classifier, section.text, f"{where}.{name}.text")
            classifier.render(text, [])
            reward = ClassifierReward(classifier, section.label, section.output, text)
        parts[name] = (section.weight, reward)
    return WeightedSum(parts)


def template_for(classifier: TextClassifier, text: str, where: str) -> str:
    """The template of what a classifier is given; "model" is the one that it was trained with. Another one than that
    is warned of: a reward model says little of texts that are made otherwise.

    Raises:
      InputError: "model", of a classifier that was saved without a template.
    """
    own = classifier.tokenizer.template
    if text == OF_THE_MODEL:
        if not own:
            raise InputError(
                f"{where}: {OF_THE_MODEL!r} is the template that a reward model was trained with, and none was saved"
                " with this one; write it here"
            )
        return own
    if own and find_template(text).text != find_template(own).text:
        log.warning(
            "%s is %r, but the model was trained with %r; give that one, or %r",
            *(where, text, own, OF_THE_MODEL),
        )
    return text


def find_function(name: str, where: str) -> Callable[..., Any]:
    """The function "module:name" (an installed module, or a file in the working directory).

    Raises:
      InputError: it is not written so, cannot be imported, or is no function.
    """
    module, colon, attribute = str(name).partition(":")
    if not (colon and module and attribute):
        raise InputError(f"{where}: {name!r}; write 'module:function'")
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{where}: cannot import {name!r} ({error})") from error
    finally:
        if added:
            sys.path.remove(folder)
    if not callable(found):
        raise InputError(f"{where}: {name!r} is a {type(found).__name__}, not a function")
    return found

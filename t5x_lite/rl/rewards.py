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
from t5x_lite.errors import InputError, RewardFailed
from t5x_lite.evaluation.text_classifier import TextClassifier
from t5x_lite.parallel.sharing import share_out
from t5x_lite.rl.calls import Call, Calling
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

    Of several processes each calls it with responses of its own, and all get all scores; where one fails, all do.
    """

    call: Call

    def __call__(self, rows: Sequence[Row], responses: Sequence[str]) -> np.ndarray:
        """Raises:
        RewardFailed, InputError: as `Call`.
        """
        scores = share_out(len(responses), lambda own: self._of(rows[own], responses[own]))
        for kind in (RewardFailed, InputError):
            for score in scores:
                if isinstance(score, dict) and kind.__name__ in score:
                    raise kind(score[kind.__name__])
        return np.array(scores, np.float32)

    def _of(self, rows: Sequence[Row], responses: Sequence[str]) -> list[Any]:
        """A number a response; where it failed, in their places what is to be raised by all processes."""
        if not responses:
            return []
        try:
            return self.call(rows, responses).tolist()
        except (RewardFailed, InputError) as error:
            return [{type(error).__name__: str(error)}] * len(responses)


@dataclasses.dataclass(frozen=True)
class WeightedSum:
    """sum of weight * reward, in float32."""

    parts: Mapping[str, tuple[float, Reward]]

    def __call__(self, rows: Sequence[Row], responses: Sequence[str]) -> np.ndarray:
        total = np.zeros(len(responses), np.float32)
        for weight, scores in self._scored(rows, responses).values():
            total += np.float32(weight) * scores
        return total

    def to_learn_from(self, rows: Sequence[Row], responses: Sequence[str]) -> np.ndarray:
        """The sum, when every part says something.

        Raises:
          InputError: a part none of whose scores is finite.
        """
        total = np.zeros(len(responses), np.float32)
        for name, (weight, scores) in self._scored(rows, responses).items():
            if len(scores) and not np.isfinite(scores).any():
                raise InputError(
                    f"config.rewards.{name}: none of its {len(scores)} scores is finite (the first is {scores[0]}, of"
                    f" the response {responses[0][:60]!r}); look at the reward model or function"
                )
            total += np.float32(weight) * scores
        return total

    def _scored(
        self, rows: Sequence[Row], responses: Sequence[str]
    ) -> dict[str, tuple[float, np.ndarray]]:
        """Of each part its weight, and its scores, float32 [responses]."""
        return {
            name: (weight, np.asarray(reward(rows, responses), np.float32))
            for name, (weight, reward) in self.parts.items()
        }


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
            calling = Calling(section.retries, section.wait_seconds, section.timeout_seconds)
            about = f"{where}.{name} ({section.function})"
            reward = FunctionReward(Call(function, section.arguments, about, calling))
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

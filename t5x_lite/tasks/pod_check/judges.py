"""The models of PPO's rewards and judges by their shapes, placed as a run places them: no weights are read."""

from __future__ import annotations

import dataclasses
from typing import Any

from jax.sharding import Mesh

from t5x_lite.config import load_config
from t5x_lite.data.classifier_text import Reading, read_reading
from t5x_lite.data.fast_vocabulary import padded
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError
from t5x_lite.evaluation.text_classifier import abstract_params, longest_text
from t5x_lite.interop.classifiers import Classifier, describe_classifier
from t5x_lite.interop.hf_config import config_from_hf, read_config, says_tied
from t5x_lite.interop.hub import config_directory
from t5x_lite.models.config import Execution
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.params.overview import count
from t5x_lite.tasks.ppo.rewards import sources_of
from t5x_lite.tasks.reward.run import SCORE
from t5x_lite.wiring.classifier_training import SCORER, kind_of, t5_classifier
from t5x_lite.wiring.model import RANDOM, SpecialTokens, architecture_of, encoder_of
from t5x_lite.wiring.sections import ClassifierConfig, JudgedConfig
from t5x_lite.wiring.text import TRAINED
from t5x_lite.wiring.trained_sources import is_recipe, recipe_of

# As a run opens them, but for the attention "auto", which looks for the devices of this process.
_EXECUTION = Execution(attention="einsum")


@dataclasses.dataclass(frozen=True)
class Judge:
    """A model that scores responses.

    name: the sections that name it, "rewards.clean, toxicity": a source is opened once.
    params: a `jax.ShapeDtypeStruct` with its sharding a leaf. longest: tokens of a text, at most.
    is_reward: whether PPO learns from it, in every step.
    """

    name: str
    source: str
    module: Classifier
    params: Any
    longest: int
    is_reward: bool

    @property
    def parameters(self) -> int:
        """How many it has."""
        return count(self.params)


@dataclasses.dataclass(frozen=True)
class _ToBeTrained:
    """A tokenizer that a recipe trains, by its size."""

    padded_size: int
    pad_id: int = 0
    eos_id: int = 1


def judges_of(config: JudgedConfig, mesh: Mesh) -> list[Judge]:
    """The models of all rewards and judges, each source once.

    Raises:
      InputError: a source of which it cannot be found out what it is, or that is no classifier.
    """
    fields: dict[str, list[str]] = {}
    for field, source in sources_of(config).items():
        fields.setdefault(source, []).append(field)
    judges = []
    for source, named in fields.items():
        try:
            module, longest = _of_recipe(source) if is_recipe(source) else _of_directory(source)
        except InputError as error:
            raise InputError(
                f"{named[0]}: {error}; of a directory its config.json alone is read"
            ) from error
        sections = [field.removeprefix("config.").removesuffix(".source") for field in named]
        params = abstract_params(module, mesh)
        is_reward = any(section.startswith("rewards.") for section in sections)
        judges.append(Judge(", ".join(sections), source, module, params, longest, is_reward))
    return judges


def _of_directory(source: str) -> tuple[Classifier, int]:
    """The classifier of a directory, a finished run or a hub id, and the tokens of its longest text."""
    directory = config_directory(source)
    module = describe_classifier(directory, _EXECUTION)
    return module, longest_text(module, read_reading(directory))


def _of_recipe(source: str) -> tuple[Classifier, int]:
    config = load_config(recipe_of(source), {})
    if not isinstance(config, ClassifierConfig):
        raise InputError(f"{source} is of the task {config.task!r}, which makes no classifier")
    return trained_by(config)


def trained_by(config: ClassifierConfig) -> tuple[Classifier, int]:
    """The classifier or reward model that a config would train, and the tokens of its longest text.

    Raises:
      InputError: as `judges_of`.
    """
    # Of a classifier, those that it learns; a reward model has one.
    labels = tuple(sorted(getattr(config.data, "labels", (SCORE,))))
    section, longest = config.model, config.data.max_length
    module: Classifier
    if section.source != RANDOM:
        module = _begun_from(config, labels)
    elif "family" in section.architecture:
        encoder = encoder_of(section.architecture, _vocabulary_of(config), longest, labels)
        module = EncoderClassifier(encoder, _EXECUTION.dtype)
    else:
        t5 = architecture_of(section.architecture, _vocabulary_of(config))
        module = t5_classifier(config, t5, labels, _EXECUTION)
    return module, longest_text(module, Reading(longest))


def _begun_from(config: ClassifierConfig, labels: tuple[str, ...]) -> Classifier:
    """The model of `model.source`, with a head for the labels."""
    directory = config_directory(config.model.source)
    if kind_of(config) != SCORER:
        return describe_classifier(directory, _EXECUTION, labels)
    fields = read_config(directory)
    t5 = config_from_hf(fields, separate_head=not says_tied(fields), where=str(directory))
    return t5_classifier(config, t5, labels, _EXECUTION)


def _vocabulary_of(config: ClassifierConfig) -> SpecialTokens:
    if config.tokenizer.source == TRAINED:
        return _ToBeTrained(padded(config.tokenizer.vocab_size))
    return load_vocabulary(config.tokenizer.source)

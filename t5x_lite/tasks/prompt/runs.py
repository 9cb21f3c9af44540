"""The runs of the task `prompt`: which prompt is decoded with which settings, and whether it is scored."""

from __future__ import annotations

import dataclasses

from t5x_lite.data.prompts import ChainOfThought
from t5x_lite.decoding.checkpoint_settings import checkpoint_settings
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.tasks.prompt.sections import Config
from t5x_lite.wiring.model import RANDOM


@dataclasses.dataclass(frozen=True)
class Run:
    """A prompt kind with decoding settings; `scored` over all rows, or shown for a few."""

    prompt: str
    setting: str
    settings: GenerationSettings
    scored: bool

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"{self.prompt}, {self.setting}"

    @property
    def file(self) -> str:
        """Its file of predictions."""
        return f"{self.prompt}.{self.setting}.jsonl"


def read_runs(config: Config) -> list[Run]:
    """What to decode: the scored runs first, then those of the side-by-side table alone.

    The settings of each run are the config's over those of the checkpoint.

    Raises:
      InputError: an unknown name, a pair given twice, no run; settings as `GenerationSettings` refuses them, or that
        do not fit the prompt.
    """
    base = GenerationSettings()
    if config.model.source != RANDOM:
        base = checkpoint_settings(config.model.source)
    pairs = [(*pair, True) for pair in config.runs]
    pairs += [(*pair, False) for pair in config.side_by_side.runs]
    runs: list[Run] = []
    for prompt, setting, scored in pairs:
        section = "config.runs" if scored else "config.side_by_side.runs"
        for name, known, what in (
            (prompt, config.prompts, "prompts"),
            (setting, config.settings, "settings"),
        ):
            if name not in known:
                raise InputError(
                    f"{section}: there is no {name!r} in config.{what}; there are {', '.join(known)}"
                )
        check_name(f"config.settings.{setting}", setting)
        if any((each.prompt, each.setting) == (prompt, setting) for each in runs):
            raise InputError(f"{section}: ({prompt!r}, {setting!r}) is there twice; remove one")
        settings = _settings_of(config, base, prompt, setting)
        runs.append(Run(prompt, setting, settings, scored))
    if not any(each.scored for each in runs):
        raise InputError("config.runs is empty: name at least one (prompt, settings) to score")
    return runs


def _settings_of(
    config: Config, base: GenerationSettings, prompt: str, setting: str
) -> GenerationSettings:
    """The named settings over `base`, with as many samples as the prompt asks for."""
    where = f"config.settings.{setting}"
    settings = base.updated(config.settings[setting], where=where)
    if settings.num_return_sequences != 1:
        raise InputError(
            f"{where}.num_return_sequences: one output a row is compared; leave it out (a chain_of_thought"
            " prompt has `samples` of its own)"
        )
    asked = config.prompts[prompt]
    if isinstance(asked, ChainOfThought) and asked.samples > 1:
        if not settings.do_sample:
            raise InputError(
                f"config.prompts.{prompt}.samples: several chains are samples; set {where}.do_sample"
            )
        settings = settings.updated({"num_return_sequences": asked.samples})
    return settings


def check_name(where: str, name: str) -> None:
    """Refuses the name of a prompt or of settings that cannot be part of a file's.

    Raises:
      InputError: as said.
    """
    if not name.replace("-", "_").isidentifier():
        raise InputError(f"{where}: a name has letters, digits, - and _, for it names a file")

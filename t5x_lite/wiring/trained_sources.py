"""Model sources that a task makes itself: "train:CONFIG.py[:ARGUMENT]" trains that recipe first, within the run."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

import jax
from etils import epath

from t5x_lite.config import load_config
from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.interop.hub import model_directory
from t5x_lite.parallel.processes import wait_for_all
from t5x_lite.reports.outcome import is_finished
from t5x_lite.sections import Config
from t5x_lite.wiring.model import RANDOM
from t5x_lite.wiring.rehearsal import end_rehearsal, is_rehearsal, note, rehearse
from t5x_lite.wiring.workdir import is_claimed, open_workdir

_TRAIN = "train:"


def is_recipe(source: str) -> bool:
    """Whether a source is to be trained first."""
    return source.startswith(_TRAIN)


def recipe_of(source: str) -> str:
    """The config of a recipe, with its argument."""
    return source.removeprefix(_TRAIN)


def check_source(source: str, where: str) -> None:
    """Refuses a "train:" source whose recipe cannot be loaded, before anything slow.

    Raises:
      InputError: no such config, or one with an unknown field.
    """
    if is_recipe(source):
        try:
            load_config(recipe_of(source), {})
        except InputError as error:
            raise InputError(f"{where}: {error}") from error


def trained(source: str, folder: epath.Path) -> str:
    """The directory of a model: `source` itself, or where its recipe was trained (once: a finished run is reused).

    A run of the recipe as it was before it changed is put away, and the recipe trained anew.

    folder: where the recipe's run goes.
    """
    if not is_recipe(source):
        return source
    config = load_config(recipe_of(source), {})
    if is_rehearsal():
        begun = rehearse_recipe(source, folder)
        return end_rehearsal() if begun == RANDOM else begun
    if is_claimed(folder) and not _is_run_of(config, folder):
        log.warning("%s has changed since it was trained in %s: training it anew", source, folder)
        wait_for_all()  # all have compared
        if jax.process_index() == 0:
            folder.rmtree()
        wait_for_all()
    if not is_finished(folder):
        log.info("training %s in %s", recipe_of(source), folder)
        importlib.import_module(f"t5x_lite.tasks.{config.task}.run").run(config, str(folder))
    return str(folder)


def rehearse_sources(sources: Iterable[str], folder: epath.Path) -> None:
    """In a rehearsal: sees that models are there, or could be trained, and ends it; what needs them comes after."""
    if not is_rehearsal():
        return
    for source in dict.fromkeys(sources):
        if is_recipe(source):
            rehearse_recipe(source, folder)
        else:
            model_directory(source)
    end_rehearsal()


def rehearse_recipe(source: str, folder: epath.Path) -> str:
    """Rehearses what would be trained first.

    Returns:
      The model that it would begin from, which has the shapes of the one that it would make.
    """
    config = load_config(recipe_of(source), {})
    log.info("checking %s, which is trained first", recipe_of(source))
    rehearse(config, str(folder))
    note("trained first", recipe_of(source))
    begun = config.model.source
    return rehearse_recipe(begun, folder) if is_recipe(begun) else begun


def _is_run_of(config: Config, folder: epath.Path) -> bool:
    """Whether the run in the folder may go on, or be used, as one of this config."""
    try:
        open_workdir(str(folder), config)
    except InputError:
        return False
    return True

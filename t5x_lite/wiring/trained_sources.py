"""Model sources that a task makes itself: "train:CONFIG.py[:ARGUMENT]" trains that recipe first, within the run."""

from __future__ import annotations

import importlib

import jax
from etils import epath

from t5x_lite.config import load_config
from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.parallel.processes import wait_for_all
from t5x_lite.reports.outcome import is_finished
from t5x_lite.sections import Config
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


def _is_run_of(config: Config, folder: epath.Path) -> bool:
    """Whether the run in the folder may go on, or be used, as one of this config."""
    try:
        open_workdir(str(folder), config)
    except InputError:
        return False
    return True

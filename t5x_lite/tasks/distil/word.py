"""The teacher's word on every target token, kept in the workdir: it reads each target once, and not every epoch."""

from __future__ import annotations

import functools
import zipfile
from typing import Any

import jax
import numpy as np
from etils import epath

from t5x_lite.console import log, progress
from t5x_lite.data.annotated import AnnotatedPlan
from t5x_lite.data.features import fingerprint
from t5x_lite.data.plan import Plan
from t5x_lite.optim.distillation import LOGPROBS, TOKENS
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.parallel.processes import wait_for_all
from t5x_lite.params.gather import whole
from t5x_lite.tasks.distil.sections import Config
from t5x_lite.tasks.distil.teacher import Teacher
from t5x_lite.train.distil_step import word_of

_FILE, _EXAMPLES = "teacher_word.npz", "examples"
Word = dict[str, np.ndarray]


def with_word(
    config: Config, plan: Plan, reading: Plan, teacher: Teacher, folder: epath.Path
) -> AnnotatedPlan:
    """The batches of `plan` with what the teacher says of their targets, read from the folder or asked for and kept.

    reading: the same examples, each once, unshuffled.
    """
    examples = fingerprint(plan.source)
    word = _read(folder / _FILE, examples)
    wait_for_all()  # all have looked
    if word is None:
        word = _ask(config, reading, teacher)
        if jax.process_index() == 0:
            _write(folder / _FILE, word, examples)
    return AnnotatedPlan(plan, word)


def _ask(config: Config, plan: Plan, teacher: Teacher) -> Word:
    offsets = np.concatenate([[0], np.cumsum(plan.source.decoder_lengths)])
    says = functools.partial(
        word_of, teacher.loaded.model, settings=config.distillation, chunk=config.loss.chunk
    )
    asked = jax.jit(lambda params, batch: says(params, batch))
    own, word = OwnRows(teacher.mesh), {}
    with progress(plan.steps_per_epoch, "asking the teacher", "batch") as bar:
        for step in range(plan.steps_per_epoch):
            said = asked(teacher.params, own.read(plan, step))
            rows = plan.indices(step)
            for name, array in said.items():
                values = whole(array)
                if name not in word:
                    word[name] = np.zeros((offsets[-1], values.shape[-1]), values.dtype)
                for row, example in enumerate(rows):
                    if example >= 0:
                        start, end = offsets[example : example + 2]
                        word[name][start:end] = values[row, : end - start]
            bar.update()
    log.info(
        "the teacher's word on %s target tokens takes %.1f MB",
        f"{offsets[-1]:,}", sum(array.nbytes for array in word.values()) / 1e6,
    )  # fmt: skip
    return word


def _write(file: epath.Path, word: Word, examples: str) -> None:
    fresh = file.with_name(file.name + ".new")
    arrays: dict[str, Any] = {**word, _EXAMPLES: np.array(examples)}
    with fresh.open("wb") as opened:
        np.savez(opened, **arrays)
    fresh.replace(file)


def _read(file: epath.Path, examples: str) -> Word | None:
    """What was kept of these examples; None where nothing was, or it is damaged."""
    if not file.exists():
        return None
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            kept = str(arrays[_EXAMPLES])
            word = {name: arrays[name] for name in (TOKENS, LOGPROBS)}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        log.warning("%s: damaged (%s); the teacher is asked again", file, type(error).__name__)
        return None
    return word if kept == examples else None

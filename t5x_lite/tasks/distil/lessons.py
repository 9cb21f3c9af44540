"""What each step learns from: the planned batch with the teacher beside it, or the student's own texts."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from t5x_lite import streams
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.structure import prepare
from t5x_lite.errors import InputError
from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.shardings import batch_sharding
from t5x_lite.params.adapters import unstack_adapters
from t5x_lite.rl.policy import make_resharding
from t5x_lite.rl.rollout import Layout, as_inputs
from t5x_lite.tasks.distil.sections import Config
from t5x_lite.tasks.distil.teacher import Teacher
from t5x_lite.train.distil_step import LABEL_WEIGHTS, TEACHER
from t5x_lite.train.state import TrainState
from t5x_lite.train.update import Batch, counted_rows
from t5x_lite.wiring.model import random_model, shardings_of
from t5x_lite.wiring.scoring import unrolled


def sampling_settings(config: Config) -> GenerationSettings:
    """How the student writes its own texts.

    Raises:
      InputError: a setting that there is not, or several texts a row.
    """
    where = "config.distillation.sampling"
    settings = GenerationSettings().updated(config.distillation.sampling, where=where)
    if settings.num_return_sequences != 1 or settings.num_beams != 1:
        raise InputError(f"{where}: a row gets one text, without beams")
    return settings


class OwnTexts:
    """The texts that a student writes, as batches to learn from."""

    def __init__(self, config: Config, student: T5, teacher: Teacher):
        self._generator = Generator(student.config, student.execution, teacher.vocabulary)
        self._settings, self._seed = sampling_settings(config), config.seed
        # Shards would be gathered anew with every token: weights are laid out once a step, as for a rollout.
        unrolled_student = T5(student.config, Execution())
        shapes = random_model(unrolled_student, "float32", teacher.mesh, config.seed).abstract
        self._laid_out = make_resharding(shardings_of(shapes))
        ids = student.config

        def make(batch: Batch, tokens: jax.Array, lengths: jax.Array) -> Batch:
            layout = Layout(
                length=batch["decoder_target_tokens"].shape[1],
                mask_first_token=False,
                start_id=ids.decoder_start_token_id,
                eos_ids=(ids.eos_token_id,),
                pad_id=ids.pad_token_id,
            )
            inputs, counts = as_inputs(batch["encoder_input_tokens"], tokens, lengths, layout)
            weights = (counts & counted_rows(batch)[:, None]).astype(jnp.float32)
            nobodys = {LABEL_WEIGHTS: jnp.zeros_like(weights)}
            return {**batch, **inputs, "decoder_loss_weights": weights, **nobodys}

        self._make = jax.jit(make, out_shardings=batch_sharding(teacher.mesh))

    def write(self, state: TrainState, step: int, batch: Batch) -> Batch:
        """The batch with what the student, as it is, writes for its inputs in place of the targets, with no labels.

        A function of (seed, step, weights) alone. A text is at most as long as the batch has room for; one that is cut
        has no eos.
        """
        settings = self._settings.updated(
            {"max_new_tokens": self._room(batch["decoder_target_tokens"].shape[1])}
        )
        output = self._generator.generate(
            self._laid_out({"policy": unrolled(state.params)}, {}),
            batch["encoder_input_tokens"],
            settings,
            streams.key(self._seed, "own_tokens", step),
            adapters=unstack_adapters(state.adapters) if state.adapters else None,
        )
        return self._make(batch, output.tokens, output.lengths)

    def _room(self, length: int) -> int:
        most = self._settings.max_new_tokens
        return length if most is None else min(length, int(most))


@dataclasses.dataclass(frozen=True)
class Lessons:
    """What a step takes in place of the planned batch: a `train.loop.Prepare`.

    own: the student's own texts, in a share of the steps; None: in none.
    """

    teacher: Teacher
    own: OwnTexts | None
    share: float
    seed: int

    def __call__(self, state: TrainState, step: int, batch: Batch) -> Batch:
        lesson: dict[str, Any] = dict(batch)
        if self.own is not None:
            lesson[LABEL_WEIGHTS] = batch["decoder_loss_weights"]
            if self.is_own(step):
                lesson = self.own.write(state, step, batch)
        return lesson | {TEACHER: self.teacher.params}

    def is_own(self, step: int) -> bool:
        """Whether the student writes the targets of that step."""
        return streams.generator(self.seed, "own_texts", step).random() < self.share


def lessons_of(config: Config, student: T5, teacher: Teacher) -> Lessons:
    """The lessons of a run whose steps ask the teacher."""
    section = config.distillation
    own = OwnTexts(config, student, teacher) if section.own_texts else None
    return Lessons(teacher, own, section.own_texts, config.seed)


def check_lessons(config: Config, student: T5, vocabulary: Vocabulary) -> None:
    """Sees that the student can follow the settings of its own texts.

    Raises:
      InputError: it cannot.
    """
    if config.distillation.own_texts:
        prepare(sampling_settings(config), student.config, 1, vocabulary)

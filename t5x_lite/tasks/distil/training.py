"""The student's training: whose texts are the targets, and by which objective and batches they are learned."""

from __future__ import annotations

import dataclasses

from etils import epath

from t5x_lite.data.features import fingerprint
from t5x_lite.data.plan import Plan
from t5x_lite.tasks.distil.lessons import lessons_of
from t5x_lite.tasks.distil.sections import Config
from t5x_lite.tasks.distil.teacher import TEXT_FIELD, Teacher, with_teacher_texts
from t5x_lite.tasks.distil.word import with_word
from t5x_lite.train.distil_step import distillation
from t5x_lite.train.state import TrainState
from t5x_lite.train.step import cross_entropy
from t5x_lite.wiring.adaptation import Adaptation
from t5x_lite.wiring.model import Loaded
from t5x_lite.wiring.scoring import make_loss
from t5x_lite.wiring.supervised import Feed
from t5x_lite.wiring.text import Split, held_out_plan, make_split
from t5x_lite.wiring.training import train_by


def with_targets(config: Config, split: Split, teacher: Teacher, folder: epath.Path) -> Split:
    """The training rows with the targets that the section `distillation` asks for."""
    if config.distillation.targets == "labels":
        return split
    reading = held_out_plan(config, split.examples, teacher.config, teacher.mesh)
    rows = with_teacher_texts(config, split.rows, teacher, reading, folder)
    data = dataclasses.replace(config.data, target=f"{{{TEXT_FIELD}}}")
    return make_split(data, rows, teacher.vocabulary, "train, by the teacher")


def train_student(
    config: Config,
    loaded: Loaded,
    plans: tuple[Plan, Plan],
    teacher: Teacher,
    folder: epath.Path,
    adaptation: Adaptation,
) -> TrainState:
    """`wiring.training.train_by` what the section `distillation` says.

    plans: of training, and of the held-out rows, whose loss is the plain one of their references.
    """
    plan, evaluation = plans
    student, section, mesh = loaded.model, config.distillation, teacher.mesh
    if not section.teacher_weight:
        objective, feed = cross_entropy(student, config.loss), Feed(plan)
        teacher.release()
    else:
        objective = distillation(student, teacher.loaded.model, config.loss, section)
        if section.cache:
            reading = held_out_plan(config, plan.source, teacher.config, mesh)
            feed = Feed(with_word(config, plan, reading, teacher, folder))
            teacher.release()
        else:
            feed = Feed(plan, lessons_of(config, student, teacher))
    loss = make_loss(student, evaluation, mesh, config.loss.chunk)
    return train_by(
        objective,
        lambda state, stopping: loss(state.params, stopping, state.adapters),
        config,
        loaded,
        (feed, fingerprint(plan.source)),
        (mesh, folder),
        adaptation,
    )

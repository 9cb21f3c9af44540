"""A small T5 that learns from a large one: config -> rows -> teacher -> targets -> steps -> both scored -> report."""

from __future__ import annotations

from jax.sharding import Mesh

from t5x_lite.data.templates import render
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.reports.outcome import report_outcome, training_sections
from t5x_lite.tasks.distil.lessons import check_lessons, sampling_settings
from t5x_lite.tasks.distil.report import size_and_speed
from t5x_lite.tasks.distil.sections import Config
from t5x_lite.tasks.distil.teacher import (
    TEACHER,
    before_loading,
    check_student,
    load_teacher,
    recognise,
    student_of,
    writing_settings,
)
from t5x_lite.tasks.distil.training import train_student, with_targets
from t5x_lite.wiring.comparison import check_comparison, comparison_sections, run_others
from t5x_lite.wiring.holdout import read_with_holdout, sections_read, warnings_section
from t5x_lite.wiring.scoring import make_decode, score_split
from t5x_lite.wiring.text import bucketed_plan, check_texts, held_out_plan, make_split
from t5x_lite.wiring.trained_files import finish_training
from t5x_lite.wiring.trained_sources import check_source, trained
from t5x_lite.wiring.training import check_training, load_trainee
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is; a finished run is scored again."""
    mesh = make_mesh(config.mesh.sizes())
    check(config, mesh)
    train_rows, evaluation_rows = read_with_holdout(config.data, config.seed)
    folder = open_workdir(workdir, config)
    others = run_others(config, evaluation_rows, folder)
    source = trained(config.teacher.source, folder / "trained_teacher")
    with on_mesh(mesh):
        teacher = load_teacher(config, source, mesh)
        writing_settings(config, source)
        built, vocabulary = student_of(config, teacher), teacher.vocabulary
        split = make_split(config.data, train_rows, vocabulary, "train")
        held_out = make_split(config.data, evaluation_rows, vocabulary, "evaluation")
        loaded, adaptation = load_trainee(built, vocabulary, mesh)
        student = loaded.model
        check_student(built, student.config, teacher)
        check_lessons(config, student, vocabulary)
        bucketed_plan(config, split.examples, student.config, mesh)  # a rehearsal tells of it
        evaluation = held_out_plan(config, held_out.examples, student.config, mesh)
        claim_workdir(folder, config)
        recognise(teacher, folder)
        split = with_targets(config, split, teacher, folder)
        plan = bucketed_plan(config, split.examples, student.config, mesh)
        state = train_student(built, loaded, (plan, evaluation), teacher, folder, adaptation)
        ready, sections = finish_training(
            built, loaded, adaptation, state, vocabulary, evaluation, (mesh, folder)
        )
        sections |= training_sections(config, folder, plan, before=0, ended_with=int(state.step))
        targets = [render(config.data.target, row) for row in train_rows]
        scored, costs = [], []
        for name, place, model, known in (
            (config.comparison.name, folder, ready, targets),
            (TEACHER, folder / TEACHER, teacher.ready, ()),
        ):
            decode = make_decode(built, model)
            scored.append(score_split(built, model, held_out, evaluation, place, known, decode))
            costs.append({"model": name, **size_and_speed(model, decode, evaluation)})
    runs = [(TEACHER, str(folder / TEACHER)), *others]
    sections |= warnings_section(config.data, train_rows, evaluation_rows)
    sections |= comparison_sections(config, evaluation_rows, folder, runs)
    report_outcome(config, folder, *scored[0], sections | {"sizes and speed": costs})


def check(config: Config, mesh: Mesh) -> None:
    """Refuses what can be refused before any row is read.

    Raises:
      InputError: settings that contradict each other, or fit neither each other nor the mesh.
    """
    check_training(before_loading(config), mesh)
    check_source(config.teacher.source, "config.teacher.source")
    sampling_settings(config)
    check_comparison(config, TEACHER)
    check_texts(config.data, sections_read(config.data))

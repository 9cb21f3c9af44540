"""Prompting a model as it is, over whole splits: prompt kinds x decoding settings -> texts -> scores -> report."""

from __future__ import annotations

import numpy as np

from t5x_lite import streams
from t5x_lite.data.prompts import extract_answer
from t5x_lite.decoding.structure import prepare
from t5x_lite.evaluation.beside_rouge import check_metrics
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.params.overview import count
from t5x_lite.tasks.prompt.asked import ask, check_prompts, check_shown
from t5x_lite.tasks.prompt.decoder import Decoder, shapes_of
from t5x_lite.tasks.prompt.report import Answered, Outputs, report_prompts
from t5x_lite.tasks.prompt.runs import read_runs
from t5x_lite.tasks.prompt.sections import Config
from t5x_lite.wiring.model import load_model
from t5x_lite.wiring.scoring import as_begun
from t5x_lite.wiring.text import get_vocabulary, read_rows
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with the rows that the workdir's predictions lack.

    Whatever may be wrong with the input is found before anything is compiled.
    """
    mesh = make_mesh(config.mesh.sizes())
    check_prompts(config)
    check_metrics(config.evaluation)
    runs = read_runs(config)
    rows = read_rows(config.data.evaluation, "evaluation")
    shown = check_shown(config, rows)
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config, rows, folder)
        asked = ask(config, rows, vocabulary)
        loaded = load_model(config.model, config.model.execution, vocabulary, mesh, config.seed)
        for each in runs:
            prepare(each.settings, loaded.model.config, 1, vocabulary)
        claim_workdir(folder, config)
        lengths = np.array([len(ids) for kind in asked.values() for ids in kind.built.ids])
        decoder = Decoder(
            as_begun(loaded, vocabulary, mesh),
            shapes_of(lengths, len(rows), config.evaluation.batch_tokens, mesh),
            rng=streams.key(config.seed, "decode"),
            with_scores=config.evaluation.with_scores,
        )
        outputs: list[Outputs] = []
        for each in runs:
            numbers = range(len(rows)) if each.scored else shown
            if not numbers:
                continue
            kind = asked[each.prompt]
            texts = decoder.decode(
                each,
                kind.prompt,
                {i: rows[i]["id"] for i in numbers},
                {i: kind.built.ids[i] for i in numbers},
                folder / "predictions",
            )
            answers = {i: extract_answer(kind.prompt, text) for i, text in texts.items()}
            outputs.append(Outputs(each.name, each.scored, answers, texts))
    sections = {
        "prompts": [{"prompt": name, **kind.counts} for name, kind in asked.items()],
        "decoding": {
            "compiled programs": decoder.compilations,
            "parameters": count(loaded.abstract),
        },
    }
    report_prompts(config, folder, vocabulary, Answered(rows, shown, outputs), sections)

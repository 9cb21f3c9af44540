"""Pretraining by denoising, T5's or UL2's: config -> texts -> corrupted spans -> steps -> held-out losses -> report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from t5x_lite.data.features import fingerprint
from t5x_lite.data.mixture import Mixture
from t5x_lite.data.plan import Plan
from t5x_lite.data.sources import Row, warn_of_shared_rows
from t5x_lite.data.span_corruption import SpanCorruption, make_span_corruption
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError
from t5x_lite.interop.hf import save_hf
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.reports.outcome import parameters_section, report_run, training_sections
from t5x_lite.tasks.pretrain.sections import Config, DataSettings
from t5x_lite.wiring.model import load_model
from t5x_lite.wiring.scoring import make_loss, unrolled
from t5x_lite.wiring.text import bucketed_plan, get_vocabulary, held_out_plan, read_rows
from t5x_lite.wiring.training import check_training, state_of, train
from t5x_lite.wiring.workdir import claim_workdir, local_copy, open_workdir


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is; a finished run is scored again.

    The loss watched while it trains is that of all denoisers on the held-out texts; the report has each one's.
    """
    mesh = make_mesh(config.mesh.sizes())
    check_training(config, mesh)
    check_denoisers(config.data)
    train_rows = read_rows(config.data.train, "train")
    evaluation_rows = read_rows(config.data.evaluation, "evaluation")
    warn_of_shared_rows(evaluation_rows, train_rows, config.data.field)
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config, train_rows, folder)
        rates = {name: d.rate for name, d in config.data.denoisers.items() if d.rate}
        sources = make_sources(config, train_rows, vocabulary, "train", tuple(rates))
        held_out = make_sources(config, evaluation_rows, vocabulary, "evaluation")
        mixture = Mixture(sources, rates)
        loaded = load_model(config.model, config.model.execution, vocabulary, mesh, config.seed)
        state_of(config, loaded, mesh)
        model = loaded.model.config
        plan = bucketed_plan(config, mixture, model, mesh)
        plans = {name: held_out_plan(config, each, model, mesh) for name, each in held_out.items()}
        of_all = Mixture(held_out, dict.fromkeys(held_out, 1.0))
        watched = held_out_plan(config, of_all, model, mesh)
        claim_workdir(folder, config)
        state = train(config, loaded, plan, watched, fingerprint(mixture), mesh, folder)
        table = [
            {
                "denoiser": name,
                "trained": name in sources,
                "held-out pieces": len(held_out[name]),
                **_losses(loaded.model, state.params, each, mesh),
            }
            for name, each in plans.items()
        ]
        params = unrolled(state.params)
        with local_copy(folder / "model", with_files=False) as directory:
            save_hf(directory, model, params, vocabulary)
    sections = {
        "summary": table,
        **training_sections(config, folder, plan, before=0, ended_with=int(state.step)),
        **parameters_section(params),
        "samples": _samples(held_out, vocabulary, config.evaluation.samples),
    }
    title = f"{config.task}: {config.data.train.source}"
    report_run(config, folder, title, sections, table=table)


def _losses(model: T5, params: Any, plan: Plan, mesh: Mesh) -> dict[str, float]:
    result = make_loss(model, plan, mesh)(params, lambda: False)
    assert result is not None
    return {
        "loss, nats a token": round(result["evaluation/loss"], 3),
        "accuracy": round(result["evaluation/accuracy"], 3),
    }


def check_denoisers(data: DataSettings) -> None:
    """Refuses what can be refused before any file is read.

    Raises:
      InputError: no denoiser with a rate, or a `field` that the columns do not have.
    """
    if not any(denoiser.rate for denoiser in data.denoisers.values()):
        raise InputError("config.data.denoisers: every rate is 0, so there is nothing to train on")
    for name in ("train", "evaluation"):
        columns = getattr(data, name).columns
        if data.field not in columns:
            raise InputError(
                f"config.data.field: config.data.{name}.columns has no {data.field!r}, it has"
                f" {', '.join(columns) or 'nothing'}"
            )


def make_sources(
    config: Config,
    rows: Sequence[Row],
    vocabulary: Vocabulary,
    name: str,
    wanted: Sequence[str] | None = None,
) -> dict[str, SpanCorruption]:
    """The rows' texts under each denoiser (of `wanted`, or all), each with masks of its own.

    Raises:
      InputError: as `make_span_corruption`; targets that are longer than `data.decoder_length`.
    """
    data, sources = config.data, {}
    texts = [row[data.field] for row in rows]
    for number, key in enumerate(sorted(data.denoisers)):
        if wanted is not None and key not in wanted:
            continue
        denoiser = data.denoisers[key]
        source = make_span_corruption(
            texts, vocabulary, denoiser, encoder_length=data.encoder_length,
            seed=config.seed + number, name=f"{name} {key}", prefix=denoiser.prefix,
        )  # fmt: skip
        longest = int(source.decoder_lengths.max())
        if longest > data.decoder_length:
            raise InputError(
                f"config.data.decoder_length: {data.decoder_length} is too short for the denoiser {key!r}, whose"
                f" longest target has {longest} tokens; raise it to that, or shorten config.data.encoder_length"
            )
        sources[key] = source
    return sources


def spelt(ids: np.ndarray, vocabulary: Vocabulary) -> str:
    """A corrupted text with its sentinels spelt out, as the papers print it."""
    names = {token: f"<extra_id_{n}>" for n, token in enumerate(vocabulary.sentinel_ids)}
    parts: list[str] = []
    piece: list[int] = []
    for token in [*ids.tolist(), vocabulary.eos_id]:
        if token in names or token == vocabulary.eos_id:
            parts += vocabulary.decode([piece]) if piece else []
            parts += [names[token]] if token in names else []
            piece = []
        else:
            piece.append(token)
    return " ".join(part.strip(" ") for part in parts)


def _samples(
    sources: Mapping[str, SpanCorruption], vocabulary: Vocabulary, wanted: int
) -> list[dict[str, str]]:
    """The first pieces of each denoiser."""
    samples = []
    for name, source in sources.items():
        for index in range(min(wanted, len(source))):
            inputs, targets = source.example(index, 0)
            samples.append(
                {
                    "id": f"{name} {index}",
                    "input": spelt(inputs, vocabulary),
                    "target": spelt(targets, vocabulary),
                }
            )
    return samples

"""Decode a split, score it, and put it beside the baselines: what `finetune` ends with and `evaluate` is."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from t5x_lite.data.templates import render
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.evaluation.comparison import score_outputs
from t5x_lite.evaluation.constants import best_constants
from t5x_lite.evaluation.generative import SamplesFile, generate_texts
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.shardings import batch_sharding, row_multiple
from t5x_lite.tasks.text import Split, evaluation_plan

_CONFIDENCE = 0.95
_LEAD_TURNS = 3


def score_split(
    config: ConfigDict,
    model: T5,
    params: Any,
    vocabulary: Vocabulary,
    split: Split,
    train_targets: list[str],
    mesh: Mesh,
    workdir: epath.Path,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Generates for every row (samples.jsonl), and scores.

    Args:
      params: unrolled.
      train_targets: what the constant baseline is searched on; empty leaves it out.

    Returns:
      The result of `evaluation.comparison.score_outputs`, and the first `evaluation.samples` rows with outputs.
    """
    settings = GenerationSettings.from_mapping(config.generation.to_dict())
    generator = Generator(model.config, model.execution)
    plan = evaluation_plan(
        split, model.config, tokens=config.evaluation.batch_tokens, row_multiple=row_multiple(mesh)
    )
    rng = jax.random.fold_in(jax.random.key(config.seed), 1)
    sharding = batch_sharding(mesh)

    def decode(tokens: np.ndarray, indices: np.ndarray) -> np.ndarray:
        put = jax.device_put(tokens, sharding)
        output = generator.generate(params, put, settings, rng, row_ids=np.maximum(indices, 0))
        return np.asarray(output.tokens)[:: settings.num_return_sequences]

    inputs = [row[config.data.cut_field] for row in split.rows]
    # From the rows, not from their tokens: those may be cut.
    references = [render(config.data.target, row) for row in split.rows]
    samples = SamplesFile(
        workdir / "samples.jsonl", [row["id"] for row in split.rows], inputs, references
    )
    batches = ((plan.indices(i), plan.batch(i)) for i in range(plan.steps_per_epoch))
    outputs = generate_texts(decode, vocabulary, batches, len(inputs), on_text=samples.write)
    constants = None
    if train_targets:
        constants = best_constants(train_targets, use_stemmer=True, seed=config.seed)
    result, columns = score_outputs(
        outputs,
        references,
        inputs,
        use_stemmer=True,
        bootstrap=Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed),
        lead_count=_LEAD_TURNS,
        constants=constants,
        shuffle_seed=config.seed,
    )
    samples.finish(columns)
    shown = [
        {"id": row["id"], "input": text, "reference": reference, "output": output}
        for row, text, reference, output in zip(
            split.rows, inputs, references, outputs, strict=True
        )
    ]
    return result, shown[: config.evaluation.samples]

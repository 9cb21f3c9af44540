"""Score a split: the loss of its references, and generated texts beside the baselines. What `finetune` ends with and
`evaluate` is.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from t5x_lite import streams
from t5x_lite.data.groups import Drawn, drawn
from t5x_lite.data.plan import Plan, distinct_inputs
from t5x_lite.data.templates import render
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding import mbr
from t5x_lite.decoding.checkpoint_settings import checkpoint_settings
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.structure import prepare
from t5x_lite.errors import InputError
from t5x_lite.evaluation.beside_rouge import CorpusMetric, load_metrics, score_beside
from t5x_lite.evaluation.comparison import Columns, baseline_texts, describe_texts, score_outputs
from t5x_lite.evaluation.constants import best_constants
from t5x_lite.evaluation.generative import Decode, SamplesFile, generate_texts, own_batches
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.rouge import agreement
from t5x_lite.evaluation.teacher_forced import evaluate_loss
from t5x_lite.models.config import T5Config
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.parallel.sharing import share_out
from t5x_lite.params.adapters import unstack_adapters
from t5x_lite.params.gather import whole
from t5x_lite.params.stacking import is_stacked, unstack
from t5x_lite.train.step import EVALUATION_CHUNK, Batch, make_eval_step
from t5x_lite.wiring.adaptation import Adaptation, begun_adapters
from t5x_lite.wiring.model import RANDOM, Loaded
from t5x_lite.wiring.sections import GeneratingConfig, ScoringConfig
from t5x_lite.wiring.text import Split

_CONFIDENCE = 0.95
LEAD_TURNS = 3


@dataclasses.dataclass(frozen=True)
class Ready:
    """A model that texts are generated with. params, adapters (that act beside them): unrolled."""

    model: T5
    params: Any
    vocabulary: Vocabulary
    mesh: Mesh
    adapters: Any = None


def as_begun(
    loaded: Loaded, vocabulary: Vocabulary, mesh: Mesh, adaptation: Adaptation | None = None
) -> Ready:
    """The model that a run begins from, made anew; with the adapters that were loaded, if it trains such."""
    adapters = begun_adapters(adaptation) if adaptation else None
    acting = None if adapters is None else unstack_adapters(adapters)
    return Ready(loaded.model, unrolled(loaded.make()), vocabulary, mesh, acting)


def unrolled(params: Any) -> Any:
    """Parameters in the canonical layout, whichever they are in."""
    return unstack(params) if is_stacked(params) else params


class Loss(Protocol):
    """The loss of a split under parameters, and adapters beside them; None where `stopping()` became true."""

    def __call__(
        self, params: Any, stopping: Callable[[], bool], adapters: Any = None
    ) -> dict[str, float] | None:
        """{"evaluation/loss": ..., ...}."""


def check_generation(
    config: GeneratingConfig, model: T5Config | None = None, vocabulary: Vocabulary | None = None
) -> GenerationSettings:
    """The `generation` section over the settings that the checkpoint comes with, for as many sequences a row as
    `evaluation.mbr_candidates` asks for, else one; with the model, its token ids too are checked.

    Raises:
      InputError: an unknown setting, settings that contradict each other, or that the model cannot follow.
    """
    source = config.model.source
    base = GenerationSettings() if source == RANDOM else checkpoint_settings(source)
    candidates = config.evaluation.mbr_candidates
    if (config.generation.get("num_return_sequences") or 1) != 1:
        raise InputError(
            "config.generation.num_return_sequences: one output a row is scored; leave it out"
            " (config.evaluation.mbr_candidates draws several, of which one is taken)"
        )
    settings = base.updated(
        {**config.generation, "num_return_sequences": 1}, where="config.generation"
    )
    settings.new_tokens()  # that not more are asked for than there may be
    if candidates and (not settings.do_sample or settings.num_beams > 1):
        raise InputError(
            "config.evaluation.mbr_candidates: the candidates are samples; set config.generation.do_sample, without"
            " num_beams"
        )
    if candidates:
        settings = settings.updated({"num_return_sequences": candidates})
    if model is not None:
        prepare(settings, model, 1, vocabulary)
    return settings


def make_loss(model: T5, plan: Plan, mesh: Mesh, chunk: int = EVALUATION_CHUNK) -> Loss:
    """Makes `loss(params, stopping, adapters=None)`: {"evaluation/loss": ..., ...} of all rows of the plan (see
    `evaluation.teacher_forced`), or None if `stopping()` becomes true before the end.

    chunk: decoder positions whose logits exist at a time (`loss.chunk`); 0 = all at once.
    """
    eval_step, rows = jax.jit(make_eval_step(model, chunk)), OwnRows(mesh)

    def loss(
        params: Any, stopping: Callable[[], bool], adapters: Any = None
    ) -> dict[str, float] | None:
        def batches() -> Iterator[Batch]:
            for step in range(plan.steps_per_epoch):
                if step and stopping():
                    return
                yield rows.read(plan, step)

        result = evaluate_loss(
            lambda params, batch: eval_step(params, batch, adapters or None),
            params,
            batches(),
            total=plan.steps_per_epoch,
        )
        if stopping():
            return None
        return {f"evaluation/{name}": value for name, value in result.items()}

    return loss


def score_split(
    config: ScoringConfig,
    ready: Ready,
    split: Split,
    plan: Plan,
    workdir: epath.Path,
    train_targets: Sequence[str] = (),
    decode: Decode | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Generates for every row (samples.jsonl), and scores. Rows of one input (several references) get one output, drawn
    as that of the first.

    Args:
      plan: of the split's examples, unshuffled.
      train_targets: what the constant baseline is searched on; empty leaves it out.
      decode: of `make_decode`, where the caller has use for it, too.

    Returns:
      The result of `evaluation.comparison.score_outputs` with the scores beside ROUGE and the published ones, and the
      first `evaluation.samples` rows with outputs.
    """
    # As the templates see them, uncut: the baselines and the report's readers get whole texts.
    inputs = [row[config.data.cut_field] for row in split.rows]
    references = [render(config.data.target, row) for row in split.rows]
    samples = SamplesFile(
        workdir / "samples.jsonl", [row["id"] for row in split.rows], inputs, references
    )
    outputs = _generate(decode or make_decode(config, ready), ready, plan, samples.write)
    result, columns = _scores(config, split, outputs, train_targets)
    samples.finish(columns)
    published = [{"name": name, **scores} for name, scores in config.published.items()]
    shown = [
        {"id": row["id"], "input": text, "reference": reference, "output": output}
        for row, text, reference, output in zip(
            split.rows, inputs, references, outputs, strict=True
        )
    ]
    return result | {"published": published}, shown[: config.evaluation.samples]


def write_split(
    config: ScoringConfig, ready: Ready, split: Split, plan: Plan, workdir: epath.Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Generates for every row of a split without references (samples.jsonl). Args: as `score_split`.

    Returns:
      How many outputs there are, and of what length; and the first `evaluation.samples` rows with them.
    """
    inputs, ids = ([row[field] for row in split.rows] for field in (config.data.cut_field, "id"))
    samples = SamplesFile(workdir / "samples.jsonl", ids, inputs, None)
    outputs = _generate(make_decode(config, ready), ready, plan, samples.write)
    samples.finish({})
    shown = zip(ids, inputs, outputs, strict=True)
    return {"rows": len(outputs), **describe_texts(outputs)}, [
        {"id": own, "input": text, "output": output}
        for own, text, output in itertools.islice(shown, config.evaluation.samples)
    ]


def _generate(
    decode: Decode, ready: Ready, plan: Plan, on_text: Callable[[int, str], None]
) -> list[str]:
    """The text of every row of the plan; each input is decoded once."""
    once, groups = distinct_inputs(plan)
    firsts = np.array([rows[0] for rows in groups])

    def of_inputs(tokens: jax.Array, indices: np.ndarray) -> np.ndarray:
        return decode(tokens, np.where(indices < 0, indices, firsts[indices]))

    def write(number: int, text: str) -> None:
        for row in groups[number]:
            on_text(int(row), text)

    batches = own_batches(once, ready.mesh)
    texts = generate_texts(of_inputs, ready.vocabulary, batches, len(groups), on_text=write)
    of_row = {int(row): text for rows, text in zip(groups, texts, strict=True) for row in rows}
    return [of_row[row] for row in range(len(of_row))]


def _scores(
    config: ScoringConfig, split: Split, outputs: list[str], train_targets: Sequence[str]
) -> tuple[dict[str, Any], Columns]:
    """The result of `score_outputs` with the scores beside ROUGE, and the rows' ROUGE."""
    inputs = [row[config.data.cut_field] for row in split.rows]
    references = [render(config.data.target, row) for row in split.rows]
    constants = None
    if train_targets:
        constants = best_constants(list(train_targets), use_stemmer=True, seed=config.seed)
    return score_texts(
        load_metrics(config.evaluation),
        outputs,
        references,
        inputs,
        drawn(split.rows, (config.data.template,), config.data.cut_field),
        Bootstrap(config.evaluation.bootstrap_samples, _CONFIDENCE, config.seed),
        constants,
    )


def score_texts(
    metrics: Mapping[str, CorpusMetric],
    outputs: Sequence[str],
    references: Sequence[str],
    inputs: Sequence[str],
    belonging: Drawn,
    bootstrap: Bootstrap,
    constants: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], Columns]:
    """The result of `evaluation.comparison.score_outputs` with the scores of `metrics` (`beside_rouge.load_metrics`)
    beside it, and the rows' ROUGE: against the lead of LEAD_TURNS turns, the outputs of other inputs, and `constants`.
    """
    shuffle_seed = bootstrap.seed if len(set(inputs)) > 1 else None  # needs another dialogue
    result, columns = score_outputs(
        outputs,
        references,
        inputs,
        use_stemmer=True,
        bootstrap=bootstrap,
        drawn=belonging,
        lead_count=LEAD_TURNS,
        constants=constants,
        shuffle_seed=shuffle_seed,
    )
    opponents = baseline_texts(outputs, inputs, LEAD_TURNS, shuffle_seed)
    beside = score_beside(metrics, outputs, references, opponents, bootstrap, belonging.groups)
    return result | beside, columns


def make_decode(config: GeneratingConfig, ready: Ready) -> Decode:
    """Makes the `decode(tokens, indices)` of `evaluation.generative.generate_texts`, by the `generation` section and
    `evaluation.mbr_candidates`.
    """
    candidates = config.evaluation.mbr_candidates
    settings = check_generation(config)
    model, vocabulary = ready.model, ready.vocabulary
    generator = Generator(model.config, model.execution, vocabulary)
    rng = streams.key(config.seed, "decode")

    def decode(tokens: jax.Array, indices: np.ndarray) -> np.ndarray:
        output = generator.generate(
            ready.params,
            tokens,
            settings,
            rng,
            row_ids=np.maximum(indices, 0),
            adapters=ready.adapters,
        )
        of_row = whole(output.tokens).reshape(len(tokens), settings.num_return_sequences, -1)
        if not candidates:
            return of_row[:, 0]
        chosen = share_out(
            len(of_row),
            lambda own: [
                mbr.choose(vocabulary.decode(row), agreement, symmetric=True) for row in of_row[own]
            ],
        )
        return of_row[np.arange(len(tokens)), chosen]

    return decode

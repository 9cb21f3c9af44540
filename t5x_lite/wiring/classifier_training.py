"""What the tasks `classifier` and `reward` share: the model, its batches, and the supervised loop around it."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from t5x_lite import streams
from t5x_lite.data.buckets import choose_lengths, make_shapes
from t5x_lite.data.classifier_text import (
    ClassifierTokenizer,
    load_classifier_tokenizer,
    of_vocabulary,
    with_first_token,
)
from t5x_lite.data.features import Examples, fingerprint
from t5x_lite.data.plan import Plan
from t5x_lite.data.preferences import PairPlan
from t5x_lite.data.sources import Row
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError
from t5x_lite.foreign.json_files import read_json
from t5x_lite.interop.classifiers import Classifier, open_classifier, with_pads_of
from t5x_lite.interop.hf import open_encoder, open_hf
from t5x_lite.interop.hub import model_directory
from t5x_lite.models.classifier_init import (
    abstract_module,
    init_jitted,
    init_module,
    text_examples,
)
from t5x_lite.models.config import MODEL_TYPES, Execution, T5Config
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.init import abstract_params, logical_axes
from t5x_lite.models.sections import RewardModelSettings
from t5x_lite.models.t5 import T5
from t5x_lite.models.t5_classifier import T5Classifier
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.optim.optimizers import check_compute_dtype
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.parallel.shardings import (
    fitting_shardings,
    param_shardings,
    put_batch,
    row_multiple,
    with_shardings,
)
from t5x_lite.params.overview import count
from t5x_lite.reports.metrics import read_metrics
from t5x_lite.train.classifier_step import Judgement, judgement_sums, make_classifier_step
from t5x_lite.train.sections import WHOLE, Thinning
from t5x_lite.train.state import TrainState
from t5x_lite.train.update import TrainStep
from t5x_lite.wiring.model import RANDOM, architecture_of, encoder_of, shardings_of
from t5x_lite.wiring.resume import States
from t5x_lite.wiring.sections import ClassifierConfig, OptimizedConfig
from t5x_lite.wiring.supervised import Feed, optimizer_of, place_state, run_supervised
from t5x_lite.wiring.text import OF_THE_MODEL, get_vocabulary

# What `model.kind` of a reward model may be: a text in the encoder, or prompt and response apart.
ENCODER, SCORER = "encoder", "encoder_decoder"
Sides = Sequence[Examples]
_EVALUATION_BUCKETS = 4


@dataclasses.dataclass(frozen=True)
class LoadedClassifier:
    """A classifier whose parameters are known by shape and sharding. make: makes them so."""

    module: Classifier
    tokenizer: ClassifierTokenizer
    abstract: Any
    make: Callable[[], Any]


def load_classifier(
    config: ClassifierConfig,
    labels: tuple[str, ...],
    rows: list[Row],
    mesh: Mesh,
    folder: epath.Path,
) -> LoadedClassifier:
    """The classifier of `model.source`: "random", a T5 (or its encoder) with a new head, or a classifier.

    Random ones are T5s, or with `family` in `model.architecture` of that family (bert, roberta, distilbert). A
    classifier with other labels, or an encoder without a head (roberta-base), gets a new head.

    Raises:
      InputError: no such model, one that fits neither tokenizer nor mesh, or one that computes in float16.
    """
    section = config.model
    check_compute_dtype(section.dtype)
    if section.source == RANDOM:
        return _new(config, labels, rows, mesh, folder)
    directory = model_directory(section.source)
    if _model_type(directory) in MODEL_TYPES:
        vocabulary = get_vocabulary(config, rows, folder)
        module, read = _of_t5(config, directory, vocabulary, labels)
        tokenizer = of_vocabulary(vocabulary, config.data.max_length)
        return _placed(module, tokenizer, read, section.param_dtype, mesh)
    return _opened(config, labels, directory, mesh)


def _new(
    config: ClassifierConfig,
    labels: tuple[str, ...],
    rows: list[Row],
    mesh: Mesh,
    folder: epath.Path,
) -> LoadedClassifier:
    """One with random weights."""
    section, data = config.model, config.data
    module: Classifier
    if config.tokenizer.source == OF_THE_MODEL:
        raise InputError("config.tokenizer.source: a random model has no tokenizer; 'train' one")
    vocabulary = get_vocabulary(config, rows, folder)
    tokenizer = of_vocabulary(vocabulary, data.max_length)
    if "family" in section.architecture:
        tokenizer = with_first_token(vocabulary, data.max_length)
        module = EncoderClassifier(
            encoder_of(section.architecture, vocabulary, data.max_length, labels),
            section.dtype,
        )
    else:
        module = t5_classifier(
            config, architecture_of(section.architecture, vocabulary), labels, section.execution
        )
    read: Callable[[Any], Any] = functools.partial(_random, module, config.seed)
    return _placed(module, tokenizer, read, section.param_dtype, mesh)


def _opened(
    config: ClassifierConfig, labels: tuple[str, ...], directory: pathlib.Path, mesh: Mesh
) -> LoadedClassifier:
    """A classifier's, or an encoder's with a new head."""
    section, longest = config.model, config.data.max_length
    opened = open_classifier(directory, section.dtype, labels=labels)
    module = opened.module
    if kind_of(config) == SCORER and not isinstance(module, T5Scorer):
        raise InputError(
            f"config.model.kind {SCORER!r} needs a T5, and {section.source} is none; say 'encoder'"
        )
    if isinstance(module, EncoderClassifier):
        longest = min(longest, module.config.max_length)
    if config.tokenizer.source != OF_THE_MODEL:
        raise InputError(
            "config.tokenizer.source: a pretrained classifier has its own; say 'model'"
        )
    tokenizer = load_classifier_tokenizer(opened.directory, longest)
    module = with_pads_of(module, tokenizer.pad_id, section.source)

    def read_opened(shardings: Any) -> Any:
        return opened.read(section.param_dtype, shardings, config.seed)

    return _placed(module, tokenizer, read_opened, section.param_dtype, mesh)


def train_classifier(
    config: ClassifierConfig,
    loaded: LoadedClassifier,
    sides: Sides,
    evaluate: Callable[[Any], Mapping[str, float]],
    mesh: Mesh,
    folder: epath.Path,
    thinning: Thinning = WHOLE,
) -> TrainState:
    """Trains for `train.steps` steps, from the folder's last checkpoint where there is one.

    sides: what to learn from (`make_plan`).
    evaluate: parameters -> metrics, "evaluation/loss" among them; every `evaluation.every_steps`.
    thinning: of labeled texts in training.

    Raises:
      InputError, Stopped: as `supervised.run_supervised`.
    """
    plan = make_plan(
        sides, loaded.module, rows=config.batch.size, buckets=config.batch.buckets,
        seed=config.seed, multiple=row_multiple(mesh, config.batch.accumulation),
    )  # fmt: skip
    step, make_state, abstract = step_of(
        config, loaded.module, loaded.abstract, config.loss, mesh, thinning
    )
    return run_supervised(
        config,
        step,
        States(lambda: make_state(loaded.make(), {}), abstract),
        Feed(plan),
        lambda state, stopping: None if stopping() else evaluate(state.params),
        {"examples": "".join(map(fingerprint, sides))},
        f"{count(loaded.abstract):,} parameters",
        (mesh, folder),
    )


def step_of(
    config: OptimizedConfig,
    module: Classifier,
    abstract: Any,
    judgement: Judgement,
    mesh: Mesh,
    thinning: Thinning = WHOLE,
) -> tuple[TrainStep, Callable[..., TrainState], TrainState]:
    """The step, not jitted; how its first state is made of parameters; and that state by its shapes.

    abstract: the parameters, a `jax.ShapeDtypeStruct` with its sharding a leaf.
    """
    optimizer, schedule = optimizer_of(config)
    step = make_classifier_step(
        module,
        optimizer,
        schedule,
        judgement,
        accumulation=config.batch.accumulation,
        thinning=thinning,
    )
    return step, *place_state(optimizer, abstract, {}, None, mesh)


def make_plan(
    sides: Sides,
    module: Classifier,
    *,
    rows: int,
    buckets: int,
    seed: int | None,
    multiple: int,
) -> Plan | PairPlan:
    """Batches of `rows` rows (rounded up to a multiple), in a few lengths.

    sides: the examples; of a model that reads prompt and response apart, those of `pair_sides`.
    """

    def plan_of(examples: Examples) -> Plan:
        lengths = choose_lengths(examples.encoder_lengths, examples.decoder_lengths, buckets, 16)
        size = -(-rows // multiple) * multiple
        shapes = make_shapes(lengths, size=size, tokens=0, row_multiple=multiple)
        return Plan(
            examples, shapes, seed=seed, pack=False, pad_id=module.config.pad_token_id,
            decoder_start_id=0,
        )  # fmt: skip

    if len(sides) == 1:
        return plan_of(sides[0])
    # There is no reference policy here.
    return PairPlan(sides[0], sides[1], plan_of, np.zeros((len(sides[0]), 2)))


def make_evaluate(
    config: ClassifierConfig, module: Classifier, sides: Sides, mesh: Mesh
) -> Callable[[Any], dict[str, float]]:
    """Makes `evaluate(params) -> {"evaluation/loss", "evaluation/accuracy"}`, means over all examples."""
    plain = Judgement(config.loss.kind, 0.0, 0.0)
    plan = make_plan(
        sides, module, rows=config.batch.size, buckets=_EVALUATION_BUCKETS, seed=None,
        multiple=row_multiple(mesh),
    )  # fmt: skip
    sums_of = jax.jit(lambda params, batch: judgement_sums(module, params, batch, None, plain))
    own = OwnRows(mesh)

    def evaluate(params: Any) -> dict[str, float]:
        totals = {"nll": 0.0, "correct": 0.0, "weight": 0.0}
        for step in range(plan.steps_per_epoch):
            sums = jax.device_get(sums_of(params, own.read(plan, step)))
            for name in totals:
                totals[name] += float(sums[name])
        rows = max(totals["weight"], 1.0)
        return {
            "evaluation/loss": totals["nll"] / rows,
            "evaluation/accuracy": totals["correct"] / rows,
        }

    return evaluate


def learnt(config: ClassifierConfig, folder: epath.Path, params: Any) -> dict[str, Any]:
    """The report's section "training"."""
    steps = [record for record in read_metrics(folder) if "loss" in record]
    return {
        "steps": config.train.steps,
        "first loss": steps[0]["loss"],
        "last loss": steps[-1]["loss"],
        "parameters": count(params),
    }


def put_rows(mesh: Mesh) -> Callable[[np.ndarray], jax.Array]:
    """Places rows on the mesh, for a `TextClassifier`."""
    return lambda rows: put_batch({"rows": rows}, mesh)["rows"]


def _placed(
    module: Classifier,
    tokenizer: ClassifierTokenizer,
    read: Callable[[Any], Any],
    dtype: str,
    mesh: Mesh,
) -> LoadedClassifier:
    shapes, axes = abstract_module(module, *text_examples(module))
    abstract = with_shardings(shapes, param_shardings(shapes, axes, mesh), dtype)

    def make() -> Any:
        # New weights and new heads are drawn in float32.
        return jax.tree.map(
            lambda leaf, wanted: leaf if leaf.dtype == wanted.dtype else leaf.astype(wanted.dtype),
            read(shardings_of(abstract)),
            abstract,
        )

    return LoadedClassifier(module, tokenizer, abstract, make)


def _random(module: Classifier, seed: int, shardings: Any) -> Any:
    def make(rng: jax.Array) -> Any:
        return init_module(module, rng, *text_examples(module))

    return jax.jit(make, out_shardings=shardings)(streams.key(seed, "init"))


def kind_of(config: ClassifierConfig) -> str:
    """`model.kind` of a reward model; a classifier reads one text."""
    return config.model.kind if isinstance(config.model, RewardModelSettings) else ENCODER


def t5_classifier(
    config: ClassifierConfig, t5: T5Config, labels: tuple[str, ...], execution: Execution
) -> Classifier:
    """The classifier or reward model over a T5, as `model.kind` says."""
    if isinstance(config.model, RewardModelSettings) and config.model.kind == SCORER:
        return T5Scorer(t5, execution, labels, config.model.likelihood)
    return T5Classifier(t5, labels, execution)


def _of_t5(
    config: ClassifierConfig, directory: Any, vocabulary: Vocabulary, labels: tuple[str, ...]
) -> tuple[Classifier, Callable[[Any], Any]]:
    """A classifier (of the encoder alone) or scorer over the T5 of a directory, and what reads its weights."""
    opened = open_hf(directory) if kind_of(config) == SCORER else open_encoder(directory)
    if vocabulary.size > opened.config.vocab_size:
        raise InputError(
            f"the model embeds {opened.config.vocab_size} tokens, but the tokenizer has {vocabulary.size}:"
            " config.tokenizer.source must be the one the model was trained with"
        )
    module = t5_classifier(config, opened.config, labels, config.model.execution)
    dtype = config.model.param_dtype
    return module, functools.partial(_from_t5, module, opened, dtype, config.seed)


def _from_t5(module: Classifier, opened: Any, dtype: str, seed: int, shardings: Any) -> Any:
    """What the model shares with a T5 (its encoder, or all of it) as it is there, and a new head."""
    # Into its shards: whole, a large one fits no device.
    t5 = T5(opened.config, Execution())
    mesh = jax.tree.leaves(shardings)[0].mesh
    params = opened.read(dtype, fitting_shardings(abstract_params(t5), logical_axes(t5), mesh))
    fresh = init_jitted(module, streams.key(seed, "init"), *text_examples(module))
    return jax.device_put({name: params.get(name, fresh[name]) for name in fresh}, shardings)


def _model_type(directory: Any) -> str:
    try:
        fields = read_json(directory / "config.json")
        return str(fields.get("model_type"))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{directory}/config.json: cannot read it ({error})") from error


def column(rows: Sequence[Row], name: str) -> list[str]:
    """One column of the rows."""
    return [row[name] for row in rows]

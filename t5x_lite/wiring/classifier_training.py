"""What the tasks `classifier` and `reward` share: the model, its batches, and the supervised loop around it."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

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
from t5x_lite.errors import InputError
from t5x_lite.interop.classifiers import Classifier, open_classifier
from t5x_lite.interop.hf import open_hf
from t5x_lite.interop.hub import model_directory
from t5x_lite.models.classifier_init import (
    abstract_module,
    init_jitted,
    init_module,
    text_examples,
)
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.t5_classifier import T5Classifier
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.parallel.shardings import param_shardings, put_batch, row_multiple, with_shardings
from t5x_lite.params.overview import count
from t5x_lite.train.classifier_step import Judgement, judgement_sums, make_classifier_step
from t5x_lite.train.state import TrainState
from t5x_lite.train.thinning import WHOLE, Thinning
from t5x_lite.wiring.model import RANDOM, architecture_of, encoder_of, shardings_of
from t5x_lite.wiring.supervised import optimizer_of, place_state, run_supervised
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
    config: ConfigDict, labels: tuple[str, ...], rows: list[Row], mesh: Mesh, folder: epath.Path
) -> LoadedClassifier:
    """The classifier of `model.source`: "random", a T5 (or its encoder) with a new head, or a classifier.

    Random ones are T5s, or with `family` in `model.architecture` of that family (bert, roberta, distilbert). A
    classifier with other labels, or an encoder without a head (roberta-base), gets a new head.

    Raises:
      InputError: no such model, or one that fits neither tokenizer nor mesh.
    """
    section, data = config.model, config.data
    module: Classifier
    if section.source == RANDOM:
        if config.tokenizer.source == OF_THE_MODEL:
            raise InputError(
                "config.tokenizer.source: a random model has no tokenizer; 'train' one"
            )
        vocabulary = get_vocabulary(config, rows, folder)
        tokenizer = of_vocabulary(vocabulary, data.max_length)
        if "family" in section.architecture:
            tokenizer = with_first_token(vocabulary, data.max_length)
            module = EncoderClassifier(
                encoder_of(section.architecture.to_dict(), vocabulary, data.max_length, labels),
                section.dtype,
            )
        else:
            module = _t5_module(config, architecture_of(section, vocabulary), labels)
        read: Callable[[Any], Any] = functools.partial(_random, module, config.seed)
        return _placed(module, tokenizer, read, section.param_dtype, mesh)
    directory = model_directory(section.source)
    if _model_type(directory) == "t5":
        opened_t5 = open_hf(directory)
        vocabulary = get_vocabulary(config, rows, folder)
        module = _t5_module(config, opened_t5.config, labels)
        read = functools.partial(_from_t5, module, opened_t5, section.param_dtype, config.seed)
        tokenizer = of_vocabulary(vocabulary, data.max_length)
        return _placed(module, tokenizer, read, section.param_dtype, mesh)
    opened = open_classifier(directory, section.dtype, labels=labels)
    module = opened.module
    if _kind(config) == SCORER and not isinstance(module, T5Scorer):
        raise InputError(
            f"config.model.kind {SCORER!r} needs a T5, and {section.source} is none; say 'encoder'"
        )
    longest = data.max_length
    if isinstance(module, EncoderClassifier):
        longest = min(longest, module.config.max_length)
    if config.tokenizer.source != OF_THE_MODEL:
        raise InputError(
            "config.tokenizer.source: a pretrained classifier has its own; say 'model'"
        )
    tokenizer = load_classifier_tokenizer(opened.directory, longest)

    def read_opened(shardings: Any) -> Any:
        return opened.read(section.param_dtype, shardings, config.seed)

    return _placed(module, tokenizer, read_opened, section.param_dtype, mesh)


def train_classifier(
    config: ConfigDict,
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
    optimizer, schedule = optimizer_of(config)
    plan = make_plan(
        sides, loaded.module, rows=config.batch.size, buckets=config.batch.buckets,
        seed=config.seed, multiple=row_multiple(mesh),
    )  # fmt: skip
    make_state, abstract = place_state(optimizer, loaded.abstract, {}, None, mesh)
    return run_supervised(
        config,
        make_classifier_step(
            loaded.module, optimizer, schedule, Judgement(**config.loss), thinning
        ),
        lambda: make_state(loaded.make(), {}),
        abstract,
        plan,
        lambda state, stopping: None if stopping() else evaluate(state.params),
        {"examples": "".join(map(fingerprint, sides))},
        f"{count(loaded.abstract):,} parameters",
        mesh,
        folder,
    )


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
    config: ConfigDict, module: Classifier, sides: Sides, mesh: Mesh
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
    return LoadedClassifier(module, tokenizer, abstract, lambda: read(shardings_of(abstract)))


def _random(module: Classifier, seed: int, shardings: Any) -> Any:
    def make(rng: jax.Array) -> Any:
        return init_module(module, rng, *text_examples(module))

    return jax.jit(make, out_shardings=shardings)(jax.random.key(seed))


def _kind(config: ConfigDict) -> str:
    """`model.kind` of a reward model; a classifier reads one text."""
    return config.model.kind if "kind" in config.model else ENCODER


def _t5_module(config: ConfigDict, t5: T5Config, labels: tuple[str, ...]) -> Classifier:
    execution = Execution(dtype=config.model.dtype, attention=config.model.attention)
    if _kind(config) == SCORER:
        return T5Scorer(t5, execution, labels, config.model.likelihood)
    return T5Classifier(t5, labels, execution)


def _from_t5(module: Classifier, opened: Any, dtype: str, seed: int, shardings: Any) -> Any:
    """What the model shares with a T5 (its encoder, or all of it) as it is there, and a new head."""
    params = opened.read(dtype)
    fresh = init_jitted(module, jax.random.key(seed), *text_examples(module))
    return jax.device_put({name: params.get(name, fresh[name]) for name in fresh}, shardings)


def _model_type(directory: Any) -> str:
    try:
        fields = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        return str(fields.get("model_type"))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{directory}/config.json: cannot read it ({error})") from error


def column(rows: Sequence[Row], name: str) -> list[str]:
    """One column of the rows."""
    return [row[name] for row in rows]

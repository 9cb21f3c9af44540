"""From a config to tokens: rows, vocabulary, examples, batch plans."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

from etils import epath
from jax.sharding import Mesh

from t5x_lite.data.buckets import choose_lengths, make_shapes
from t5x_lite.data.curriculum import Curriculum
from t5x_lite.data.features import Examples, ExampleSource, make_examples
from t5x_lite.data.groups import GROUP
from t5x_lite.data.pads import Batches, CountedPads
from t5x_lite.data.plan import Plan
from t5x_lite.data.sections import BatchSettings, BucketsSettings, RowsSettings, TextsSettings
from t5x_lite.data.sources import Row, load_rows, warn_of_shared_rows
from t5x_lite.data.span_corruption import make_span_corruption
from t5x_lite.data.templates import find_template
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary
from t5x_lite.errors import InputError
from t5x_lite.interop.hub import model_directory
from t5x_lite.interop.t5x import is_t5x
from t5x_lite.models.config import T5Config
from t5x_lite.parallel.processes import from_process_zero
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.sections import at_place
from t5x_lite.wiring.rehearsal import note, note_batches, note_lengths, own_folder
from t5x_lite.wiring.sections import TokenizedConfig, TrainingConfig
from t5x_lite.wiring.workdir import is_claimed, local_copy

TRAINED = "train"
OF_THE_MODEL = "model"

_EVALUATION_BUCKETS = 4


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows of text and their token examples, in the same order."""

    rows: list[Row]
    examples: Examples


def check_texts(data: Any, names: Sequence[str], target: str = "") -> None:
    """Refuses templates that the columns of the rows cannot fill, before the rows are read.

    Args:
      data: a `data` section. names: those of its rows that fill the templates.
      target: the target's template, where it is no field of `data`.

    Raises:
      InputError: an unknown template, or a field that is no key of `columns`.
    """
    wanted = {
        field: f"config.data.{name}"
        for name, template in (("target", target or data.target), ("template", data.template))
        for field in find_template(template).fields
    }
    wanted[data.cut_field] = "config.data.cut_field"
    for name in names:
        columns = getattr(data, name).columns
        for field, where in wanted.items():
            if field not in columns and field != "id":
                raise InputError(
                    f"{where} names {field!r}, but config.data.{name}.columns has"
                    f" {', '.join(columns) or 'nothing'}: say which column it is"
                )


def read_rows(section: RowsSettings, name: str, lists: Collection[str] = ()) -> list[Row]:
    """The rows that a section names. name: of the section below `config.data`, e.g. "train". lists: fields that hold
    lists, as `data.sources.load_rows` takes them.

    Raises:
      InputError: as `data.sources.load_rows`, with the section before it.
    """
    try:
        rows = load_rows(
            section.source,
            section.split,
            section.columns,
            id_column=section.id_column,
            exclude=section.exclude,
            limit=section.limit,
            lists=lists,
        )
    except InputError as error:
        raise at_place(error, "data", f"config.data.{name}") from error
    note(f"rows, {name}", f"{len(rows):,} of {section.source}")
    return rows


def read_splits(data: Any) -> tuple[list[Row], list[Row]]:
    """The rows of `train` and of `evaluation`, with a warning of those that are in both.

    Raises:
      InputError: as `data.sources.load_rows`.
    """
    train, evaluation = read_rows(data.train, "train"), read_rows(data.evaluation, "evaluation")
    warn_of_shared_rows(evaluation, train, data.cut_field)
    return train, evaluation


def get_vocabulary(config: TokenizedConfig, rows: list[Row], folder: epath.Path) -> Vocabulary:
    """`vocabulary_of` all fields of `rows`."""
    return vocabulary_of(config, texts_of(rows), folder)


def texts_of(rows: list[Row]) -> list[str]:
    """Every text of the rows, field by field."""
    fields = sorted(set(rows[0]) - {"id", GROUP}) if rows else []
    return [row[field] for field in fields for row in rows]


def vocabulary_of(config: TokenizedConfig, texts: Sequence[str], folder: epath.Path) -> Vocabulary:
    """`_vocabulary_of`, which a rehearsal notes, and trains elsewhere."""
    with own_folder(folder) as place:
        vocabulary = _vocabulary_of(config, texts, place)
    note("tokenizer", f"{vocabulary.size:,} tokens")
    return vocabulary


def _vocabulary_of(config: TokenizedConfig, texts: Sequence[str], folder: epath.Path) -> Vocabulary:
    """The tokenizer of `tokenizer.source`: a Hugging Face id or directory, or one of two words.

    "model" takes the tokenizer that comes with `model.source`. "train" trains one on `texts` into folder/tokenizer; a
    run that goes on there takes the one it began with.
    """
    section = config.tokenizer
    if section.source != TRAINED:
        return known_vocabulary(section.source, config.model.source)

    def train() -> None:
        with local_copy(folder / "tokenizer", with_files=is_claimed(folder)) as directory:
            if is_claimed(folder) and (directory / "tokenizer_config.json").exists():
                return
            train_tokenizer(texts, directory, section)

    from_process_zero(train)
    with local_copy(folder / "tokenizer", with_files=True) as directory:
        return load_vocabulary(directory)


def known_vocabulary(source: str, model: str) -> Vocabulary:
    """The tokenizer of `tokenizer.source` where none is trained; "model" is the one that comes with `model`.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    if source != OF_THE_MODEL:
        return load_vocabulary(source)
    if is_t5x(model):
        raise InputError(
            f"config.tokenizer.source: {model} is a t5x checkpoint, which comes without a tokenizer; give a directory"
            " or hub id"
        )
    try:
        directory = model_directory(model)
    except InputError as error:
        raise InputError(f"config.model.source: {error}") from error
    return load_vocabulary(directory)


def make_split(data: TextsSettings, rows: list[Row], vocabulary: Vocabulary, name: str) -> Split:
    """Tokenizes rows by the templates and lengths of the `data` section."""
    examples = make_examples(
        rows,
        vocabulary,
        template=data.template,
        target=data.target,
        encoder_length=data.encoder_length,
        decoder_length=data.decoder_length,
        truncation=data.truncation,
        cut_field=data.cut_field,
        name=name,
    )
    note_lengths(name, examples)
    return Split(rows, examples)


def check_batch(batch: BucketsSettings, mesh: Mesh) -> None:
    """Refuses a `batch` section that fits no data, before the data is read."""
    # Where the lengths come from the data, one token a row stands for them.
    lengths = [(1, 1)] if isinstance(batch.buckets, int) else batch.buckets
    rows = row_multiple(mesh, batch.accumulation)
    make_shapes(lengths, size=batch.size, tokens=batch.tokens, row_multiple=rows)


def train_plan(
    config: TrainingConfig, split: Split, vocabulary: Vocabulary, model: T5Config, mesh: Mesh
) -> tuple[Plan, Batches]:
    """The plan of the task's batches, and what the run draws from: that plan, or `data.denoising` before it, with pads
    that count where `data.pads` says so.
    """
    plan = bucketed_plan(config, split.examples, model, mesh)
    batches: Batches = plan
    denoising, pads = config.data.denoising, config.data.pads
    if denoising.steps:
        corrupted = make_span_corruption(
            texts_of(split.rows),
            vocabulary,
            denoising,
            encoder_length=denoising.encoder_length,
            seed=config.seed,
            name="denoising",
        )
        first = bucketed_plan(config, corrupted, model, mesh)
        batches = Curriculum(first, denoising.steps, plan)
    if pads.in_loss or pads.in_attention:
        batches = CountedPads(batches, in_loss=pads.in_loss, in_attention=pads.in_attention)
    return plan, batches


def held_out_plan(config: Any, examples: ExampleSource, model: T5Config, mesh: Mesh) -> Plan:
    """`evaluation_plan` by the `evaluation` section."""
    tokens = config.evaluation.batch_tokens
    return evaluation_plan(examples, model, tokens=tokens, row_multiple=row_multiple(mesh))


def bucketed_plan(
    config: TrainingConfig, examples: ExampleSource, model: T5Config, mesh: Mesh
) -> Plan:
    """The plan of a training source by the `batch` section: buckets fitted to the lengths, or as the config lists them;
    one shape, the longest, when packed.
    """
    batch = config.batch
    pack = isinstance(batch, BatchSettings) and batch.pack  # not every task can pack
    if pack:
        longest = int(examples.encoder_lengths.max()), int(examples.decoder_lengths.max())
        budget = config.data.encoder_length, config.data.decoder_length
        lengths: Any = [tuple(map(max, longest, budget))]
    elif isinstance(batch.buckets, int):
        lengths = choose_lengths(
            examples.encoder_lengths, examples.decoder_lengths, batch.buckets, batch.multiple
        )
    else:
        lengths = [tuple(pair) for pair in batch.buckets]
    rows = row_multiple(mesh, batch.accumulation)
    shapes = make_shapes(lengths, size=batch.size, tokens=batch.tokens, row_multiple=rows)
    plan = _plan(examples, shapes, model, seed=config.seed, pack=pack)
    note_batches("training", plan)
    return plan


def evaluation_plan(
    examples: ExampleSource, config: T5Config, *, tokens: int, row_multiple: int
) -> Plan:
    """Each example once, in a few shapes of at most `tokens` encoder tokens a batch."""
    lengths = choose_lengths(
        examples.encoder_lengths, examples.decoder_lengths, _EVALUATION_BUCKETS, 16
    )
    tokens = max(tokens, lengths[-1][0] * row_multiple)
    shapes = make_shapes(lengths, size=0, tokens=tokens, row_multiple=row_multiple)
    # A small split needs no larger batches.
    most = -(-len(examples.encoder_lengths) // row_multiple) * row_multiple
    shapes = tuple(shape._replace(rows=min(shape.rows, most)) for shape in shapes)
    plan = _plan(examples, shapes, config, seed=None, pack=False)
    note_batches("evaluation", plan)
    return plan


def _plan(
    examples: ExampleSource, shapes: Any, config: T5Config, *, seed: int | None, pack: bool
) -> Plan:
    return Plan(
        examples,
        shapes,
        seed=seed,
        pack=pack,
        pad_id=config.pad_token_id,
        decoder_start_id=config.decoder_start_token_id,
    )

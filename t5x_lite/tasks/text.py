"""From a config to tokens: rows, vocabulary, examples, batch plans."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from t5x_lite.data.buckets import choose_lengths, make_shapes
from t5x_lite.data.features import Examples, make_examples
from t5x_lite.data.plan import Plan
from t5x_lite.data.sources import Row, load_rows
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.data.vocabulary import Vocabulary, load_vocabulary
from t5x_lite.models.config import T5Config

_EVALUATION_BUCKETS = 4


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows of text and their token examples, in the same order."""

    rows: list[Row]
    examples: Examples


def read_rows(section: ConfigDict) -> list[Row]:
    """The rows of `data.train` or `data.evaluation`."""
    return load_rows(
        section.source,
        section.split,
        section.columns.to_dict(),
        id_column=section.id_column,
        exclude=section.exclude,
        limit=section.limit,
    )


def get_vocabulary(section: ConfigDict, rows: list[Row], workdir: epath.Path) -> Vocabulary:
    """The tokenizer of `tokenizer.source`; "train" trains one on all fields of `rows` into workdir/tokenizer, once."""
    if section.source != "train":
        return load_vocabulary(section.source)
    folder = workdir / "tokenizer"
    if (folder / "tokenizer_config.json").exists():
        return load_vocabulary(folder)
    texts = [text for field in sorted(set(rows[0]) - {"id"}) for text in (row[field] for row in rows)]
    return train_tokenizer(
        texts,
        folder,
        vocab_size=section.vocab_size,
        algorithm=section.algorithm,
        user_defined_symbols=section.user_defined_symbols,
        extra_ids=section.extra_ids,
        keep_newlines=section.keep_newlines,
        byte_fallback=section.byte_fallback,
        max_sentences=section.max_sentences,
    )


def make_split(data: ConfigDict, rows: list[Row], vocabulary: Vocabulary, name: str) -> Split:
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
    return Split(rows, examples)


def train_plan(
    batch: ConfigDict, split: Split, config: T5Config, *, seed: int, row_multiple: int, data: ConfigDict
) -> Plan:
    """The training batches: buckets fitted to the lengths, or as the config lists them; one full shape when packed."""
    examples = split.examples
    if batch.pack:
        lengths: Any = [(data.encoder_length, data.decoder_length)]
    elif isinstance(batch.buckets, int):
        lengths = choose_lengths(
            examples.encoder_lengths, examples.decoder_lengths, batch.buckets, batch.multiple
        )
    else:
        lengths = [tuple(pair) for pair in batch.buckets]
    shapes = make_shapes(
        lengths, size=batch.size, tokens=batch.tokens, row_multiple=row_multiple * jax.process_count()
    )
    return _plan(examples, shapes, config, seed=seed, pack=batch.pack)


def evaluation_plan(split: Split, config: T5Config, *, tokens: int, row_multiple: int) -> Plan:
    """Each row once, in a few shapes of at most `tokens` encoder tokens a batch."""
    examples = split.examples
    lengths = choose_lengths(
        examples.encoder_lengths, examples.decoder_lengths, _EVALUATION_BUCKETS, 16
    )
    multiple = row_multiple * jax.process_count()
    tokens = max(tokens, lengths[-1][0] * multiple)
    shapes = make_shapes(lengths, size=0, tokens=tokens, row_multiple=multiple)
    return _plan(examples, shapes, config, seed=None, pack=False)


def _plan(examples: Examples, shapes: Any, config: T5Config, *, seed: int | None, pack: bool) -> Plan:
    return Plan(
        examples,
        shapes,
        seed=seed,
        pack=pack,
        pad_id=config.pad_token_id,
        decoder_start_id=config.decoder_start_token_id,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )

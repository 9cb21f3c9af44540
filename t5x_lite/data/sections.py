"""What a config says of rows, tokenizers, templates, denoising and batches."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Literal

from t5x_lite.sections import (
    Amount,
    AtLeast,
    Count,
    CountOrNone,
    Expected,
    Fraction,
    Name,
    Section,
)

Truncation = Annotated[
    Literal["error", "end", "middle", "oldest_turns"],
    "What becomes of a text that is too long: refused, or where it is cut (oldest_turns: the first lines of a"
    " conversation go, the end of a text without speakers).",
]
Target = Annotated[
    Literal["spans", "text"],
    "What the decoder learns to write: the spans that were taken out (T5), or the whole text.",
]
Template = Annotated[
    Name, "The encoder's text: a template by name, or one's own text with {fields}."
]
TargetTemplate = Annotated[
    Name, "The decoder's text: a template by name, or one's own with {fields}."
]
References = Annotated[
    str,
    "What outputs are compared with: a template by name, or one's own with {fields}; '': there are no references, and"
    " no scores by them.",
]
CutField = Annotated[
    Name, "The field that is cut where a text is too long; the template's words never are."
]
EncoderLength = Annotated[int, AtLeast(2), "The most tokens of an encoder text, eos included."]
DecoderLength = Annotated[int, AtLeast(2), "The most tokens of a decoder text, eos included."]
PackedLength = Annotated[
    int, AtLeast(4), "Tokens of a corrupted text in the encoder, eos included."
]
Batches = Annotated[CountOrNone, "Rows of a batch; 0: `tokens` says how many."]
Accumulation = Annotated[
    Count, "Parts that a batch is computed in, one after the other, for less memory."
]


class RowsSettings(Section):
    """Where rows of text come from."""

    source: Annotated[
        Name,
        "'bundled' or 'bundled/NAME'; a file, folder or pattern of tables (JSON lines, JSON, CSV, TSV, Parquet, Arrow,"
        " text); or a data set of the hub, 'id:configuration@revision'; some tasks know more words.",
    ]
    split: Annotated[
        str,
        "The split of a data set; of files the rows whose column 'split' says so, all without such a column; '': all.",
    ]
    columns: Annotated[
        Mapping[str, str],
        Expected("a mapping of template fields to column names, as {'dialogue': 'question'}"),
        "Which column each field of the templates is ('translation.en' of a nested one; 'summary*' or 'references.*' of"
        " several, a row each; 'input?' of one that may be empty); 'group': what was drawn together.",
    ]
    id_column: Annotated[
        str, "The column that names a row; '': rows are numbered, as where there is no column 'id'."
    ]
    exclude: Annotated[str, "A file of rows that are left out; '': none."]
    limit: Annotated[CountOrNone, "The first so many rows; 0: all."]


class AskedTokenizerSettings(Section):
    """A tokenizer that is there already."""

    source: Annotated[Name, "'model', or a Hugging Face id or directory."]


class TrainedTokenizerSettings(Section, name="tokenizer"):
    """What a tokenizer of one's own is trained by."""

    vocab_size: Annotated[
        Count, "All ids of a trained one: special tokens, symbols, pieces, sentinels."
    ]
    algorithm: Annotated[Literal["unigram", "bpe"], "How a trained one learns its pieces."]
    user_defined_symbols: Annotated[
        tuple[str, ...], "Strings that are always one token of a trained one, e.g. '#Person1#'."
    ]
    extra_ids: Annotated[
        CountOrNone, "Sentinels of a trained one; span corruption needs one a span, T5 has 100."
    ]
    keep_newlines: Annotated[
        bool, "Whether the newline is a token of a trained one; T5's own folds it to a space."
    ]
    byte_fallback: Annotated[
        bool, "Whether a trained one spells unknown characters in bytes, in place of <unk>."
    ]
    max_sentences: Annotated[
        CountOrNone, "A trained one learns from the first so many texts; 0: all."
    ]


class TokenizerSettings(TrainedTokenizerSettings):
    """The tokenizer, and what it is trained by where it is."""

    source: Annotated[
        Name, "'model' (the one that comes with it), 'train', or a Hugging Face id or directory."
    ]


class TextsSettings(Section):
    """How rows become texts for encoder and decoder, and how long those may be."""

    template: Template
    target: TargetTemplate
    encoder_length: EncoderLength
    decoder_length: DecoderLength
    truncation: Truncation
    cut_field: CutField


class CorruptionSettings(Section):
    """Span corruption."""

    noise_density: Annotated[Fraction, "Share of the tokens that are taken out."]
    mean_span_length: Annotated[float, AtLeast(1), "Tokens of a span, on average."]
    target: Target


class DenoisingSettings(CorruptionSettings):
    """Span corruption of the training texts before the task itself."""

    steps: Annotated[CountOrNone, "The first so many steps of the run; 0: none."]
    encoder_length: PackedLength


class MixedDenoisingSettings(CorruptionSettings):
    """Span corruption as one of the tasks of a mixture."""

    rate: Annotated[Amount, "Its share of the examples, as the rates of the tasks; 0: none."]
    task: Annotated[str, "The task whose training rows are corrupted."]
    field: Annotated[str, "The field of those rows that holds the text."]
    encoder_length: PackedLength


class DenoiserSettings(CorruptionSettings):
    """One of the denoisers that pretraining mixes."""

    rate: Annotated[Amount, "Its share of the examples; 0: only its loss is computed."]
    prefix: Annotated[
        str, "Put before the encoder's text, so that the model can tell it; '': nothing."
    ]


class BucketsSettings(Section):
    """Batches of a few lengths."""

    size: Batches
    tokens: Annotated[CountOrNone, "Encoder tokens of a batch; 0: `size` says how many rows."]
    buckets: Annotated[
        int | tuple[tuple[Count, Count], ...],
        Expected(
            "a number of buckets, or pairs ((encoder_length, decoder_length), ...)",
            lambda v: v >= 1 if isinstance(v, int) else len(v) > 0,
        ),
        "How many lengths batches have, fitted to the data, or the lengths themselves.",
    ]
    multiple: Annotated[Count, "Fitted lengths are multiples of it."]
    accumulation: Accumulation


class BatchSettings(BucketsSettings):
    """Batches of a few lengths, or of packed rows."""

    pack: Annotated[bool, "Several examples in a row, which do not see each other."]


class RowsOfBatchSettings(Section):
    """Batches of so many rows."""

    size: Annotated[Count, "Rows (or pairs) of a batch."]
    buckets: Annotated[Count, "How many lengths batches have, fitted to the data."]
    accumulation: Accumulation


class PairsOfBatchSettings(RowsOfBatchSettings):
    """Batches of so many pairs."""

    multiple: Annotated[Count, "Lengths are multiples of it."]


class HoldoutSettings(Section):
    """Rows set aside, where `evaluation.source` is 'holdout'."""

    holdout: Annotated[Fraction, "The share of the training rows that is set aside."]
    holdout_order: Annotated[
        Literal["shuffled", "last"],
        "Which rows: drawn by the seed, or the last ones (as the labs do).",
    ]


class PadsSettings(Section):
    """Pads that count, as lab 2 had them."""

    in_loss: Annotated[bool, "Whether the loss counts them, too."]
    in_attention: Annotated[bool, "Whether attention sees them."]


class SplitsSettings(Section):
    """Rows to learn from, and others to judge by."""

    train: RowsSettings
    evaluation: RowsSettings


class HeldOutSettings(HoldoutSettings, SplitsSettings):
    """The same, where some may be set aside."""


Lengths = Annotated[
    tuple[int, ...],
    Expected(
        "a tuple of growing whole numbers >= 2",
        lambda v: len(v) > 0 and v[0] > 1 and all(a < b for a, b in itertools.pairwise(v)),
    ),
]


class AskedTextsSettings(Section):
    """How what is asked becomes a text for the encoder."""

    template: Template
    cut_field: CutField
    encoder_lengths: Annotated[Lengths, "Lengths that texts are padded to; the last is the most."]
    truncation: Truncation


class MixedTaskSettings(SplitsSettings):
    """One task of a mixture."""

    templates: Annotated[
        tuple[str, ...], "Its encoder texts: each example takes one of these templates."
    ]
    target: TargetTemplate
    cut_field: CutField
    shots: Annotated[CountOrNone, "Solved examples before a question, at most; 0: none."]
    rate: Annotated[
        str | float,
        Expected(
            "a number >= 0, or 'size'", lambda v: v == "size" if isinstance(v, str) else v >= 0
        ),
        "Its share of the examples; 'size': by its number of rows; 0: only scored.",
    ]

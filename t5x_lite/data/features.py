"""Features: rows of text to T5 token examples, and examples to batches (padded, or packed with
segment ids).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from t5x_lite.console import log
from t5x_lite.data.spelling import folded_characters, report_unspelled
from t5x_lite.data.templates import find_template
from t5x_lite.data.truncation import Cuts, fit
from t5x_lite.data.vocabulary import Vocabulary

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Ragged:
    """Token sequences of different lengths in one array: sequence i is `flat[offsets[i] :
    offsets[i + 1]]`.

    flat: int32 [tokens]; offsets: int64 [sequences + 1].
    """

    flat: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_lists(cls, sequences: Sequence[Sequence[int]]) -> Ragged:
        """Copies sequences of ids into one array."""
        offsets = np.zeros(len(sequences) + 1, np.int64)
        np.cumsum([len(sequence) for sequence in sequences], out=offsets[1:])
        flat = np.fromiter(
            (token for sequence in sequences for token in sequence), np.int32, int(offsets[-1])
        )
        return cls(flat, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.flat[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """int64 [sequences]."""
        return np.diff(self.offsets)


class ExampleSource(Protocol):
    """What the batch plan draws from: lengths that are known ahead, and examples by (index,
    epoch).
    """

    @property
    def encoder_lengths(self) -> np.ndarray:
        """int64 [examples]: the length of each example's encoder input, in every epoch."""

    @property
    def decoder_lengths(self) -> np.ndarray:
        """int64 [examples]: the length of each example's decoder target, in every epoch."""

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(encoder_input_tokens, decoder_target_tokens), int32, eos included; a pure function of
        its arguments.
        """


@dataclass(frozen=True)
class Examples:
    """Tokenized rows, eos included: the same in every epoch. An `ExampleSource`."""

    encoder_input_tokens: Ragged
    decoder_target_tokens: Ragged
    ids: tuple[str, ...] = ()  # of the rows, in order; () where nobody asks

    @property
    def encoder_lengths(self) -> np.ndarray:
        return self.encoder_input_tokens.lengths

    @property
    def decoder_lengths(self) -> np.ndarray:
        return self.decoder_target_tokens.lengths

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return self.encoder_input_tokens[index], self.decoder_target_tokens[index]

    def __len__(self) -> int:
        return len(self.encoder_input_tokens)


def ids_of(rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The ids of rows; of one without, its number from 0."""
    return tuple(str(row.get("id", number)) for number, row in enumerate(rows))


def fingerprint(source: ExampleSource) -> str:
    """A hash of every example's tokens in the first epoch, in order: whether a resumed run sees the
    examples it began with.
    """
    digest = hashlib.sha256()
    for index in range(len(source.encoder_lengths)):
        for tokens in source.example(index, 0):
            digest.update(len(tokens).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(tokens, np.int32).tobytes())
    return digest.hexdigest()


def make_examples(
    rows: Sequence[Mapping[str, str]],
    vocabulary: Vocabulary,
    *,
    template: str,
    target: str,
    encoder_length: int,
    decoder_length: int,
    truncation: str,
    cut_field: str,
    name: str,
) -> Examples:
    """Renders and tokenizes rows, and reports what the truncation policy cut and what the vocabulary
    cannot spell, in one warning line each.

    Args:
      rows: as `load_rows` gives them.
      vocabulary: the tokenizer.
      template: name or text of the input's template (templates.py).
      target: name or text of the target's template.
      encoder_length: most tokens of an input, eos included.
      decoder_length: most tokens of a target, eos included.
      truncation: "error", or how `cut_field` is shortened until the input fits: "end" drops its
        end, "middle" its middle, "oldest_turns" whole lines from its start (of a text without turns
        its end: the lead stays). The template's own
        words are never cut. Targets that are too long lose their end (with "error": are an error)
        and keep their eos.
      cut_field: the template field that may be shortened, e.g. "dialogue".
      name: what the log calls these rows, e.g. "train".

    Raises:
      InputError: an unknown policy or field; a row over its budget under "error"; a template that
        leaves the cut field no room.
    """
    prompt, answer = find_template(template), find_template(target)
    cuts = Cuts(f"{name} inputs", encoder_length, truncation)
    inputs = fit(rows, prompt, vocabulary, cuts, cut_field)
    cuts.report()
    report_unspelled(f"{name} inputs", inputs, lambda n: prompt.render(rows[n]), vocabulary)
    target_cuts = Cuts(
        f"{name} targets", decoder_length, "error" if truncation == "error" else "end"
    )
    targets = []
    texts = [answer.render(row) for row in rows]
    encoded = vocabulary.encode(texts, add_eos=True)
    lost = set(folded_characters(vocabulary))
    folded = [n for n, text in enumerate(texts) if not lost.isdisjoint(text)]
    report_unspelled(f"{name} targets", encoded, texts.__getitem__, vocabulary, folded=folded)
    for row, ids in zip(rows, encoded, strict=True):
        if len(ids) > decoder_length:
            target_cuts.count(row, len(ids), decoder_length)
            ids = ids[: decoder_length - 1] + [vocabulary.eos_id]
        targets.append(ids)
    target_cuts.report()
    examples = Examples(Ragged.from_lists(inputs), Ragged.from_lists(targets), ids_of(rows))
    totals = examples.encoder_lengths.sum(), examples.decoder_lengths.sum()
    log.info("%s: %d examples, %d encoder and %d decoder tokens", name, len(examples), *totals)
    return examples


def to_batch(
    source: ExampleSource,
    packs: Iterable[Iterable[int]],
    *,
    epoch: int,
    encoder_length: int,
    decoder_length: int,
    packed: bool,
    pad_id: int,
    decoder_start_id: int,
) -> Batch:
    """Assembles a batch: one row a pack, a pack being the indices of the examples that share the
    row.

    Without packing a row holds one example, or none (an empty pack: only pads, weight 0). The
    decoder's input is the target shifted right by one, with `decoder_start_id` first; packed, it
    is shifted within each segment, so that no example is conditioned on its neighbour.

    Returns:
      encoder_input_tokens int32 [rows, encoder_length]; decoder_input_tokens,
      decoder_target_tokens int32 and decoder_loss_weights float32 [rows, decoder_length] (1 on
      target tokens, eos included, 0 on pads); if `packed` also encoder_segment_ids and
      decoder_segment_ids int32 (1, 2, … in each row; 0 is padding).

    Raises:
      ValueError: a row that does not fit its lengths (a plan never makes one).

    Source: seqio's feature converters (EncDecFeatureConverter), whose key names these are.
    """
    packs = list(packs)
    batch = _pads((len(packs), encoder_length), (len(packs), decoder_length), packed, pad_id)
    for row, pack in enumerate(packs):
        encoder_at = decoder_at = 0
        for segment, index in enumerate(pack, start=1):
            inputs, targets = source.example(index, epoch)
            encoder_to, decoder_to = encoder_at + len(inputs), decoder_at + len(targets)
            if encoder_to > encoder_length or decoder_to > decoder_length:
                raise ValueError(
                    f"row {row}: {encoder_to}/{decoder_to} tokens in"
                    f" {encoder_length}/{decoder_length}"
                )
            batch["encoder_input_tokens"][row, encoder_at:encoder_to] = inputs
            batch["decoder_target_tokens"][row, decoder_at:decoder_to] = targets
            batch["decoder_input_tokens"][row, decoder_at] = decoder_start_id
            batch["decoder_input_tokens"][row, decoder_at + 1 : decoder_to] = targets[:-1]
            batch["decoder_loss_weights"][row, decoder_at:decoder_to] = 1.0
            if packed:
                batch["encoder_segment_ids"][row, encoder_at:encoder_to] = segment
                batch["decoder_segment_ids"][row, decoder_at:decoder_to] = segment
            encoder_at, decoder_at = encoder_to, decoder_to
    return batch


def _pads(encoder: tuple[int, int], decoder: tuple[int, int], packed: bool, pad_id: int) -> Batch:
    """A batch of these shapes whose rows are all padding."""
    batch: Batch = {
        "encoder_input_tokens": np.full(encoder, pad_id, np.int32),
        "decoder_input_tokens": np.full(decoder, pad_id, np.int32),
        "decoder_target_tokens": np.full(decoder, pad_id, np.int32),
        "decoder_loss_weights": np.zeros(decoder, np.float32),
    }
    if packed:
        batch["encoder_segment_ids"] = np.zeros(encoder, np.int32)
        batch["decoder_segment_ids"] = np.zeros(decoder, np.int32)
    return batch

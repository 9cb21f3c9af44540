"""Span corruption, T5's pretraining objective: find the dropped-out spans of a text, each marked
by a sentinel.

    tokens   Thank you for inviting me to your party last week
    inputs   Thank you <extra_id_0> me to your party <extra_id_1> week </s>
    targets  <extra_id_0> for inviting <extra_id_1> last </s>

    or, with target "text", <the whole text> </s>

The second target is BERT's as Raffel et al. 2020 (table 3) and BART (Lewis et al. 2020) have it: most of
it is to be copied, so a small model learns within minutes to look into its input.

UL2's denoisers (Tay et al. 2022, arXiv:2205.05131) are settings of the same: a span longer than all of a text's noise
(mean_span_length 1000, say) is one span at its end, their S-denoiser; `prefix` is their mode token.

Source: Raffel et al. 2020, section 3.1.4; google-research/text-to-text-transfer-transformer,
t5/data/preprocessors.py (`random_spans_noise_mask`, `noise_span_to_unique_sentinel`). Like the
original, a mask starts with kept tokens and ends with noise, and targets have no closing sentinel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from t5x_lite import streams
from t5x_lite.console import log
from t5x_lite.data.features import Ragged
from t5x_lite.data.sections import CorruptionSettings
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError

TARGETS = ("spans", "text")


def noise_counts(length: int, noise_density: float, mean_span_length: float) -> tuple[int, int]:
    """(noise tokens, noise spans) for a text of `length` >= 2 tokens: fixed by the length, so that
    shapes are known.
    """
    noise = min(max(round(length * noise_density), 1), length - 1)
    spans = max(round(noise / mean_span_length), 1)
    return noise, min(spans, noise, length - noise)


def random_spans_noise_mask(
    length: int, rng: np.random.Generator, noise_density: float, mean_span_length: float
) -> np.ndarray:
    """bool [length], True on noise: alternating spans, kept first, all lengths >= 1, every such
    split equally likely.
    """
    noise, spans = noise_counts(length, noise_density, mean_span_length)
    lengths = np.stack(
        [_random_split(length - noise, spans, rng), _random_split(noise, spans, rng)], axis=1
    )
    return np.repeat(np.tile([False, True], spans), lengths.reshape(-1))


def corrupt(
    tokens: np.ndarray, mask: np.ndarray, sentinel_ids: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, targets), int32, without eos: noise spans (for targets: kept spans) become
    sentinels in order.

    Args:
      tokens: int [length]. mask: bool [length], True on noise. sentinel_ids: ids of
        `<extra_id_0>`, `<extra_id_1>`, …
    """
    return _replace_spans(tokens, mask, sentinel_ids), _replace_spans(tokens, ~mask, sentinel_ids)


class SpanCorruption:
    """An `ExampleSource` (features.py): texts corrupted anew in each epoch, a pure function of
    (seed, epoch, index).

    Args:
      texts: token sequences of at least 2 tokens, without eos.
      seed: of the masks.
      noise_density: fraction of the tokens that are noise (T5: 0.15).
      mean_span_length: mean length of a noise span, in tokens (T5: 3.0).
      target: "spans", T5's, or "text", the whole text.
      sentinel_ids, eos_id: of the vocabulary.
      prefix: ids before every input (of the denoiser's name, in UL2).

    Raises:
      InputError: fewer sentinels than the longest text has noise spans, or settings out of range.
    """

    def __init__(
        self,
        texts: Ragged,
        *,
        seed: int,
        noise_density: float,
        mean_span_length: float,
        target: str,
        sentinel_ids: Sequence[int],
        eos_id: int,
        prefix: Sequence[int] = (),
    ):
        _check(noise_density, mean_span_length, target)
        self.texts = texts
        self._seed = seed
        self._settings = noise_density, mean_span_length
        self._whole_text = target == "text"
        self._sentinel_ids = np.asarray(sentinel_ids, np.int32)
        self._eos = np.array([eos_id], np.int32)
        self._prefix = np.asarray(prefix, np.int32)
        lengths = texts.lengths
        counts = np.array(
            [noise_counts(int(length), *self._settings) for length in lengths]
        ).reshape(-1, 2)
        noise, spans = counts[:, 0], counts[:, 1]
        if spans.size and spans.max() > len(sentinel_ids):
            raise InputError(
                f"tokenizer.extra_ids: the longest text needs {spans.max()} sentinels, the"
                " vocabulary has"
                f" {len(sentinel_ids)}; shorten data.encoder_length or train a tokenizer with more"
            )
        self.encoder_lengths = len(self._prefix) + lengths - noise + spans + 1
        self.decoder_lengths = (lengths if self._whole_text else noise + spans) + 1

    def __len__(self) -> int:
        return len(self.texts)

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(encoder_input_tokens, decoder_target_tokens), int32 with eos, for that text in that
        epoch.
        """
        tokens = self.texts[index]
        rng = streams.generator(self._seed, "spans", epoch, index)
        mask = random_spans_noise_mask(len(tokens), rng, *self._settings)
        inputs, spans = corrupt(tokens, mask, self._sentinel_ids)
        targets = np.asarray(tokens, np.int32) if self._whole_text else spans
        inputs = np.concatenate([self._prefix, inputs, self._eos])
        return inputs, np.concatenate([targets, self._eos])


def make_span_corruption(
    texts: Sequence[str],
    vocabulary: Vocabulary,
    noise: CorruptionSettings,
    *,
    encoder_length: int,
    seed: int,
    name: str,
    prefix: str = "",
) -> SpanCorruption:
    """Tokenizes texts and cuts long ones into pieces of about equal length whose inputs fit
    `encoder_length`.

    Nothing is dropped except texts of a single token. Targets need `decoder_lengths.max()` tokens
    of the result.

    Args:
      encoder_length: most tokens of an input, sentinels and eos included.
      seed: of the masks.
      name: what messages call the texts.
      prefix: text before every input; "" = none.

    Raises:
      InputError: as `SpanCorruption`; an encoder_length too short for any text; no text left.
    """
    _check(noise.noise_density, noise.mean_span_length, noise.target)
    prefix_ids = vocabulary.encode([prefix], add_eos=False)[0] if prefix else []
    longest = _longest_piece(noise, len(prefix_ids), encoder_length)
    pieces: list[list[int]] = []
    for ids in vocabulary.encode(list(texts), add_eos=False):
        count = max(1, -(-len(ids) // longest))
        cuts = [len(ids) * i // count for i in range(count + 1)]
        pieces += [
            ids[low:high] for low, high in zip(cuts, cuts[1:], strict=False) if high - low >= 2
        ]
    if not pieces:
        raise InputError(f"{name}: no text of at least 2 tokens to corrupt")
    log.info(
        "%s: %d texts in %d pieces of at most %d tokens", name, len(texts), len(pieces), longest
    )
    return SpanCorruption(
        Ragged.from_lists(pieces),
        seed=seed,
        noise_density=noise.noise_density,
        mean_span_length=noise.mean_span_length,
        target=noise.target,
        sentinel_ids=vocabulary.sentinel_ids,
        eos_id=vocabulary.eos_id,
        prefix=prefix_ids,
    )


def _longest_piece(noise: CorruptionSettings, prefix: int, encoder_length: int) -> int:
    """The tokens of the longest text whose input, behind `prefix` tokens, fits."""

    def input_length(tokens: int) -> int:
        dropped, spans = noise_counts(tokens, noise.noise_density, noise.mean_span_length)
        return prefix + tokens - dropped + spans + 1

    if input_length(2) > encoder_length:
        raise InputError(
            f"data.encoder_length: {encoder_length} is too short for span corruption; set at"
            f" least {input_length(2)}"
        )
    # Never longer than the text less its noise, but rounding makes it wiggle by a token: walk up
    # while it fits.
    longest = 2
    while input_length(longest + 1) <= encoder_length:
        longest += 1
    return longest


def _check(noise_density: float, mean_span_length: float, target: str) -> None:
    if target not in TARGETS:
        raise InputError(f"data.denoising.target must be one of {TARGETS}, got {target!r}")
    if not 0 < noise_density < 1 or mean_span_length < 1:
        raise InputError(
            "data: noise_density must lie between 0 and 1 and mean_span_length be at least 1"
            f" (noise_density={noise_density}, mean_span_length={mean_span_length})"
        )


def _random_split(items: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """int [parts]: positive lengths that sum to `items`, uniform over all such splits."""
    cuts = np.sort(rng.choice(items - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [items]]))


def _replace_spans(
    tokens: np.ndarray, mask: np.ndarray, sentinel_ids: Sequence[int] | np.ndarray
) -> np.ndarray:
    starts = mask & ~np.concatenate([[False], mask[:-1]])
    sentinels = np.asarray(sentinel_ids)[np.maximum(np.cumsum(starts) - 1, 0)]
    return np.where(starts, sentinels, tokens)[~mask | starts].astype(np.int32)

"""The cases of decoding_parity.py: settings in families of one compiled program, batch sizes, sides of padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from t5x_lite.data.vocabulary import Vocabulary

Settings = dict[str, Any]

LARGE_BATCH = 8
ALONE = 3  # inputs of a case with batch 1, one call each


@dataclasses.dataclass(frozen=True)
class Case:
    """Settings on some inputs. The rows are `first`, `first` + 1, ... of the model's pool of inputs."""

    name: str
    settings: Settings
    batch: int
    left: bool
    first: int

    @property
    def rows(self) -> int:
        """Inputs."""
        return self.batch if self.batch > 1 else ALONE


def make_cases(families: dict[str, list[Settings]], alone: Sequence[str]) -> list[Case]:
    """Each setting on a batch, padded on the right and on the left in turn; those of `alone` on single inputs as well.

    No two cases of one model have the same settings, and each starts at another input.
    """
    cases: list[Case] = []
    for family, several in families.items():
        for batch in (LARGE_BATCH, 1) if family in alone else (LARGE_BATCH,):
            for number, settings in enumerate(several):
                left = bool(number % 2) != (batch == 1)
                told = ", ".join(f"{name}={value}" for name, value in settings.items())
                side = "left" if left else "right"
                name = f"{family}: {told}; batch {batch}, padded on the {side}"
                cases.append(Case(name, settings, batch, left, len(cases)))
    return cases


def make_families(
    plain: np.ndarray, lengths: np.ndarray, vocabulary: Vocabulary | None, longest: int
) -> dict[str, list[Settings]]:
    """All families: the settings of one differ in values alone, so that on our side each is compiled once a batch size.

    Args:
      plain: int32 [rows, length], the model's greedy outputs, from which forbidden, forced and ending tokens are taken,
        so that they matter. lengths: int [rows], tokens up to and with eos.
      vocabulary: for stop strings; None leaves these out.
      longest: the most new tokens.
    """
    rows = [row[:length].tolist() for row, length in zip(plain, lengths, strict=True)]
    rows = sorted(rows, key=len, reverse=True)
    one, two, three, four = rows[:4]

    def at(row: list[int], part: float, count: int = 1) -> list[int]:
        start = int(part * (len(row) - count))  # not eos, which is the last
        return row[start : start + count]

    ids = {"max_new_tokens": longest}
    families: dict[str, list[Settings]] = {
        "greedy": [
            {**ids},
            {**ids, "num_beams": 1},
            {"max_new_tokens": longest // 3},
            {**ids, "min_new_tokens": longest // 3},
            {"max_length": longest, "min_length": longest // 2},
        ],
        "repetition_penalty": [
            {**ids, "repetition_penalty": penalty} for penalty in (0.8, 1.3, 2.5)
        ],
        "encoder_repetition_penalty": [
            {**ids, "encoder_repetition_penalty": penalty} for penalty in (0.6, 1.7)
        ],
        "no_repeat_ngram_size": [
            {**ids, "no_repeat_ngram_size": 2},
            {**ids, "no_repeat_ngram_size": 2, "min_new_tokens": longest // 2},
        ],
        "no_repeat_ngram_size 1": [{**ids, "no_repeat_ngram_size": 1}],
        "encoder_no_repeat_ngram_size": [
            {**ids, "encoder_no_repeat_ngram_size": 2},
            {**ids, "encoder_no_repeat_ngram_size": 2, "min_new_tokens": 5},
        ],
        "bad_words_ids": [
            {**ids, "bad_words_ids": [at(one, 0), at(two, 0.4, 2), at(three, 0.3, 3)]},
            {**ids, "bad_words_ids": [at(four, 0.5), at(one, 0.2, 2), at(two, 0.6, 3)]},
        ],
        "suppress_tokens": [
            {**ids, "suppress_tokens": at(one, 0.5), "begin_suppress_tokens": at(two, 0)},
            {**ids, "suppress_tokens": at(three, 0.3), "begin_suppress_tokens": at(one, 0)},
        ],
        "forced tokens": [
            {"max_new_tokens": n, "forced_bos_token_id": at(row, 0.5)[0], "forced_eos_token_id": 1}
            for n, row in ((longest // 3, two), (longest // 2, four))
        ],
        "several eos": [
            {**ids, "eos_token_id": [1, at(one, 0.5)[0], at(two, 0.7)[0]]},
            {
                **ids,
                "eos_token_id": [1, at(one, 0.5)[0], at(two, 0.7)[0]],
                "min_new_tokens": longest // 4,
            },
        ],
        "much at once": [
            {
                **ids,
                "min_new_tokens": longest // 4,
                "repetition_penalty": penalty,
                "no_repeat_ngram_size": 3,
                "bad_words_ids": [at(one, 0.5, 2)],
                "suppress_tokens": at(four, 0.5),
            }
            for penalty in (0.9, 1.2)
        ],
        "beams 4": [
            {**ids, "num_beams": 4, "length_penalty": penalty, "early_stopping": early}
            for penalty in (1.0, -1.0, 0.0, 0.3, 2.5)
            for early in (False, True, "never")
        ]
        + [{**ids, "num_beams": 4, "min_length": longest // 2, "length_penalty": -0.5}],
        "beams 2": [
            {
                **ids,
                "num_beams": 2,
                "num_return_sequences": 2,
                "length_penalty": penalty,
                "early_stopping": early,
            }
            for penalty, early in ((1.0, False), (-2.0, True), (0.0, "never"), (0.6, "never"))
        ],
        "beams 8": [
            {
                **ids,
                "num_beams": 8,
                "num_return_sequences": 8,
                "length_penalty": penalty,
                "early_stopping": early,
            }
            for penalty, early in ((1.0, True), (0.0, False), (-0.7, "never"), (1.8, "never"))
        ],
        "beams 4, processed": [
            {
                **ids,
                "num_beams": 4,
                "num_return_sequences": 3,
                "repetition_penalty": repetition,
                "no_repeat_ngram_size": 2,
                "min_new_tokens": longest // 4,
                "length_penalty": penalty,
            }
            for repetition, penalty in ((1.5, 1.0), (0.9, 0.4), (1.1, 2.0))
        ],
        "beams 4, of the input": [
            {
                **ids,
                "num_beams": 4,
                "encoder_repetition_penalty": penalty,
                "encoder_no_repeat_ngram_size": 2,
            }
            for penalty in (0.7, 1.3)
        ],
        "beams 3, bad words and forced eos": [
            {
                **ids,
                "num_beams": 3,
                "bad_words_ids": [at(one, 0.3), at(two, 0.5, 2)],
                "forced_eos_token_id": 1,
                "early_stopping": early,
            }
            for early in (True, "never")
        ],
        "beams 2, several eos": [
            {
                **ids,
                "num_beams": 2,
                "eos_token_id": [1, at(one, 0.4)[0], at(three, 0.6)[0]],
                "early_stopping": early,
            }
            for early in (False, True, "never")
        ],
    }
    if vocabulary is not None:
        stops = _stop_strings(rows, vocabulary)
        families["stop strings"] = [{**ids, "stop_strings": texts} for texts in stops]
        families["beams 4, stop strings"] = [
            {**ids, "num_beams": 4, "num_return_sequences": 2, "stop_strings": texts}
            for texts in stops
        ]
    return families


def _stop_strings(rows: list[list[int]], vocabulary: Vocabulary) -> list[list[str]]:
    """Two sets of pieces of the texts, from the middle, some across words."""
    texts = [text for text in vocabulary.decode(rows) if len(text) > 12][:4]
    parts = [text[len(text) // 2 :][: 2 + number] for number, text in enumerate(texts)]
    return [parts[:2], parts[2:]]

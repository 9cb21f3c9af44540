"""Generative evaluation: decode a whole split batch by batch, keep every output, and score them together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from etils import epath

from t5x_lite.console import progress
from t5x_lite.errors import InputError

# (encoder_input_tokens [rows, encoder_length], indices [rows]) -> generated tokens [rows, length], on the host.
Decode = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Detokenizer(Protocol):
    """What of a vocabulary is needed here."""

    def decode(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """One text a sequence of token ids, without special tokens, ending at the first eos."""
        ...


def generate_texts(
    decode: Decode,
    vocabulary: Detokenizer,
    batches: Iterable[tuple[np.ndarray, Mapping[str, Any]]],
    rows: int,
    *,
    on_text: Callable[[int, str], None] | None = None,
) -> list[str]:
    """One output text for each of the rows 0..rows-1, in that order, whatever the order of the batches.

    `batches` yields (indices int [batch], batch): the row numbers, -1 for padding rows, and a batch with
    `encoder_input_tokens`. `decode` gets both; the indices let a sampler fold the row into its rng, so that a row's
    sample does not depend on its batch. On several hosts `decode` returns all rows of the global batch on each.
    `on_text(row, text)` is called as outputs appear.

    Raises:
        InputError: a row that is outside the range, comes twice or never (the plan and the data differ).
    """
    texts: list[str | None] = [None] * rows
    with progress(rows, "generating", "row") as bar:
        for indices, batch in batches:
            indices = np.asarray(indices)
            tokens = np.asarray(decode(batch["encoder_input_tokens"], indices))
            outputs = vocabulary.decode(tokens.tolist())
            for row, output in zip(indices.tolist(), outputs, strict=True):
                if row < 0:
                    continue
                if row >= rows or texts[row] is not None:
                    raise InputError(
                        f"row {row} of the evaluation plan is decoded twice or not among the {rows} rows of the data"
                    )
                texts[row] = output.strip()
                if on_text is not None:
                    on_text(row, output.strip())
            bar.update(int((indices >= 0).sum()))
    missing = [row for row, text in enumerate(texts) if text is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {rows} rows are in no batch of the evaluation plan, the first is row {missing[0]}"
        )
    return [text for text in texts if text is not None]


class SamplesFile:
    """`samples.jsonl`: a line {"id", "input", "reference", "output"} as soon as an output exists; scores at the end.

    A run that is killed while decoding leaves the outputs so far, in decoding order; `finish` replaces the file by the
    rows in data order. Only process 0 writes. On `gs://`, where objects cannot grow, the file appears at `finish`.
    """

    def __init__(
        self,
        path: epath.PathLike,
        ids: Sequence[str],
        inputs: Sequence[str],
        references: Sequence[str],
    ):
        self._path = epath.Path(path)
        self._rows = [
            {"id": id_, "input": text, "reference": reference}
            for id_, text, reference in zip(ids, inputs, references, strict=True)
        ]
        self._speaks = jax.process_index() == 0
        remote = "://" in str(path)
        self._stream = None
        if self._speaks:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not remote:
                self._stream = open(self._path, "w", encoding="utf-8")  # noqa: SIM115 (until finish)

    def write(self, row: int, output: str) -> None:
        """Adds the output of one row: pass this method to `generate_texts` as `on_text`."""
        self._rows[row]["output"] = output
        if self._stream is not None:
            self._stream.write(_line(self._rows[row]))
            self._stream.flush()

    def finish(self, scores: Mapping[str, np.ndarray]) -> None:
        """Rewrites the file in data order with every row's scores ({rouge type: [rows]})."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if not self._speaks:
            return
        lines = [
            _line(
                row
                | {"scores": {kind: round(float(column[i]), 6) for kind, column in scores.items()}}
            )
            for i, row in enumerate(self._rows)
        ]
        # Written beside and renamed, so that a kill here leaves the unscored file rather than half of this one.
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_bytes("".join(lines).encode())
        fresh.replace(self._path)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"

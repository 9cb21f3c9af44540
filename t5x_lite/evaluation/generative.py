"""Generative evaluation: decode a whole split batch by batch, keep every output, and score them together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from t5x_lite.console import progress
from t5x_lite.data.plan import Plan
from t5x_lite.errors import InputError
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.parallel.sharing import share_out

_NOT_FINITE = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
# (encoder_input_tokens [rows, encoder_length], as the batches have them, indices [rows]) -> generated tokens
# [rows, length], on the host.
Decode = Callable[[Any, np.ndarray], np.ndarray]


class Detokenizer(Protocol):
    """What of a vocabulary is needed here."""

    def decode(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """One text a sequence of token ids, without special tokens, ending at the first eos."""
        ...


def own_batches(plan: Plan, mesh: Mesh) -> Iterator[tuple[np.ndarray, dict[str, jax.Array]]]:
    """The batches of `generate_texts`: those of the plan on the devices, each process building its own rows alone.

    plan: without packing; the indices are those of its examples.
    """
    own = OwnRows(mesh)
    for step in range(plan.steps_per_epoch):
        tokens = plan.batch(step, own.of)["encoder_input_tokens"]
        yield plan.indices(step), own.put({"encoder_input_tokens": tokens})


def generate_texts(
    decode: Decode,
    vocabulary: Detokenizer,
    batches: Iterable[tuple[np.ndarray, Mapping[str, Any]]],
    rows: int,
    *,
    on_text: Callable[[int, str], None] | None = None,
    done: Mapping[int, str] | None = None,
) -> list[str]:
    """One output text for each of the rows 0..rows-1, in that order, whatever the order of the batches.

    `batches` yields (indices int [batch], batch): the row numbers, -1 for padding rows, and a batch with
    `encoder_input_tokens`. `decode` gets both; the indices let a sampler fold the row into its rng, so that a row's
    sample does not depend on its batch. With several processes, the indices and what `decode` returns have all rows on
    each; they share out making texts of them.
    `on_text(row, text)` is called as outputs appear. `done` are rows that an earlier run decoded: batches of such rows
    alone are not decoded again, and the others keep their shape, so that a resumed run decodes what one that was never
    stopped does.

    Raises:
        InputError: a row that is outside the range, comes twice or never (the plan and the data differ).
    """
    known = done or {}
    texts: list[str | None] = [None] * rows
    with progress(rows, "generating", "row", initial=len(known)) as bar:
        for indices, batch in batches:
            indices = np.asarray(indices)
            wanted = [row for row in indices.tolist() if row >= 0 and row not in known]
            if known and not wanted:
                continue
            tokens = np.asarray(decode(batch["encoder_input_tokens"], indices))
            outputs = _decoded(vocabulary, tokens)
            for row, output in zip(indices.tolist(), outputs, strict=True):
                if row < 0 or row in known:
                    continue
                if row >= rows or texts[row] is not None:
                    raise InputError(
                        f"row {row} of the evaluation plan is decoded twice or not among the {rows} rows of the data"
                    )
                texts[row] = output.strip()
                if on_text is not None:
                    on_text(row, output.strip())
            bar.update(len(wanted))
    for row, text in known.items():
        texts[row] = text
    missing = [row for row, text in enumerate(texts) if text is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {rows} rows are in no batch of the evaluation plan, the first is row {missing[0]}"
        )
    return [text for text in texts if text is not None]


def _decoded(vocabulary: Detokenizer, tokens: np.ndarray) -> list[str]:
    return share_out(len(tokens), lambda own: vocabulary.decode(tokens[own].tolist()))


class SamplesFile:
    """`samples.jsonl`: a line {"id", "input", "reference", "output"} as soon as an output exists; scores at the end.
    (Without references neither these nor scores.)

    A run that is killed while decoding leaves the outputs so far, in decoding order; `finish` replaces the file by the
    rows in data order. Only process 0 writes. On `gs://`, where objects cannot grow, the file appears at `finish`.
    """

    def __init__(
        self,
        path: epath.PathLike,
        ids: Sequence[str],
        inputs: Sequence[str],
        references: Sequence[str] | None,
    ):
        self._path = epath.Path(path)
        self._rows = [{"id": id_, "input": text} for id_, text in zip(ids, inputs, strict=True)]
        for row, reference in zip(self._rows, references or (), strict=references is not None):
            row["reference"] = reference
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
        lines = []
        for i, row in enumerate(self._rows):
            own = {kind: round(float(column[i]), 6) for kind, column in scores.items()}
            lines.append(_line(row | ({"scores": own} if own else {})))
        # Written beside and renamed, so that a kill here leaves the unscored file rather than half of this one.
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_bytes("".join(lines).encode())
        fresh.replace(self._path)


class Predictions:
    """A file of predictions that a killed run goes on with: a line {"row", "id", "prompt", "output"} for each row, as
    soon as its output exists, and each row once. `write` may add numbers, which come behind.

    "prompt" is a digest of what the row was asked with. Lines of another digest, broken lines (a kill in the middle of
    one) and second lines of a row are dropped when the file is opened; `done` {row: output} is the rest, and `numbers`
    what was added to them. `finish` puts the rows in order. `ids` and `digests` are by row number. Only process 0
    writes. On `gs://`, where objects cannot grow, the file appears at `finish`, and a killed run starts again.
    """

    def __init__(self, path: epath.PathLike, ids: Mapping[int, str], digests: Mapping[int, str]):
        self._path = epath.Path(path)
        self._ids, self._digests = ids, digests
        self._lines: dict[int, str] = {}
        self.done: dict[int, str] = {}
        self.numbers: dict[int, dict[str, float | None]] = {}
        try:
            lines = self._path.read_bytes().split(b"\n") if self._path.exists() else []
        except OSError as error:
            raise InputError(
                f"{self._path}: {error.strerror or error}; outputs are kept there: remove it, or take another --workdir"
            ) from error
        for line in lines:
            self._take(line)
        self._stream = None
        if jax.process_index() == 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if "://" not in str(path):
                self._rewrite()
                self._stream = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (until finish)

    def write(
        self, row: int, output: str, numbers: Mapping[str, float | None] | None = None
    ) -> None:
        """Adds the output of one row, and what its line is to say beside it."""
        record = {
            "row": row,
            "id": self._ids[row],
            "prompt": self._digests[row],
            "output": output,
            **(numbers or {}),
        }
        self._keep(record)
        if self._stream is not None:
            self._stream.write(self._lines[row])
            self._stream.flush()

    def finish(self) -> None:
        """Rewrites the file in the order of the rows."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if jax.process_index() == 0:
            self._rewrite()

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line.decode())
            row, digest, output = record["row"], record["prompt"], record["output"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        known = isinstance(row, int) and isinstance(output, str)
        if known and row not in self.done and digest == self._digests.get(row):
            self._keep(record)

    def _keep(self, record: dict[str, Any]) -> None:
        row, known = record["row"], ("row", "id", "prompt", "output")
        self.done[row], self._lines[row] = record["output"], _line(record)
        # A number that is not finite stands in the file as a string, which `float` reads.
        self.numbers[row] = {
            name: float(value) if isinstance(value, str) else value
            for name, value in record.items()
            if name not in known
        }

    def _rewrite(self) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.write_bytes("".join(self._lines[row] for row in sorted(self._lines)).encode())
        fresh.replace(self._path)


def _line(record: Mapping[str, Any]) -> str:
    """JSON has no infinity and no NaN: those are written as strings, as in metrics.jsonl."""
    plain = {
        name: _NOT_FINITE.get(str(value), value) if isinstance(value, float) else value
        for name, value in record.items()
    }
    return json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n"

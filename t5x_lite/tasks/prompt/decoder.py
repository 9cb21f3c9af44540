"""Decodes a run of the task `prompt`: the prompts of many rows, in length buckets, into a file that can go on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from t5x_lite.console import log
from t5x_lite.data.buckets import Shape, choose_lengths, make_shapes
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.plan import Plan
from t5x_lite.data.prompts import Prompt, extract_answer
from t5x_lite.decoding import mbr
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.scored import scored_texts
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.evaluation.generative import Decode, Predictions, generate_texts, own_batches
from t5x_lite.evaluation.rouge import agreement
from t5x_lite.parallel.processes import from_process_zero
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.parallel.sharing import share_out
from t5x_lite.params.gather import whole
from t5x_lite.tasks.prompt.runs import Run
from t5x_lite.wiring.scoring import Ready

# Shapes of batches for all prompt kinds together: each costs a compilation for each structure of settings.
_BUCKETS = 6
_MULTIPLE = 16


def shapes_of(lengths: np.ndarray, rows: int, batch_tokens: int, mesh: Mesh) -> tuple[Shape, ...]:
    """The few shapes of the batches of all runs.

    Args:
      lengths: int [prompts], of the prompts of all runs, in tokens.
      rows: the most prompts that a run has: no batch has more rows than that takes.
      batch_tokens: most encoder tokens of a batch (at least a row for each device).
    """
    multiple = row_multiple(mesh)
    buckets = choose_lengths(lengths, np.ones_like(lengths), _BUCKETS, _MULTIPLE)
    tokens = max(batch_tokens, buckets[-1][0] * multiple)
    shapes = make_shapes(buckets, size=0, tokens=tokens, row_multiple=multiple)
    most = -(-rows // multiple) * multiple
    return tuple(shape._replace(rows=min(shape.rows, most)) for shape in shapes)


class Decoder:
    """Decodes runs with one model, all in the same few shapes of batches: what runs have in common is compiled once.

    Args:
      shapes: of the batches (`shapes_of`).
      rng: of the draws.
      with_scores: also put each output's log-probability, length and beam score into its line.
    """

    def __init__(self, ready: Ready, shapes: Sequence[Shape], *, rng: jax.Array, with_scores: bool):
        self._ready, self._shapes, self._rng = ready, shapes, rng
        self._with_scores = with_scores
        self._generator = Generator(ready.model.config, ready.model.execution, ready.vocabulary)

    @property
    def compilations(self) -> int:
        """Programs compiled so far."""
        return self._generator.compilations

    def decode(
        self,
        run: Run,
        prompt: Prompt,
        row_ids: Mapping[int, str],
        ids: Mapping[int, list[int]],
        folder: epath.Path,
    ) -> dict[int, str]:
        """The output of every row by its number; those that folder/`run.file` holds already are not decoded again.

        Args:
          row_ids: by row number, what the data calls the row.
          ids: by row number, the tokens of its prompt. Equal prompts (several references of one dialogue) are decoded
            once; a sample depends on the number of the first row that has the prompt, not on which rows there are.
          folder: where the file of predictions is.
        """
        digests = {
            row: _digest(tokens, run.settings, self._with_scores) for row, tokens in ids.items()
        }
        predictions = Predictions(folder / run.file, row_ids, digests)
        of_digest: dict[str, list[int]] = {}
        for row, digest in digests.items():
            of_digest.setdefault(digest, []).append(row)
        groups = list(of_digest.values())
        done = self._done(predictions, groups)
        log.info(
            "%s: %d rows, %d different prompts, %d of them decoded before",
            *(run.name, len(ids), len(groups), len(done)),
        )

        numbers: dict[int, dict[str, float | None]] = {}

        def write(group: int, text: str) -> None:
            before = next((row for row in groups[group] if row in predictions.done), None)
            added = numbers.get(group, {}) if before is None else predictions.numbers[before]
            for row in groups[group]:
                if row not in predictions.done:
                    predictions.write(row, text, added)

        for group, text in done.items():
            write(group, text)
        inputs = [ids[group[0]] for group in groups]
        plan = self._plan(inputs)
        texts = generate_texts(
            self._make_decode(run, prompt, np.array([group[0] for group in groups]), numbers),
            self._ready.vocabulary,
            own_batches(plan, self._ready.mesh),
            len(groups),
            on_text=write,
            done=done,
        )
        predictions.finish()
        return {row: text for group, text in zip(groups, texts, strict=True) for row in group}

    def _done(self, predictions: Predictions, groups: list[list[int]]) -> dict[int, str]:
        """{group: text} of the groups with at least one row decoded before; on every process those of process 0."""
        # Another host may not see the file; it must skip the same batches all the same.
        known = from_process_zero(
            lambda: [
                next((row for row in group if row in predictions.done), -1) for group in groups
            ]
        )
        return {group: predictions.done.get(row, "") for group, row in enumerate(known) if row >= 0}

    def _plan(self, ids: list[list[int]]) -> Plan:
        nothing = Ragged.from_lists([[self._ready.vocabulary.eos_id]] * len(ids))
        return Plan(
            Examples(Ragged.from_lists(ids), nothing),
            self._shapes,
            seed=None,
            pack=False,
            pad_id=self._ready.model.config.pad_token_id,
            decoder_start_id=self._ready.model.config.decoder_start_token_id,
        )

    def _make_decode(
        self,
        run: Run,
        prompt: Prompt,
        row_ids: np.ndarray,
        numbers: dict[int, dict[str, float | None]],
    ) -> Decode:
        """Makes `decode`; with scores, it puts those of each index into `numbers`."""
        candidates = run.settings.num_return_sequences

        def decode(tokens: jax.Array, indices: np.ndarray) -> np.ndarray:
            output = self._generator.generate(
                self._ready.params,
                tokens,
                run.settings,
                self._rng,
                row_ids=row_ids[np.maximum(indices, 0)],
                with_logprobs=self._with_scores,
            )
            of_row = whole(output.tokens).reshape(len(indices), candidates, -1)
            chosen = np.zeros(len(indices), int)
            if candidates > 1:
                agreed = share_out(
                    len(of_row), lambda own: [self._agreed(prompt, row) for row in of_row[own]]
                )
                chosen = np.array(agreed)
            if self._with_scores:
                scored = scored_texts(output, self._ready.vocabulary)
                for place, index in enumerate(indices.tolist()):
                    one = scored[place * candidates + chosen[place]]
                    numbers[index] = {
                        "logprob": one.logprob, "tokens": len(one.tokens), "score": one.score,
                    }  # fmt: skip
            return of_row[np.arange(len(indices)), chosen]

        return decode

    def _agreed(self, prompt: Prompt, candidates: np.ndarray) -> int:
        """Self-consistency: the chain whose answer agrees best with the answers of all chains."""
        texts = self._ready.vocabulary.decode(candidates)
        answers = [extract_answer(prompt, text.strip()) for text in texts]
        return mbr.choose(answers, agreement, symmetric=True)


def _digest(tokens: list[int], settings: GenerationSettings, with_scores: bool) -> str:
    """What tells whether an output on file is that of this prompt with these settings."""
    fields = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in dataclasses.asdict(settings).items()
    }
    # A line without scores is none that a run with scores can take.
    content = json.dumps([tokens, fields, with_scores], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]

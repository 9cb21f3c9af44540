"""Responses of PPO as texts: as rewards read them, and as files of the workdir keep them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from t5x_lite.data.sources import Row
from t5x_lite.data.templates import find_template
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError
from t5x_lite.parallel.sharing import share_out
from t5x_lite.reports.metrics import json_value
from t5x_lite.tasks.ppo.sections import Config


class Texts:
    """Responses as rewards read them: the rows they answer, with {prompt} and {raw_response}, and their texts."""

    def __init__(self, config: Config, vocabulary: Vocabulary, rows: Sequence[Row]):
        self._vocabulary, self._rows = vocabulary, rows
        self._template = find_template(config.data.template)

    def of(self, rows: np.ndarray, tokens: Sequence[np.ndarray]) -> tuple[list[Row], list[str]]:
        """rows: which rows were answered. tokens: the responses, without pads. The processes share out the decoding."""

        def decode(own: slice) -> list[tuple[str, str]]:
            ids = [row.tolist() for row in tokens[own]]
            raw = self._vocabulary.tokenizer.batch_decode(ids, skip_special_tokens=False)
            clean = [text.strip() for text in self._vocabulary.decode(ids)]
            return list(zip(raw, clean, strict=True))

        texts = share_out(len(tokens), decode)
        extended = [
            {
                **self._rows[number],
                "prompt": self._template.render(self._rows[number]),
                "raw_response": text,
            }
            for number, (text, _) in zip(rows.tolist(), texts, strict=True)
        ]
        return extended, [text for _, text in texts]


class Rollouts:
    """What of a step is no single number, a line a step: rollouts.jsonl (texts) and distributions.jsonl.

    Process 0 writes; all call `record`, for the texts.
    """

    def __init__(self, folder: epath.Path, start: int, texts: Texts):
        """start: the step that the run goes on from; what a stopped run wrote of later steps is removed."""
        self._files = {name: folder / f"{name}.jsonl" for name in ("rollouts", "distributions")}
        self._texts = texts
        self._writes = jax.process_index() == 0
        self._remote = "://" in os.fspath(folder)
        self._lines: dict[str, list[str]] = {}
        if not self._writes:
            return
        for name, file in self._files.items():
            try:
                # Not splitlines: a text may hold other line breaks than "\n".
                lines = file.read_bytes().split(b"\n")[:-1] if start and file.exists() else []
            except OSError as error:
                raise InputError(
                    f"{file}: {error.strerror or error}; a run keeps its responses there: remove it, or take another"
                    " --workdir"
                ) from error
            kept = [line for line in lines if _step_of(line) <= start]
            self._lines[name] = [f"{line.decode()}\n" for line in kept]
            fresh = file.with_name(file.name + ".new")
            fresh.write_text("".join(self._lines[name]))
            fresh.replace(file)

    def record(self, step: int, content: Mapping[str, Any]) -> None:
        """Adds the content of a step. An object store cannot append: there, the file is written anew."""
        _, responses = self._texts.of(content["rows"], content["tokens"])
        if not self._writes:
            return
        rows = {"rows": content["rows"], "responses": responses, "scores": content["scores"]}
        for name, values in (("rollouts", rows), ("distributions", content["distributions"])):
            line = json.dumps(json_value({"step": step, **values}), ensure_ascii=False) + "\n"
            file = self._files[name]
            if self._remote:
                self._lines[name].append(line)
                file.write_text("".join(self._lines[name]))
                continue
            with file.open("a") as stream:
                stream.write(line)


def _step_of(line: bytes) -> float:
    """The step of a line; of one that a kill cut off, or that is damaged, infinity."""
    try:
        return float(json.loads(line.decode())["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return float("inf")

#!/usr/bin/env python
"""Compares generated tokens with those of transformers' torch `generate`, on the same weights.

    python scripts/decoding_parity.py nano                         # the model that comes along; minutes on 2 cores
    python scripts/decoding_parity.py runs/dialogsum_scratch/model --data data/dialogsum/dialogsum.dev.jsonl \
        --split "" --template "{dialogue}"

The model is a directory in Hugging Face's format, or "nano". Its inputs are prompts of real dialogues, in batches of 8
and alone, padded on either side; the settings are those of decoding_cases.py: greedy, 2 to 8 beams with length
penalties and all ways to stop early, repetition penalties, n-grams, forbidden and forced tokens, several eos, stop
strings. Every token, length and beam score must be torch's, or the status is 1.

A difference is excused only where torch's own decision was narrower than 1e-4, in natural logarithms of probability:
for greedy decoding the gap between the two best tokens at the first token that differs; for beams the narrowest of all
decisions of torch's search for that input (see decoding_torch.py). Excused rows are listed by name; over 1 % of all
rows they are an error. The table says for how many rows a decision was that narrow, equal or not.

The penalties that read the encoder's input count pads as its tokens in transformers, and not here: their cases take
inputs of equal length, without pads, where both mean the same.
Needs the extra "test" (torch, transformers).
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from decoding_cases import LARGE_BATCH, Case, make_cases, make_families
from decoding_torch import load_torch, torch_generate

from t5x_lite.api import load_pretrained
from t5x_lite.data.sources import load_rows
from t5x_lite.data.templates import render
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.models.config import Execution, T5Config

MARGIN = 1e-4
SHARE_EXCUSED = 0.01
_ROWS = 48  # inputs that cases take theirs from


@dataclasses.dataclass
class Subject:
    """One model on both sides, and the inputs it is compared on (token ids with eos)."""

    name: str
    config: T5Config
    params: Any
    generator: Generator
    torch_model: Any
    vocabulary: Vocabulary | None
    inputs: list[list[int]]

    @classmethod
    def load(
        cls,
        name: str,
        directory: pathlib.Path,
        config: T5Config,
        params: Any,
        vocabulary: Vocabulary | None,
        inputs: list[list[int]],
    ) -> Subject:
        """With the torch model of `directory`, which holds the same weights."""
        generator = Generator(config, Execution(), vocabulary)
        torch_model = load_torch(directory)
        return cls(name, config, params, generator, torch_model, vocabulary, inputs)

    def batches(self, case: Case) -> list[np.ndarray]:
        """int32 [batch, length] arrays: the inputs of a case, all cases' of one length."""
        pool, width = self.inputs, max(map(len, self.inputs))
        if any(name.startswith("encoder_") for name in case.settings):
            width = sorted(map(len, pool))[len(pool) // 2]
            pool = [[*row[: width - 1], row[-1]] for row in pool if len(row) >= width]
        rows = [pool[(case.first + i) % len(pool)] for i in range(case.rows)]
        padded = np.zeros((len(rows), width), np.int32)
        for line, row in zip(padded, rows, strict=True):
            line[slice(width - len(row), width) if case.left else slice(0, len(row))] = row
        return np.split(padded, len(rows) // case.batch)

    def plain(self, longest: int) -> tuple[np.ndarray, np.ndarray]:
        """Greedy tokens and lengths of the first inputs."""
        (inputs,) = self.batches(Case("plain", {}, LARGE_BATCH, False, 0))
        output = self.generator.generate(
            self.params, inputs, GenerationSettings(max_new_tokens=longest)
        )
        return np.asarray(output.tokens), np.asarray(output.lengths)


@dataclasses.dataclass
class Result:
    """What one case, or several together, showed."""

    cases: int = 0
    rows: int = 0
    narrow: int = 0  # rows with a decision under MARGIN, equal or not
    ended: int = 0  # rows that an eos ended before the most tokens
    lengths: Counter[int] = dataclasses.field(default_factory=Counter)  # of those
    excused: list[str] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: Result) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Counter):
                value.update(getattr(other, field.name))
            else:
                setattr(self, field.name, value + getattr(other, field.name))


def compare(subject: Subject, case: Case) -> Result:
    """Both sides on one case."""
    result = Result(cases=1)
    settings = GenerationSettings.from_mapping(case.settings)
    tokenizer = None if subject.vocabulary is None else subject.vocabulary.tokenizer
    each = settings.num_return_sequences
    for number, inputs in enumerate(subject.batches(case)):
        ours = subject.generator.generate(subject.params, inputs, settings)
        theirs = torch_generate(subject.torch_model, inputs, case.settings, tokenizer)
        tokens, lengths = np.asarray(ours.tokens), np.asarray(ours.lengths)
        missing = tokens.shape[1] - theirs.tokens.shape[1]
        expected = np.pad(theirs.tokens, ((0, 0), (0, max(missing, 0))))
        eos = np.atleast_1d(settings.eos_token_id or subject.config.eos_token_id)
        most = int(settings.new_tokens()[1])
        for row in range(len(tokens)):
            margin, what = _margin(theirs, row // each, tokens[row], expected[row])
            result.rows += 1
            result.narrow += margin < MARGIN
            last = tokens[row, lengths[row] - 1]
            if lengths[row] < most and last in eos:
                result.ended += 1
                result.lengths[int(lengths[row])] += 1
            if theirs.lengths is not None and theirs.scores is not None:
                assert ours.scores is not None
                if lengths[row] != theirs.lengths[row]:
                    what = what or f"{lengths[row]} tokens against {theirs.lengths[row]}"
                # In logarithms of probability: a length penalty scales the rounding as well.
                scale = float(lengths[row]) ** settings.length_penalty
                totals = np.array([ours.scores[row], theirs.scores[row]]) * scale
                if not np.isclose(totals[0], totals[1], rtol=1e-5, atol=MARGIN):
                    what = what or f"score {ours.scores[row]} against {theirs.scores[row]}"
            if what:
                name = f"{subject.name}, {case.name}, input {number * case.batch + row // each}"
                name += f", hypothesis {row % each}" if each > 1 else ""
                (result.excused if margin < MARGIN else result.wrong).append(
                    f"{name} (margin {margin:.1e}): {what}"
                )
    return result


def _margin(theirs: Any, row: int, ours: np.ndarray, expected: np.ndarray) -> tuple[float, str]:
    """How narrow torch's decision was, and what differs ("" nothing)."""
    unequal = np.flatnonzero(ours != expected)
    what = f"{ours.tolist()} against {expected.tolist()}" if unequal.size else ""
    if theirs.margins.ndim == 1:
        return float(theirs.margins[row]), what
    steps = theirs.margins.shape[1]
    if unequal.size:  # behind torch's last step there is nothing to decide
        return (float(theirs.margins[row, unequal[0]]) if unequal[0] < steps else np.inf), what
    inside = theirs.margins[row, : max(1, int(np.count_nonzero(expected)))]
    return float(inside.min()), what


def check(total: Result) -> list[str]:
    """What is wrong with the whole: differences, too many excuses, or cases that show too little."""
    problems = list(total.wrong)
    if len(total.excused) > SHARE_EXCUSED * total.rows:
        problems.append(
            f"{len(total.excused)} of {total.rows} rows had to be excused, more than 1 %"
        )
    if total.ended < total.rows / 2:
        problems.append(f"only {total.ended} of {total.rows} rows ended by eos, less than half")
    if len(total.lengths) < 5:
        problems.append(f"rows ended at {len(total.lengths)} different lengths only")
    return problems


def table(results: dict[str, Result]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| settings | cases | rows | equal | excused | narrow | ended by eos | at lengths |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, result in results.items():
        equal = result.rows - len(result.excused) - len(result.wrong)
        lengths = sorted(result.lengths)
        spread = f"{lengths[0]} to {lengths[-1]} ({len(lengths)})" if lengths else "-"
        lines.append(
            f"| {name} | {result.cases} | {result.rows} | {equal} | {len(result.excused)} |"
            f" {result.narrow} | {result.ended / result.rows:.0%} | {spread} |"
        )
    return "\n".join(lines)


def run(subject: Subject, longest: int, say: Callable[[Case, Result], None]) -> dict[str, Result]:
    """All cases of a model: the results by family, and "all"."""
    families = make_families(*subject.plain(longest), subject.vocabulary, longest)
    results: dict[str, Result] = {}
    for case in make_cases(families, alone=("greedy", "beams 4", "beams 8")):
        result = compare(subject, case)
        for name in (case.name.split(":")[0], "all"):
            results.setdefault(name, Result()).add(result)
        say(case, result)
    results["all"] = results.pop("all")
    return results


def read_inputs(options: argparse.Namespace, vocabulary: Vocabulary) -> list[list[int]]:
    """Token ids of the first prompts of `--data` that are no longer than `--length`.

    Raises:
      InputError: as `load_rows`, or too few prompts of that length.
    """
    rows = load_rows(
        options.data,
        options.split,
        {"dialogue": "dialogue"},
        id_column="",
        exclude="",
        limit=0,
    )
    ids = vocabulary.encode([render(options.template, row) for row in rows], add_eos=True)
    fitting = [row for row in ids if len(row) <= options.length][:_ROWS]
    if len(fitting) < _ROWS:
        raise InputError(
            f"--length {options.length}: only {len(fitting)} of {len(ids)} prompts are that short, {_ROWS} are needed"
        )
    return fitting


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help='a directory in Hugging Face\'s format, or "nano"')
    parser.add_argument("--data", default="bundled", help="rows with a column `dialogue`")
    parser.add_argument("--split", default="test", help='of the data; "" takes all rows of a file')
    parser.add_argument("--template", default="instruction", help="a name, or text with {dialogue}")
    parser.add_argument("--length", type=int, default=192, help="most tokens of a prompt")
    parser.add_argument("--new-tokens", type=int, default=64, help="most tokens generated")
    options = parser.parse_args()
    if options.new_tokens < 24:
        parser.error("--new-tokens must be at least 24: shorter outputs leave the settings no room")
    return options


def main() -> int:
    options = parse_arguments()

    def say(case: Case, result: Result) -> None:
        print(f"{'DIFFERS' if result.wrong else 'equal'}  {case.name}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        try:
            t5 = load_pretrained(options.model)
            inputs = read_inputs(options, t5.tokenizer)
            t5.save_pretrained(folder)  # torch reads what we write
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
        subject = Subject.load(
            options.model, pathlib.Path(folder), t5.config, t5.params, t5.tokenizer, inputs
        )
        results = run(subject, options.new_tokens, say)
    print(table(results))
    total = results["all"]
    print(
        f"\n{total.cases} cases, {total.rows} rows of {options.model}; {len(total.excused)} excused"
    )
    for line in total.excused:
        print(f"excused: {line}")
    problems = check(total)
    for line in problems:
        print(f"WRONG: {line}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

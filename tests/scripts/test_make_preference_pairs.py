"""Pairs of HH-RLHF and PandaLM: where two conversations part, what a majority is, and files that are neither."""

import doctest
import gzip
import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "make_preference_pairs.py"
spec = importlib.util.spec_from_file_location("make_preference_pairs", SCRIPT)
assert spec and spec.loader
pairs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pairs)


def talk(*turns):
    names = ("Human", "Assistant")
    return "".join(f"\n\n{names[i % 2]}: {turn}" for i, turn in enumerate(turns))


@pytest.mark.parametrize(
    "chosen, rejected, expected",
    [
        # The answers share their first letters: they part within the turn, and are kept whole.
        (talk("Hi", "I can."), talk("Hi", "I cannot."), ("Human: Hi", "I can.", "I cannot.")),
        # An earlier answer is part of the prompt.
        (
            talk("Hi", "Hello.", "And?", "So."), talk("Hi", "Hello.", "And?", "No."),
            ("Human: Hi\n\nAssistant: Hello.\n\nHuman: And?", "So.", "No."),
        ),
        # One is the beginning of the other.
        (talk("Hi", "So."), talk("Hi", "So. Or not."), ("Human: Hi", "So.", "So. Or not.")),
        (talk("Hi", "So."), talk("Hi", "So."), None),
        (talk("Hi", "So."), talk("Ho", "So."), None),
        (talk("Hi", ""), talk("Hi", "No."), None),
    ],
)  # fmt: skip
def test_conversations(chosen, rejected, expected):
    names = ("prompt", "chosen", "rejected")
    assert pairs.of_conversations(chosen, rejected) == (
        None if expected is None else dict(zip(names, expected, strict=True))
    )


@pytest.mark.parametrize(
    "votes, chosen",
    [((1, 1, 2), "a"), ((2, 0, 2), "b"), ((0, 0, 1), None), ((0, 1, 2), None), ((1, 1, 1), "a")],
)
def test_annotators(votes, chosen):
    row = {"instruction": "Do.", "input": "", "response1": "a", "response2": "b"}
    row |= {f"annotator{i + 1}": vote for i, vote in enumerate(votes)}
    found = pairs.of_annotators(row)
    assert (found and found["chosen"]) == chosen
    assert found is None or {found["chosen"], found["rejected"]} == {"a", "b"}


def test_docstrings():
    assert doctest.testmod(pairs).attempted > 2


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True
    )


def test_files_in_and_out(tmp_path):
    source, target = tmp_path / "a.jsonl.gz", tmp_path / "out" / "pairs.jsonl"
    lines = [
        {"chosen": talk("Hi", "Yes."), "rejected": talk("Hi", "No.")},
        {"chosen": talk("Hi", "Yes."), "rejected": talk("Hi", "Yes.")},
    ]
    with gzip.open(source, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    done = run(source, target)
    assert done.returncode == 0 and "1 pairs; 1 ties or unusable" in done.stdout
    expected = {"id": "0", "prompt": "Human: Hi", "chosen": "Yes.", "rejected": "No."}
    assert [json.loads(line) for line in target.read_text().splitlines()] == [expected]


@pytest.mark.parametrize(
    "content, message", [("[", "cannot read it"), ('[{"x": 1}]', "neither pairs of HH-RLHF nor")]
)
def test_other_files_are_named(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    done = run(tmp_path / "a.json", tmp_path / "out.jsonl")
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out.jsonl").exists()

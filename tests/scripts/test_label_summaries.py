"""The terminal labeller, through a pipe: answers, the blind order, going on, and rows the reward task reads."""

import json
import pathlib
import subprocess
import sys

import pytest

from t5x_lite.config import load_config
from t5x_lite.wiring.holdout import read_with_holdout

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "label_summaries.py"


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def files(tmp_path):
    def rows(name):
        return [
            {"id": f"d{i}", "input": f"#Person1#: {i}", "output": f"{name} {i}"} for i in range(8)
        ]

    first = rows("good") + [{"id": "same", "input": "x", "output": "the same"}]
    second = [*reversed(rows("bad")), {"id": "same", "input": "x", "output": "the same"}]
    second += [{"id": "alone", "input": "x", "output": "y"}]
    return (
        write(tmp_path / "first.jsonl", first),
        write(tmp_path / "second.jsonl", second),
        tmp_path / "choices.jsonl",
    )


def label(files, answers, *options):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, files), *options],
        input=answers, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_lines_end_at_line_feeds_alone(files):
    """JSON may hold the other line breaks as they are."""
    for file, word in zip(files[:2], ("good", "bad"), strict=True):
        row = {"id": "d0", "input": "x", "output": f"{word}\u2028two\u2029three\u0085four"}
        file.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    result = label(files, "1\n")
    assert result.returncode == 0, result.stderr
    (row,) = (json.loads(line) for line in files[2].read_text("utf-8").split("\n") if line)
    assert row["chosen"].endswith("\u2028two\u2029three\u0085four")


def test_choices_are_what_was_shown_and_the_order_is_blind(files):
    result = label(files, "1\n" * 8)
    assert result.returncode == 0, result.stderr
    choices = lines(files[2])
    assert [row["id"] for row in choices] == [f"d{i}" for i in range(8)]
    # The first one shown is chosen: of both sides, each with its other as rejected.
    assert {row["chosen_from"] for row in choices} == {"first", "second"}
    for row in choices:
        names = {"first": "good", "second": "bad"}
        assert row["chosen"].startswith(names.pop(row["chosen_from"]))
        assert row["rejected"].startswith(*names.values())
        shown = result.stdout.index(f"--- 1 ---\n{row['chosen']}")
        assert result.stdout.index(f"--- 2 ---\n{row['rejected']}") > shown
    assert "first" not in result.stdout and "8 of 8 in all" in result.stdout


def test_it_goes_on_where_it_was_left(files):
    first = label(files, "1\ns\nwhat\ntie\n2\nq\n")
    assert "'what' is none of the answers" in first.stdout and "3 answered now" in first.stdout
    assert [row["id"] for row in lines(files[2])] == ["d0", "d3"]
    (tie,) = lines(files[2].with_suffix(".ties.jsonl"))
    assert tie["id"] == "d2" and tie["tie"] == ["good 2", "bad 2"]
    second = label(files, "1\n")  # the end of the input is a quit
    assert second.returncode == 0 and "4 of 8 in all" in second.stdout
    assert [row["id"] for row in lines(files[2])] == ["d0", "d3", "d1"]  # what was skipped
    assert second.stdout.count("5 to go") == 1
    together = label(files, "1\n" * 9)
    assert "8 of 8 in all" in together.stdout


def test_the_order_depends_on_the_seed_alone(files, tmp_path):
    def chosen(name, seed):
        out = tmp_path / f"{name}.jsonl"
        label((*files[:2], out), "1\n" * 8, "--seed", seed)
        return [row["chosen"] for row in lines(out)]

    assert chosen("a", "1") == chosen("b", "1") != chosen("c", "2")


def test_a_line_that_was_cut_does_not_swallow_the_next(files):
    files[2].write_text('{"id": "d0"}')
    label(files, "1\n")
    assert [row["id"] for row in lines(files[2])] == ["d0", "d1"]


def test_the_reward_task_reads_them(files):
    label(files, "1\n2\n" * 4)
    config = load_config(
        "reward.py:runlocal",
        {
            "data.train.source": str(files[2]),
            "data.train.split": "",
            "data.train.columns.kind": "chosen_from",
            "data.evaluation.source": "holdout",
            "data.holdout": "0.25",
        },
    )
    train, held_out = read_with_holdout(config.data, config.seed)
    assert (len(train), len(held_out)) == (6, 2)
    assert {*train[0]} >= {"dialogue", "chosen", "rejected", "kind"}


@pytest.mark.parametrize(
    "content, message",
    [
        ("nonsense\n", "first.jsonl:1: not JSON"),
        ('{"id": "d0", "input": "x"}\n', "first.jsonl:1: has no 'output'"),
        ('{"id": "other", "input": "x", "output": "y"}\n', "have no id in common"),
    ],
)
def test_bad_files_are_named(files, content, message):
    files[0].write_text(content)
    result = label(files, "")
    assert result.returncode == 1 and message in result.stderr
    assert "Traceback" not in result.stderr and not files[2].exists()

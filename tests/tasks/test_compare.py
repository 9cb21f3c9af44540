"""The task `compare`: runs side by side over the rows they share."""

import json

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.tasks.compare import run as compare

ROWS = [
    ("r0", "one two three", "a b c", "one two three", "one two"),
    ("r1", "four five", "a b c", "four", "six\u2028"),
    ("r2", "seven eight nine", "d e", "seven", "seven eight nine"),
    ("r3", "ten", "f", "", "ten eleven"),
]


def write_run(folder, column, rows=ROWS, **extra):
    folder.mkdir()
    lines = [
        {"id": row[0], "reference": row[1], "input": row[2], "output": row[column]} | extra
        for row in rows
    ]
    (folder / "samples.jsonl").write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    )
    return folder


def run(tmp_path, argument):
    config = load_config(f"compare.py:{argument}", {"evaluation.bootstrap_samples": "100"})
    compare.run(config, str(tmp_path / "out"))
    return json.loads((tmp_path / "out" / "report.json").read_text())


def expected_mean(column, kind, rows=ROWS):
    scorer = RougeScorer([kind], use_stemmer=True)
    return 100 * float(np.mean([scorer.score(row[1], row[column])[kind].fmeasure for row in rows]))


def test_means_and_differences_are_those_of_rouge_score(tmp_path):
    one, two = write_run(tmp_path / "one", 3), write_run(tmp_path / "two", 4)
    report = run(tmp_path, f"a={one},b={two}")
    first, second = report["systems"]
    assert (first["system"], second["system"]) == ("a", "b")
    for kind, title in (("rouge1", "ROUGE-1"), ("rouge2", "ROUGE-2"), ("rougeL", "ROUGE-L")):
        means = expected_mean(3, kind), expected_mean(4, kind)
        assert first[title].startswith(f"{means[0]:.1f} (")
        assert second[title].startswith(f"{means[1]:.1f} (")
        assert second[f"{title} difference"].startswith(f"{means[1] - means[0]:+.1f}")
        assert first[f"{title} difference"] is None
    assert report["samples"][1] == {
        "id": "r1", "input": "a b c", "reference": "four five", "a": "four", "b": "six\u2028",
    }  # fmt: skip


def test_only_rows_that_all_have_are_scored_and_the_rest_is_said(tmp_path, caplog):
    one, two = write_run(tmp_path / "one", 3), write_run(tmp_path / "two", 4, ROWS[1:])
    report = run(tmp_path, f"{one},{two}")
    assert report["systems"][0]["ROUGE-1"].startswith(f"{expected_mean(3, 'rouge1', ROWS[1:]):.1f}")
    assert "one: 1 of 4 rows" in caplog.text


def test_a_prompting_run_is_a_system_for_each_scored_setting(tmp_path):
    folder = tmp_path / "lab1"
    folder.mkdir()
    lines = []
    for number, row in enumerate(ROWS):
        outputs = {"none, greedy": row[3], "one_shot, greedy": row[4]}
        if number == 0:
            outputs["one_shot, beams"] = "shown only"
        lines.append({"id": row[0], "reference": row[1], "input": row[2], "outputs": outputs})
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = run(tmp_path, f"lab1={folder}")
    assert [row["system"] for row in report["systems"]] == [
        "lab1: none, greedy",
        "lab1: one_shot, greedy",
    ]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda one, two: f"{one}", "at least two"),
        (lambda one, two: f"a={one},a={two}", "two systems are called 'a'"),
        (lambda one, two: f"{one},{two.parent / 'none'}", "none.*is not there"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, change, message):
    one, two = write_run(tmp_path / "one", 3), write_run(tmp_path / "two", 4)
    with pytest.raises(InputError, match=message):
        run(tmp_path, change(one, two))


def test_rows_of_other_data_and_broken_lines_are_refused(tmp_path):
    one = write_run(tmp_path / "one", 3)
    other = write_run(tmp_path / "two", 4, [(f"x{row[0]}", *row[1:]) for row in ROWS])
    with pytest.raises(InputError, match="no row .* is in all of one .4 rows., two"):
        run(tmp_path, f"{one},{other}")
    with (other / "samples.jsonl").open("a") as file:
        file.write('{"id": "r9"}\n')
    with pytest.raises(InputError, match=r"samples.jsonl:5: expected id, input, reference"):
        run(tmp_path, f"{one},{other}")


def test_the_example_that_ships_runs(tmp_path):
    report = run(tmp_path, "runlocal")
    assert [row["system"] for row in report["systems"]] == ["greedy", "beams"]

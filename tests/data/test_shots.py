"""Shots: solved rows in front of a question, never its own; the same ones for the same seed."""

import pytest

from t5x_lite.data.shots import with_shots
from t5x_lite.errors import InputError

ROWS = [{"id": str(i), "dialogue": f"d{i}", "summary": f"s{i}"} for i in range(6)]
OTHERS = [{"id": f"test-{i}", "dialogue": f"t{i}", "summary": f"u{i}"} for i in range(3)]
FORM = dict(template="Q {dialogue}\n", target="{summary}", name="data.tasks.few_shot")


def numbers(row):
    *shots, rest = row["shots"].split("\n\n\n")
    assert rest == ""
    for shot in shots:
        assert shot == f"Q d{shot[3]}\ns{shot[3]}"
    return [shot[3] for shot in shots]


def test_two_other_rows_solved():
    for i, row in enumerate(with_shots(ROWS, ROWS, 2, seed=3, **FORM)):
        assert {**row, "shots": None} == {**ROWS[i], "shots": None}
        assert len(set(numbers(row))) == 2 and str(i) not in numbers(row)


def test_every_other_row_can_come_and_the_row_itself_never():
    for i, row in enumerate(with_shots(ROWS, ROWS, 5, seed=0, **FORM)):
        assert sorted(numbers(row)) == [str(j) for j in range(6) if j != i]


def test_rows_of_another_split_are_shown_solved_training_rows():
    shown = with_shots(OTHERS, ROWS, 5, seed=0, **FORM)
    assert all(len(set(numbers(row))) == 5 for row in shown)
    assert [row["id"] for row in shown] == [row["id"] for row in OTHERS]


def test_seed():
    assert with_shots(ROWS, ROWS, 2, seed=1, **FORM) == with_shots(ROWS, ROWS, 2, seed=1, **FORM)
    assert with_shots(ROWS, ROWS, 2, seed=1, **FORM) != with_shots(ROWS, ROWS, 2, seed=2, **FORM)


def test_too_few_solved_rows():
    with pytest.raises(InputError, match="data.tasks.few_shot: 6 shots a prompt need more than 6"):
        with_shots(ROWS, ROWS, 6, seed=0, **FORM)

"""Shots: other rows, solved, in front; the same ones for the same seed."""

import pytest

from t5x_lite.data.shots import with_shots
from t5x_lite.errors import InputError

ROWS = [{"id": str(i), "dialogue": f"d{i}", "summary": f"s{i}"} for i in range(6)]
FORM = dict(template="Q {dialogue}\n", target="{summary}", name="data.tasks.few_shot")


def test_two_other_rows_solved():
    for i, row in enumerate(with_shots(ROWS, 2, seed=3, **FORM)):
        assert {**row, "shots": None} == {**ROWS[i], "shots": None}
        first, second, rest = row["shots"].split("\n\n\n")
        assert rest == "" and first != second
        for shot in (first, second):
            number = shot[3]
            assert shot == f"Q d{number}\ns{number}" and number != str(i)


def test_every_other_row_can_come_and_the_row_itself_never():
    for i, row in enumerate(with_shots(ROWS, 5, seed=0, **FORM)):
        numbers = sorted(int(shot[3]) for shot in row["shots"].split("\n\n\n")[:-1])
        assert numbers == [j for j in range(6) if j != i]


def test_seed_and_none():
    assert with_shots(ROWS, 2, seed=1, **FORM) == with_shots(ROWS, 2, seed=1, **FORM)
    assert with_shots(ROWS, 2, seed=1, **FORM) != with_shots(ROWS, 2, seed=2, **FORM)
    assert all(row["shots"] == "" for row in with_shots(ROWS, 0, seed=1, **FORM))


def test_too_few_rows():
    with pytest.raises(InputError, match="data.tasks.few_shot: 6 shots a prompt need more than 6"):
        with_shots(ROWS, 6, seed=0, **FORM)

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


def test_no_row_is_shown_another_answer_to_its_own_question():
    """Three summaries of one dialogue, as DialogSum has them: rows of their own ids, and no shots for each other."""
    same = [ROWS[0] | {"id": f"{i}", "summary": f"s{i}"} for i in range(3)]
    solved = [*same, ROWS[4], ROWS[5] | {"dialogue": "d5"}, {**ROWS[5], "dialogue": " D0 "}]
    for i, row in enumerate(with_shots(same, solved, 2, seed=1, **FORM)):
        assert sorted(numbers(row)) == ["4", "5"], i
    with pytest.raises(
        InputError, match="only 2 of the 6 solved rows ask something else than row 0"
    ):
        with_shots(same[:1], solved, 3, seed=1, **FORM)


def test_as_many_shots_as_asked_for_where_ids_are_shared():
    """An id that names a speaker, say: rows of one id are none of each other's shots, and the others fill up."""
    shared = [row | {"id": "x"} for row in ROWS[:4]] + ROWS[4:]
    for seed in range(5):
        for row in with_shots(shared, shared, 2, seed=seed, **FORM)[:4]:
            assert sorted(numbers(row)) == ["4", "5"]

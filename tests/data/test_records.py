"""Columns that may be empty, as the inputs of Alpaca's rows are."""

import json
import logging

import pytest

from t5x_lite.data.groups import drawn
from t5x_lite.data.templates import Template
from t5x_lite.data.truncation import Cuts, fit
from t5x_lite.errors import InputError
from tests.data.test_sources import load

COLUMNS = {"ask": "instruction", "of": "input?"}
RECORDS = [
    {"key": 1, "instruction": "Add.", "input": "7 + 8"},
    {"key": 2, "instruction": "Name a colour.", "input": ""},
    {"key": 3, "instruction": "Name a fish.", "input": None},
    {"key": 4, "instruction": "Name a bird."},
    {"key": 5, "instruction": "Name a tree.", "input": "\u200b "},
]


@pytest.fixture
def write(tmp_path):
    def write(records, ending="jsonl"):
        path = tmp_path / f"a.{ending}"
        if ending == "csv":
            names = list(records[0])
            lines = [names, *([str(r.get(n) or "") for n in names] for r in records)]
            path.write_text("".join(",".join(line) + "\n" for line in lines))
        else:
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_what_may_be_empty_or_missing(write, ending):
    rows = load(write(RECORDS, ending), columns=COLUMNS)
    assert [row["of"] for row in rows] == ["7 + 8", "", "", "", ""]


def test_an_object_of_columns_needs_those_alone_that_every_row_has(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"key": [1, 2], "instruction": ["A", "B"]}))
    assert [row["ask"] for row in load(tmp_path / "a.json", columns=COLUMNS)] == ["A", "B"]


def test_a_column_with_a_question_mark_in_its_name_is_itself(write):
    path = write([{"key": 1, "instruction": "A", "input?": ""}])
    with pytest.raises(InputError, match=r"empty input\?; fill it in"):
        load(path, columns=COLUMNS)


def test_others_may_not_be_empty_and_the_way_out_is_told(write):
    with pytest.raises(InputError, match=r"a.jsonl:2: empty input; .* is named 'input\?'"):
        load(write(RECORDS), columns={"ask": "instruction", "of": "input"})


@pytest.mark.parametrize(("column", "told"), [("inputt?", True), ("input?", False)])
def test_a_column_in_which_no_row_has_a_text_is_told(write, column, told, caplog):
    with caplog.at_level(logging.WARNING):
        load(write(RECORDS), columns={"ask": "instruction", "of": column})
    assert ("no row has a text in the column 'inputt' (for 'of')" in caplog.text) == told


def test_inputs_are_told_apart_by_all_fields_of_the_templates():
    """Two questions about one text are two inputs, drawn together; two references of one are one."""
    rows = [{"text": "T", "ask": ask, "answer": str(n)} for n, ask in enumerate("abab")]
    rows += [{"text": "U", "ask": "a", "answer": "x"}]
    found = drawn(rows, ["{text} {ask}", "{ask} {documents}"], "text")
    assert found.inputs.tolist() == [0, 1, 0, 1, 2]
    assert found.groups.tolist() == [0, 0, 0, 0, 1]


def test_inputs_are_not_told_apart_by_what_may_be_empty():
    rows = [{"id": "7", "ask": "A", "of": ""}]
    with pytest.raises(InputError, match="x: row '7' has no text in 'of', which data.cut_field"):
        fit(rows, Template("{ask}{of:+ {of}}"), None, Cuts("x", 8, "end"), "of")

"""Columns by a pattern: a row each, as the hub's flattened test split has them; and ids that are there twice."""

import json
import logging

import pandas
import pytest

from t5x_lite.errors import InputError
from tests.data.test_sources import load

COLUMNS = {"dialogue": "dialogue", "summary": "summary*"}
# As DialogSum's own test file has them, beside a column that no pattern means.
RECORDS = [
    {"key": "test_0", "dialogue": "A", "summary1": "x", "topic1": "t", "summary2": "y", "summary3": "z"},
    {"key": "test_1", "dialogue": "B", "summary1": "u", "topic1": "t", "summary2": "", "summary3": "w"},
]  # fmt: skip
FLAT = [
    ("test_0_1", "A", "x"), ("test_0_2", "A", "y"), ("test_0_3", "A", "z"),
    ("test_1_1", "B", "u"), ("test_1_3", "B", "w"),
]  # fmt: skip


def rows_of(path, columns=COLUMNS, **more):
    return [
        (row["id"], row["dialogue"], row["summary"]) for row in load(path, columns=columns, **more)
    ]


def _write(form, records, path):
    table = pandas.DataFrame(records)
    if form == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    elif form == "json":
        path.write_text(json.dumps(records))
    elif form == "json columns":
        path.write_text(json.dumps(table.to_dict("list")))
    elif form == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(
            path, index=False, sep={"csv": ",", "tsv": "\t", "txt": "\t", "semicolons": ";"}[form]
        )
    return path  # fmt: skip


FORMS = ("jsonl", "json", "json columns", "parquet", "csv", "tsv", "txt", "semicolons")


@pytest.mark.parametrize("form", FORMS)
def test_a_row_each_in_every_format(form, tmp_path):
    ending = {"json columns": "json", "semicolons": "csv"}.get(form, form)
    assert rows_of(_write(form, RECORDS, tmp_path / f"a.{ending}")) == FLAT


def test_items_of_a_list_and_fields_below_them(tmp_path):
    lists = [{"key": 7, "dialogue": "A", "references": ["x", "y"]}]
    below = [{"key": 7, "dialogue": "A", "answers": [{"text": "x"}, {"text": "y"}]}]
    wanted = [("7_1", "A", "x"), ("7_2", "A", "y")]
    for records, pattern in ((lists, "references.*"), (below, "answers.*.text")):
        path = _write("jsonl", records, tmp_path / "a.jsonl")
        assert rows_of(path, {"dialogue": "dialogue", "summary": pattern}) == wanted


def test_patterns_of_two_fields_go_side_by_side(tmp_path):
    record = {"key": 1, "a1": "x", "b1": "p", "a2": "y", "b2": "q"}
    path = _write("jsonl", [record], tmp_path / "a.jsonl")
    assert rows_of(path, {"dialogue": "a*", "summary": "b*"}) == [("1_1", "x", "p"), ("1_2", "y", "q")]  # fmt: skip


def test_a_column_of_that_very_name_is_itself(tmp_path):
    record = {"key": 1, "dialogue": "A", "summary*": "x", "summary1": "y"}
    path = _write("jsonl", [record], tmp_path / "a.jsonl")
    assert rows_of(path) == [("1", "A", "x")]


def test_limit_counts_rows_and_exclusion_records(tmp_path):
    path = _write("jsonl", RECORDS, tmp_path / "a.jsonl")
    assert rows_of(path, limit=2) == FLAT[:2]
    (tmp_path / "ids.txt").write_text("test_0\n")
    assert rows_of(path, exclude=str(tmp_path / "ids.txt")) == FLAT[3:]


REFUSED = {
    "nothing": (
        {"dialogue": "A", "summary": "x"},
        {"summary": "abstract*"},
        r"no column matches 'abstract\*'.*there are key, dialogue, summary",
    ),
    "unequal": (
        {"a1": "x", "a2": "y", "b1": "p"},
        {"dialogue": "a*", "summary": "b*"},
        r"equally often.*'a\*' 2, 'b\*' 1",
    ),
    "empty": (
        {"dialogue": "A", "summary1": "", "summary2": None},
        COLUMNS,
        r"all of dialogue, summary\* are empty",
    ),
    "list": (
        {"dialogue": "A", "references": ["x"]},
        {"dialogue": "dialogue", "summary": "references"},
        r"all as a row each, references\.\*",
    ),
}


@pytest.mark.parametrize(("record", "columns", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(record, columns, message, tmp_path):
    path = _write("jsonl", [{"key": 1, **record}], tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=f"a.jsonl:1.*{message}"):
        load(path, columns=columns)


def test_a_header_twice_among_the_matches_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("key,dialogue,summary1,summary1\n1,A,x,y\n")
    with pytest.raises(InputError, match="'summary1' is there 2 times"):
        load(tmp_path / "a.csv", columns=COLUMNS)


@pytest.mark.parametrize(("ids", "told"), [(("1", "1.0", "2"), True), (("1", "2", "3"), False)])
def test_ids_that_name_several_rows_are_told_once(ids, told, tmp_path, caplog):
    records = [{"key": own, "dialogue": "A", "summary": "x"} for own in ids]
    path = _write("jsonl", records, tmp_path / "a.jsonl")
    with caplog.at_level(logging.WARNING):
        load(path, columns={"dialogue": "dialogue", "summary": "summary"})
    lines = [line for line in caplog.messages if "more than one row" in line]
    assert len(lines) == told
    if told:
        assert "1 ids name more than one row (first '1', 2 rows)" in lines[0]

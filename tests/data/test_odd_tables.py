"""Tables that other programs wrote oddly: each is read as meant, or refused with what it is."""

import datetime
import json
import pathlib

import datasets
import pandas
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from t5x_lite.errors import InputError
from tests.data.test_tables import COLUMNS, CSV, JSONL, ROWS, load

TSV = [
    ("7", '"A', "greets"),
    ("8", "B", "leaves"),
    ("9", 'she said"', 'a "word"'),
    ("10", '"ok" she', "x"),
]
UNQUOTED = {  # lines of values that nothing quoted -> whether the quotes are letters
    "opened": [0, 1],
    "opened and closed two rows on": [0, 1, 2],  # read by the rules of CSV, three rows are one
    "closed amid a value": [1, 3],
}


@pytest.mark.parametrize("rows", UNQUOTED.values(), ids=UNQUOTED)
@pytest.mark.parametrize("separator", ["\t", "|"])
def test_quotes_are_letters_in_tables_without_quoting(rows, separator, tmp_path):
    lines = [
        separator.join(values)
        for values in [("id", "dialogue", "summary"), *(TSV[n] for n in rows)]
    ]
    (tmp_path / "a.tsv").write_text("\n".join(lines) + "\n")
    found = [tuple(row[name] for name in ("id", *COLUMNS)) for row in load(tmp_path / "a.tsv")]
    assert found == [TSV[n] for n in rows]


@pytest.mark.parametrize("value", ["two\nlines", 'a "word"', "a\ttab", "two\nlines\tand a tab", ""])
def test_quotes_quote_where_they_do(value, tmp_path):
    frame = pandas.DataFrame([["1", f"x{value}", "y"], ["2", "z", "w"]], columns=["id", *COLUMNS])
    frame.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    assert [row["dialogue"] for row in load(tmp_path / "a.tsv")] == [f"x{value}", "z"]


@pytest.mark.parametrize("unseen", ["\ufeff\ufeff", "\u200b", "\ufeff ", "\u00a0", "\u2060"])
def test_what_cannot_be_seen_is_no_part_of_a_columns_name(unseen, tmp_path):
    (tmp_path / "a.csv").write_text(unseen + CSV.replace("dialogue", f"{unseen}dialogue{unseen}"))
    assert load(tmp_path / "a.csv") == ROWS  # the ids, too


ORIENTS = ["columns", "index", "split", "records", "table"]


@pytest.mark.parametrize("orient", ORIENTS)
def test_json_as_pandas_writes_it(orient, tmp_path):
    pandas.DataFrame(ROWS).to_json(tmp_path / "a.json", orient=orient)
    assert load(tmp_path / "a.json") == ROWS
    assert [row["dialogue"] for row in load(tmp_path / "a.json", {"dialogue": "dialogue"})] == [
        row["dialogue"] for row in ROWS
    ]


def test_json_by_ids(tmp_path):
    keyed = {row["id"]: {name: row[name] for name in COLUMNS} for row in ROWS}
    (tmp_path / "a.json").write_text(json.dumps(keyed))
    assert load(tmp_path / "a.json") == ROWS
    (tmp_path / "b.json").write_text(json.dumps({"translation": {"en": "A", "de": "B"}}))
    nested = load(tmp_path / "b.json", {"dialogue": "translation.en"})
    assert [row["dialogue"] for row in nested] == ["A"]


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
NO_TABLES = {
    "a pointer": (POINTER, "a Git LFS pointer.*git lfs pull"),
    "a page": ("\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page; download"),
    "zeros": ("\0" * 40, "1: 40 zero bytes in place of a row"),
}


@pytest.mark.parametrize("content, message", NO_TABLES.values(), ids=NO_TABLES)
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".json", ".tsv", ".parquet", ".txt"])
def test_what_is_no_table_is_called_what_it_is(content, message, ending, tmp_path):
    if "\0" in content and ending in (".json", ".parquet", ".txt"):
        pytest.skip("one value, binary, or any text")
    if "page" in message and ending == ".parquet":
        message = "is not a Parquet file"
    (tmp_path / f"a{ending}").write_text(content)
    with pytest.raises(InputError, match=message):
        load(tmp_path / f"a{ending}", {"dialogue": "text"})


@pytest.mark.parametrize("name, content", [("a.csv", CSV), ("a.jsonl", JSONL)])
def test_a_write_that_was_cut_off_is_told(name, content, tmp_path):
    (tmp_path / name).write_text(content + "\0" * 512)
    with pytest.raises(InputError, match=rf"{name}:[34]: 512 zero bytes"):
        load(tmp_path / name)


def test_arrow_files_and_plain_text(tmp_path):
    table = pyarrow.Table.from_pylist(ROWS)
    pyarrow.feather.write_feather(table, str(tmp_path / "a.feather"))
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    (shard,) = pathlib.Path(tmp_path / "saved").glob("*.arrow")
    assert load(tmp_path / "a.feather") == load(shard) == ROWS
    (tmp_path / "a.txt").write_text('first\n\nsecond, "x\n')
    assert [row["text"] for row in load(tmp_path / "a.txt", {"text": "text"})] == [
        "first",
        'second, "x',
    ]
    for separator in "\t,;":
        (tmp_path / "a.txt").write_text(f"id{separator}text\n7{separator}first\n")
        assert load(tmp_path / "a.txt", {"text": "text"}) == [{"id": "7", "text": "first"}]
    (tmp_path / "a.txt").write_text(CSV)
    assert load(tmp_path / "a.txt") == ROWS
    (tmp_path / "a.txt").write_text("a line, with a comma\nanother, one\n")
    with pytest.raises(InputError, match="no column .dialogue. .*; there are text:"):
        load(tmp_path / "a.txt")
    (tmp_path / "a.arrow").write_text("x")
    with pytest.raises(InputError, match="a.arrow is not an Arrow file"):
        load(tmp_path / "a.arrow")
    (tmp_path / "a.xlsx").write_text("PK")
    with pytest.raises(InputError, match="a.xlsx is a spreadsheet; save its sheet as CSV UTF-8"):
        load(tmp_path / "a.xlsx")


def test_bytes_and_what_python_cannot_say(tmp_path):
    def read(values):
        table = pyarrow.table({"id": ["7"], "dialogue": values, "summary": ["x"]})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        return load(tmp_path / "a.parquet")[0]["dialogue"]

    assert read(pyarrow.array(["café".encode()])) == "café"  # as Hive and TFDS write text
    with pytest.raises(InputError, match="row 0: column 'dialogue' holds bytes that are no UTF-8"):
        read(pyarrow.array([b"caf\xe9"]))
    with pytest.raises(InputError, match="a.parquet: of its rows from 0 on one cannot be read"):
        read(pyarrow.array([b"caf\xe9"]).view(pyarrow.string()))
    with pytest.raises(InputError, match="a.parquet: of its rows from 0 on one cannot be read"):
        read(pyarrow.array([2**62], pyarrow.timestamp("us")))
    assert read(pyarrow.array([datetime.datetime(2024, 5, 1)])) == "2024-05-01T00:00:00"


EXCLUDED = {
    "ids.csv": "id,why\n8,twice\n",
    "plain.csv": "8\n9\n",
    "one column.csv": "id\n8\n",
    "ids.jsonl": '{"id": 8, "why": "twice"}\n',
    "lines.jsonl": '"8"\n9\n',
    "ids.tsv": "why\tid\ntwice\t8.0\n",
}


@pytest.mark.parametrize("name", EXCLUDED)
def test_tables_of_ids_to_leave_out(name, tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / name).write_text(EXCLUDED[name])
    assert load(tmp_path / "a.csv", exclude=tmp_path / name) == ROWS[:1]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/a.csv", exclude=f"~/{name}") == ROWS[:1] == load("~/a.c*", exclude=f"~/{name}")


def test_a_server_that_does_not_answer(monkeypatch):
    with pytest.raises(InputError, match="cannot read http://127.0.0.1:1/x .*named by its id"):
        load("http://127.0.0.1:1/x")


def test_turns_of_a_conversation(tmp_path):
    """As TRL has preferences: the answer is the last turn, however many there are."""
    turns = [[{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]]
    turns += [[{"role": "system", "content": "S"}, *turns[0], {"role": "user", "content": "B"}]]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"chosen": one}) + "\n" for one in turns))

    def read(column):
        return [row["x"] for row in load(tmp_path / "a.jsonl", {"x": column}, id_column="")]

    assert read("chosen.-1.content") == ["A", "B"]
    assert read("chosen.-2.role") == ["user", "assistant"]
    with pytest.raises(InputError, match="a.jsonl:1: no column 'chosen.-3.content'"):
        read("chosen.-3.content")
    with pytest.raises(InputError, match=r"holds a list; .*name one item, e.g. chosen.-1.content"):
        read("chosen")


@pytest.mark.parametrize("text", ["\u200b", " \ufeff\n", "\u2060 \u200b", "\u3000"])
def test_what_cannot_be_seen_is_no_text(text, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"x": text}) + "\n")
    with pytest.raises(InputError, match="a.jsonl:1: empty x; fill it in"):
        load(tmp_path / "a.jsonl", {"x": "x"}, id_column="")
    (tmp_path / "a.jsonl").write_text(json.dumps({"x": f"{text}a"}) + "\n")
    assert load(tmp_path / "a.jsonl", {"x": "x"}, id_column="")[0]["x"] == f"{text}a"


@pytest.mark.parametrize("extra", ["kind", "group"])
def test_columns_that_only_sort_results_may_be_missing(extra, tmp_path):
    """The bundled pairs have a kind; who names a file of his own in their place need not know of it."""
    columns = COLUMNS | {extra: extra}
    (tmp_path / "a.jsonl").write_text(JSONL)
    assert load(tmp_path / "a.jsonl", columns) == ROWS
    with pytest.raises(InputError, match="no column 'sort'"):
        load(tmp_path / "a.jsonl", COLUMNS | {extra: "sort"})
    some = [ROWS[0] | {extra: "x"}, ROWS[1]]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    with pytest.raises(InputError, match=f"a.jsonl:2: no column '{extra}'"):
        load(tmp_path / "a.jsonl", columns)


def test_the_splits_that_there_are_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("split,x\ntrain,a\nvalidation,b\ntrain,c\n")
    with pytest.raises(InputError, match=r"'split' is 'dev'; there are 'train', 'validation'$"):
        load(tmp_path / "a.csv", {"x": "x"}, split="dev")


def test_lists_of_a_json_object_are_splits_where_they_are_called_so(tmp_path):
    """The only list was read whatever it was called: training rows where test rows were asked for."""
    (tmp_path / "a.json").write_text(json.dumps({"Train": [{"x": "a"}]}))
    for split in ("train", "training", "Train", ""):
        assert load(tmp_path / "a.json", {"x": "x"}, split=split)[0]["x"] == "a"
    with pytest.raises(InputError, match=r"of the split 'dev', found .* one \('Train'\); choose"):
        load(tmp_path / "a.json", {"x": "x"}, split="dev")
    (tmp_path / "b.json").write_text(
        json.dumps({"train": [{"x": "a"}], "validation": [{"x": "b"}]})
    )
    assert load(tmp_path / "b.json", {"x": "x"}, split="dev")[0]["x"] == "b"
    (tmp_path / "c.json").write_text(json.dumps({"data": [{"x": "a"}]}))
    assert load(tmp_path / "c.json", {"x": "x"}, split="dev")[0]["x"] == "a"


@pytest.mark.parametrize("content", ['{"x": "a"}\n', ' [{"x": "a"}]', "[\n{}]"])
def test_json_that_is_called_csv(content, tmp_path):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(
        InputError, match="a.csv: JSON by the name of separated values; give it the"
    ):
        load(tmp_path / "a.csv", {"x": "x"})

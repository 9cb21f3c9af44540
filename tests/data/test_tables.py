"""Table files as people have them: what each reads as, or how it is refused."""

import codecs
import datetime
import gzip
import json
import logging
import re
import zipfile

import datasets
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from t5x_lite.data.sources import is_file, load_rows
from t5x_lite.errors import InputError

COLUMNS = {"dialogue": "dialogue", "summary": "summary"}
ROWS = [
    {"id": "7", "dialogue": "A: café, „ok“", "summary": "greets"},
    {"id": "8", "dialogue": "B: \U0001f642; bye", "summary": "leaves"},
]
CSV = 'id,dialogue,summary\n7,"A: café, „ok“",greets\n8,B: \U0001f642; bye,leaves\n'
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
JSON = json.dumps(ROWS, ensure_ascii=False)
CONTENT = {"a.csv": CSV, "a.jsonl": JSONL, "a.json": JSON}
ENCODINGS = {
    "utf-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16 big-endian": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-16 without a mark": lambda text: text.encode("utf-16-le"),
    "utf-16 big-endian without": lambda text: text.encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
}


def load(path, columns=COLUMNS, split="", id_column="id", exclude="", limit=0):
    return load_rows(
        str(path), split, columns, id_column=id_column, exclude=str(exclude), limit=limit
    )


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_unicode_in_every_encoding(name, encoding, tmp_path):
    (tmp_path / name).write_bytes(ENCODINGS[encoding](CONTENT[name]))
    assert load(tmp_path / name) == ROWS


@pytest.mark.parametrize("name", ["ids.txt", "ids.json", "keyed.json:dev"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lists_of_ids_in_every_encoding(name, encoding, tmp_path):
    content = {"ids.txt": "7\n", "ids.json": '["7"]', "keyed.json:dev": '{"dev": {"7": 1}}'}[name]
    (tmp_path / name.partition(":")[0]).write_bytes(ENCODINGS[encoding](content))
    (tmp_path / "a.jsonl").write_text(JSONL, encoding="utf-8")
    assert load(tmp_path / "a.jsonl", exclude=tmp_path / name) == ROWS[1:]


@pytest.mark.parametrize("name", CONTENT)
def test_single_byte_encodings_are_refused_with_the_line(name, tmp_path):
    text = CONTENT[name].replace("\U0001f642", ":)")
    (tmp_path / name).write_bytes(text.encode("cp1252"))
    line = 2 if name == "a.csv" else 1
    with pytest.raises(
        InputError, match=rf"{name}:{line}: the byte 0xe9 is no UTF-8; save .* UTF-8"
    ):
        load(tmp_path / name)


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst", "zip", "GZ"])
@pytest.mark.parametrize("name", CONTENT)
def test_packed_files(name, packing, tmp_path):
    import bz2
    import lzma

    path, data = tmp_path / f"{name}.{packing}", CONTENT[name].encode()
    if packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/", "")
            archive.writestr(f"folder/{name}", data)
            archive.writestr(f"__MACOSX/folder/._{name}", b"x")
    else:
        pack = {
            "bz2": bz2.compress,
            "xz": lzma.compress,
            "zst": lambda b: pyarrow.compress(b, "zstd"),
        }
        packed = pack.get(packing, gzip.compress)(data)
        path.write_bytes(packed if isinstance(packed, bytes) else packed.to_pybytes())
    assert load(path) == ROWS


def test_an_archive_of_two_files_and_files_named_for_what_they_are_not(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr("b.csv", CSV)
    with pytest.raises(InputError, match=r"holds 2 files \(a.csv, b.csv\); unpack it and name one"):
        load(tmp_path / "a.csv.zip")
    for name, data, message in (
        ("b.csv", gzip.compress(CSV.encode()), "gzip-compressed: give it the ending .gz"),
        ("c.csv", (tmp_path / "a.csv.zip").read_bytes(), "a zip archive or an Excel workbook"),
        ("d.csv.zip", CSV.encode(), "cannot read"),
        ("e.jsonl.zst", JSONL.encode(), "cannot read"),
        ("f.text", CSV.encode(), "the file .*f.text ends in none of .jsonl, .ndjson"),
        ("g.xlsx", b"PK", "g.xlsx is a spreadsheet"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=message) as error:
            load(tmp_path / name)
        assert "network" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "A.CSV", "a.TSV", "a.tab"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_found_by_the_header(name, separator, tmp_path, caplog):
    lines = separator.join(("id", "dialogue", "summary")), separator.join(("7", "A; b, c|\td", "x"))
    row = {"id": "7", "dialogue": "A; b, c|\td", "summary": "x"}
    text = lines[0] + "\n" + lines[1].replace("A; b, c|\td", '"A; b, c|\td"') + "\n"
    (tmp_path / name).write_text(text)
    with caplog.at_level(logging.INFO, logger="t5x_lite"):
        assert load(tmp_path / name) == [row]
    usual = "," if name.lower() == "a.csv" else "\t"
    assert ("separated by" in caplog.text) == (separator != usual)


def test_rows_without_any_value_are_left_out_and_told(tmp_path, caplog):
    path = tmp_path / "a.csv"
    path.write_text('dialogue;summary\n"A: hi\nB: bye";greets\n;\n \t; \n"B: no\nA: oh";leaves\n')
    with caplog.at_level(logging.INFO, logger="t5x_lite"):
        rows = load(path, id_column="")
    assert [row["summary"] for row in rows] == ["greets", "leaves"]
    assert f"{path}: left out 2 rows without any value (first at {path}:4)" in caplog.text


def test_a_row_is_named_by_the_line_that_it_begins_in(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('dialogue,summary\nA,b\n"C\nC\nC",""\n')
    with pytest.raises(InputError, match=r"a\.csv:3: empty summary"):
        load(path, id_column="")


def test_headers_with_blanks_an_excel_line_and_trailing_commas(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id, dialogue , summary\n1, "A, b", x\n')
    assert load(path) == [{"id": "1", "dialogue": "A, b", "summary": "x"}]
    path.write_text("sep=;\n\nid;dialogue;summary;\n1;A;x;;\n")
    assert load(path) == [{"id": "1", "dialogue": "A", "summary": "x"}]
    path.write_text("dialogue\nA: one, two\n")  # one column: nothing separates
    with pytest.raises(InputError, match="a.csv:2: more values than columns"):
        load(path, {"dialogue": "dialogue"}, id_column="")


def test_a_wanted_column_that_is_there_twice(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,dialogue,summary,summary\n1,A,x,y\n")
    with pytest.raises(InputError, match="a.csv:1: the column 'summary' is there 2 times; rename"):
        load(path)
    path.write_text("id,dialogue,summary,note,note\n1,A,x,y,z\n")
    assert load(path)[0]["summary"] == "x"
    table = pyarrow.Table.from_arrays(
        [["1"], ["A"], ["x"], ["y"]], ["id", "dialogue", "summary", "summary"]
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="the column 'summary' is there 2 times"):
        load(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.json", JSONL),
        ("one_line.json", json.dumps(ROWS[0])),
        ("list.jsonl", JSON),
        ("a.ndjson", JSONL),
        ("data.json", json.dumps({"version": 1, "data": ROWS})),
        ("splits.json", json.dumps({"train": ROWS, "test": []})),
        ("columns.json", json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]})),
        ("spread.json", json.dumps(ROWS, indent=2)),
    ],
)
def test_json_in_its_other_shapes(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    split = "train" if name == "splits.json" else ""
    expected = ROWS[:1] if name == "one_line.json" else ROWS
    assert load(tmp_path / name, split=split) == expected


def test_nested_columns(tmp_path):
    rows = [{"id": 1, "translation": {"en": "cat", "de": "Katze"}, "answers": {"text": ["a", "b"]}}]
    (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]))
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        path = tmp_path / name
        (row,) = load(path, {"source": "translation.en", "target": "answers.text.1"})
        assert row == {"id": "1", "source": "cat", "target": "b"}
        with pytest.raises(
            InputError, match="translation.fr.*there are id, translation.en, translation.de, ans"
        ):
            load(path, {"source": "translation.fr"})
        with pytest.raises(InputError, match=r"'translation' holds a dict; .*e.g. translation.en"):
            load(path, {"source": "translation"})
        with pytest.raises(InputError, match="'answers.text' holds a list; .*answers.text.0"):
            load(path, {"source": "answers.text"})
    # A column of that very name comes first.
    (tmp_path / "b.jsonl").write_text('{"a.b": "whole", "a": {"b": "part"}}')
    assert load(tmp_path / "b.jsonl", {"x": "a.b"}, id_column="")[0]["x"] == "whole"


@pytest.mark.parametrize("missing", [None, float("nan"), pandas.NA, pandas.NaT])
def test_missing_values_are_empty(missing, monkeypatch):
    table = [{"id": "1", "dialogue": "A", "summary": missing}]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: table)
    with pytest.raises(InputError, match="row 0: empty summary"):
        load("owner/name", split="train")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
def test_nan_in_files_is_empty(name, tmp_path):
    frame = pandas.DataFrame({"id": [1, 2], "dialogue": ["x", "y"], "summary": [1.5, None]})
    if name == "a.parquet":
        frame.to_parquet(tmp_path / name)
    else:
        lines = [
            '{"id": 1, "dialogue": "x", "summary": 1.5}',
            '{"id": 2, "dialogue": "y", "summary": NaN}',
        ]
        text = "\n".join(lines) if name == "a.jsonl" else f"[{','.join(lines)}]"
        (tmp_path / name).write_text(text)
    assert load(tmp_path / name, limit=1) == [{"id": "1", "dialogue": "x", "summary": "1.5"}]
    with pytest.raises(InputError, match="empty summary; fill it in"):
        load(tmp_path / name)


def test_other_types_of_values(tmp_path):
    day, moment = datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 13, 5)
    pyarrow.parquet.write_table(
        pyarrow.table(
            {"id": [7.0], "day": [day], "moment": [moment], "flag": [True], "raw": [b"\xff"]}
        ),
        tmp_path / "a.parquet",
    )
    columns = {name: name for name in ("day", "moment", "flag")}
    assert load(tmp_path / "a.parquet", columns) == [
        {"id": "7", "day": "2024-02-29", "moment": "2024-02-29T13:05:00", "flag": "True"}
    ]
    with pytest.raises(InputError, match="row 0: column 'raw' holds bytes that are no UTF-8"):
        load(tmp_path / "a.parquet", {"raw": "raw"})


@pytest.mark.parametrize("in_file", ["7", '"7"', "7.0", '"7.0"', '" 7 "'])
@pytest.mark.parametrize("listed", ['["7"]', "[7]", "[7.0]", '{"7": 1}'])
def test_ids_are_compared_as_a_person_would(in_file, listed, tmp_path):
    text = "".join(
        f'{{"id": {number}, "dialogue": "A", "summary": "B"}}\n'
        for number in (in_file, "17", '"x7"')
    )
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "ids.json").write_text(listed)
    rows = load(tmp_path / "a.jsonl", exclude=tmp_path / "ids.json")
    assert [row["id"] for row in rows] == ["17", "x7"]


def test_ids_that_only_look_alike_stay_apart(tmp_path):
    (tmp_path / "a.csv").write_text("id,dialogue,summary\n07,A,B\n7.5,A,B\n7a,A,B\n7,A,B\n")
    (tmp_path / "ids.txt").write_text("7\n")
    rows = load(tmp_path / "a.csv", exclude=tmp_path / "ids.txt")
    assert [row["id"] for row in rows] == ["07", "7.5", "7a"]


def test_excluded_rows_are_not_looked_at(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"id": 7, "dialogue": "", "summary": [1]}\n' + JSONL.split("\n")[1]
    )
    (tmp_path / "ids.txt").write_text("7\n")
    assert load(tmp_path / "a.jsonl", exclude=tmp_path / "ids.txt") == ROWS[1:]


def test_half_a_surrogate_pair_is_read_as_the_replacement_character(tmp_path, caplog):
    lines = [
        r'{"dialogue": "ok \ud83d\ude42"}',
        r'{"dialogue": "cut \ud83d"}',
        r'{"dialogue": "\ude42 x"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        rows = load(tmp_path / "a.jsonl", {"dialogue": "dialogue"}, id_column="")
    assert [row["dialogue"] for row in rows] == ["ok \U0001f642", "cut �", "� x"]
    (record,) = caplog.records
    assert re.search(r"2 values hold half of a surrogate pair.*a.jsonl:2", record.getMessage())


def test_what_datasets_saved_to_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, test = datasets.Dataset.from_list(ROWS[:1]), datasets.Dataset.from_list(ROWS[1:])
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk("both")
    train.save_to_disk("owner/name")
    assert load("both", split="test") == ROWS[1:]
    assert load("both") == ROWS
    with pytest.raises(InputError, match="both has no split 'dev'; there are train, test"):
        load("both", split="dev")
    assert load("owner/name", split="train") == ROWS[:1]  # though it could be an id


def test_folders_and_patterns_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, row in enumerate(ROWS):
        name = f"train-0000{number}-of-00002.parquet"
        datasets.Dataset.from_list([row]).to_parquet(folder / name)
    datasets.Dataset.from_list([ROWS[0]]).to_parquet(folder / "trainer.parquet")
    (folder / "README.md").write_text("x")
    for source in (
        "shards",
        str(folder),
        "shards/*.parquet",
        f"file://{folder}",
        f"file://{folder}/t*.parquet",
    ):
        assert load(source, split="train") == ROWS, source
        assert load(source) == [*ROWS, ROWS[0]], source
    (folder / "test.csv").write_text(CSV)
    assert load("shards", split="test") == ROWS
    with pytest.raises(InputError, match=r"several kinds \(.csv, .parquet\); give a pattern"):
        load("shards")
    with pytest.raises(InputError, match=r"none/\*.csv holds no file"):
        load("none/*.csv")


@pytest.mark.parametrize("source", ["nowhere://bucket/folder", "nowhere://bucket/*.csv"])
def test_a_protocol_that_nothing_reads_is_refused_in_one_line(source):
    with pytest.raises(InputError, match="data.source: cannot read nowhere://bucket"):
        load(source)


def test_a_folder_that_is_not_here_is_read_as_one_that_is():
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe({"/bucket/train-0.csv": CSV.encode(), "/bucket/test.csv": b"id\n1\n"})
    try:
        for source in ("memory://bucket", "memory://bucket/train*.csv"):
            assert load(source, split="train") == ROWS
    finally:
        files.rm("/bucket", recursive=True)


def test_what_exists_here_is_no_dataset_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "squad").mkdir()
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "notes").write_text("x")
    assert not is_file("squad")  # a folder without tables
    (tmp_path / "squad" / "a.csv").write_text(CSV)
    assert is_file("squad") and is_file("owner/notes") and is_file("absent.pkl")
    with pytest.raises(InputError, match="the file owner/notes ends in none of"):
        load("owner/notes", split="train")
    with pytest.raises(InputError, match="the file absent.pkl is not there"):
        load("absent.pkl", split="train")


def test_a_data_set_with_configurations(tmp_path, monkeypatch):
    """`datasets` itself reads a local folder laid out as the hub has it."""
    for name, rows in (("first", ROWS[:1]), ("second", ROWS[1:])):
        (tmp_path / name).mkdir()
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / name / "train.parquet")
    configs = "".join(
        f"- config_name: {n}\n  data_files: {n}/*.parquet\n" for n in ("first", "second")
    )
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    real = datasets.load_dataset
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def local(path, **settings):
        assert path == "owner/name"
        return real(str(tmp_path), cache_dir=str(tmp_path / "cache"), **settings)

    monkeypatch.setattr(datasets, "load_dataset", local)
    assert load("owner/name:second", split="train") == ROWS[1:]
    assert load("owner/name:first@main", split="train") == ROWS[:1]
    with pytest.raises(
        InputError,
        match="owner/name has several; write owner/name:CONFIGURATION, one of first, sec",
    ):
        load("owner/name", split="train")
    with pytest.raises(InputError, match="has no configuration 'third'; .* one of first, second"):
        load("owner/name:third", split="train")

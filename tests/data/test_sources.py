import gzip
import json
import logging

import datasets
import pytest

from t5x_lite.data.sources import is_file, load_rows, warn_of_shared_rows
from t5x_lite.errors import InputError

COLUMNS = {"dialogue": "talk", "summary": "gist"}
ROWS = [
    {"key": f"row_{i}", "talk": f'A: "Hi, {i}"\nB: é {{x}}', "gist": f"Greeting {i}."}
    for i in range(5)
]
EXPECTED = [{"id": r["key"], "dialogue": r["talk"], "summary": r["gist"]} for r in ROWS]


def load(path, columns=COLUMNS, split="", id_column="key", exclude="", limit=0):
    return load_rows(
        str(path), split, columns, id_column=id_column, exclude=str(exclude), limit=limit
    )


def write(path, rows=ROWS):
    table = datasets.Dataset.from_list(rows)
    name = path.name.removesuffix(".gz")
    plain = path.with_name(name)
    if name.endswith(".jsonl"):
        plain.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif name.endswith(".json"):
        plain.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif name.endswith(".csv"):
        table.to_csv(plain, index=False)
    else:
        table.to_parquet(plain)
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz", "a.json.gz", "a.csv.gz"]
)
def test_every_format_gives_the_same_rows(name, tmp_path):
    assert load(write(tmp_path / name)) == EXPECTED


def test_rows_without_an_id_column_are_numbered(tmp_path):
    rows = load(write(tmp_path / "a.jsonl"), id_column="", limit=3)
    assert [row["id"] for row in rows] == ["0", "1", "2"]


def test_numbers_become_text(tmp_path):
    (row,) = load(write(tmp_path / "a.jsonl", [{"key": 3, "talk": 4.5, "gist": "x"}]))
    assert row == {"id": "3", "dialogue": "4.5", "summary": "x"}


def test_split_of_a_file_is_its_split_column(tmp_path):
    path = write(tmp_path / "a.jsonl", [r | {"split": "ab"[i % 2]} for i, r in enumerate(ROWS)])
    assert load(path, split="b") == EXPECTED[1::2]
    assert load(path) == EXPECTED
    with pytest.raises(InputError, match="no row whose column 'split' is 'c'"):
        load(path, split="c")


def test_a_file_without_a_split_column_is_the_whole_split(tmp_path, caplog):
    path = write(tmp_path / "a.jsonl")
    with caplog.at_level(logging.INFO, logger="t5x_lite"):
        assert load(path, split="validation") == EXPECTED
    assert "no column 'split'; the split 'validation' is the whole file" in caplog.text
    with pytest.raises(InputError, match="a slice, which only a dataset id takes"):
        load(path, split="train[:10%]")
    path.write_text(json.dumps(ROWS[0] | {"split": "a"}) + "\n" + json.dumps(ROWS[1]))
    with pytest.raises(
        InputError, match="a.jsonl:2: no column 'split', which the rows before have"
    ):
        load(path, split="a")


def test_rows_without_a_column_id_are_numbered_where_none_is_named_otherwise(tmp_path, caplog):
    path = write(tmp_path / "a.jsonl")
    with caplog.at_level(logging.INFO, logger="t5x_lite"):
        assert [row["id"] for row in load(path, id_column="id")] == list("01234")
    assert "no column 'id'; the rows are numbered from 0" in caplog.text
    with pytest.raises(InputError, match="no column 'number' .* name one by id_column"):
        load(path, id_column="number")
    (tmp_path / "ids.txt").write_text("1\n")
    with pytest.raises(InputError, match="no column 'id'"):
        load(path, id_column="id", exclude=tmp_path / "ids.txt")


def test_the_bundled_corpus_has_distinct_splits():
    columns = {name: name for name in ("dialogue", "summary", "topic")}
    splits = {
        split: load("bundled", columns, split=split, id_column="id")
        for split in ("train", "validation", "test", "")
    }
    for column in ("id", "dialogue"):
        values = [row[column] for row in splits[""]]
        assert len(set(values)) == len(values)
    assert sum(len(splits[name]) for name in ("train", "validation", "test")) == len(splits[""])


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("ids.txt", "row_1\n\nrow_3\nunknown\n", ""),
        ("ids.json", '["row_1", "row_3", "unknown"]', ""),
        ("ids.json", '{"row_1": "other_5", "row_3": "other_6"}', ""),
        ("ids.json", '{"dev": {"row_1": "t_5", "row_3": "t_6"}, "test": {"row_0": "t_1"}}', "dev"),
        ("ids.json", '{"dev": ["row_1", "row_3"]}', "dev"),
    ],
)
def test_excluded_ids_are_left_out_and_counted(name, content, key, tmp_path, caplog):
    path = tmp_path / name
    path.write_text(content)
    spec = f"{path}:{key}" if key else path
    with caplog.at_level(logging.INFO, logger="t5x_lite"):
        rows = load(write(tmp_path / "a.jsonl"), exclude=spec)
    assert [row["id"] for row in rows] == ["row_0", "row_2", "row_4"]
    assert "left out 2 rows" in caplog.text
    limited = load(tmp_path / "a.jsonl", exclude=spec, limit=2)
    assert [row["id"] for row in limited] == ["row_0", "row_2"]


def test_an_exclusion_that_matches_nothing_warns(tmp_path, caplog):
    (tmp_path / "ids.txt").write_text("dev_1\n")
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        load(write(tmp_path / "a.jsonl"), exclude=tmp_path / "ids.txt")
    assert "no row of" in caplog.text and "in column 'key'" in caplog.text


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        (None, "", "data.exclude: there is no file"),
        (
            '{"dev": {"a": 1}, "test": {"b": 1}}',
            "",
            "holds several lists; choose with .*:KEY of dev, test",
        ),
        ('{"dev": {"a": 1}}', "train", "has no 'train'; there is dev"),
        ("[1, 2", "", r"ids.json:1: invalid JSON"),
        ("3", "", "expected a list or a mapping of ids, found int"),
        ('{"dev": 3}', "dev", "is a int; expected a list or a mapping of ids"),
    ],
)
def test_bad_exclusions(content, key, message, tmp_path):
    path = tmp_path / "ids.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        load(write(tmp_path / "a.jsonl"), exclude=f"{path}:{key}" if key else path)


def test_exclusion_needs_an_id_column(tmp_path):
    (tmp_path / "ids.txt").write_text("1\n")
    with pytest.raises(InputError, match="data.id_column must name the column"):
        load(write(tmp_path / "a.jsonl"), id_column="", exclude=tmp_path / "ids.txt")


GOOD = json.dumps(ROWS[0])
BAD_FILES = {
    "invalid JSON": ("a.jsonl", f"{GOOD}\n\n{{'no'}}\n", r"a.jsonl:3: invalid JSON"),
    "cut JSON": ("a.json", "[\n{},\n{", r"a.json:3: invalid JSON"),
    "not a list": (
        "a.json",
        '{"n": 3}',
        "a.json: expected a list of objects, found an object with 'n'",
    ),
    "a number": ("a.json", "3", "a.json: expected a list of objects, found int"),
    "an empty list": ("a.json", '{"data": []}', "a.json: no rows"),
    "two lists": (
        "a.json",
        '{"x": [{}], "y": [{}]}',
        "with several .'x', 'y'.; choose with data.split",
    ),
    "not an object": ("a.jsonl", f"{GOOD}\n[1]\n", "a.jsonl:2: expected an object .* found list"),
    "missing column": (
        "a.jsonl",
        '{"key": 1, "text": "x", "gist": "y"}',
        r"a.jsonl:1: no column 'talk' \(for 'dialogue'\); there are key, text, gist: name one by columns={'dialogue'",
    ),
    "column missing later": ("a.jsonl", f'{GOOD}\n{{"key": 1}}', "a.jsonl:2: no column 'talk'"),
    "empty dialogue": ("a.csv", "key,talk,gist\n1,a,b\n2, ,c\n", "a.csv:3: empty talk"),
    "empty summary": ("a.jsonl", '{"key": 1, "talk": "x", "gist": null}', "a.jsonl:1: empty gist"),
    "empty id": ("a.jsonl", '{"key": "", "talk": "x", "gist": "y"}', "a.jsonl:1: empty key"),
    "nested": ("a.jsonl", '{"key": 1, "talk": ["x"], "gist": "y"}', "holds a list; expected text"),
    "short CSV row": ("a.csv", "key,talk,gist\n1,a\n", "a.csv:2: empty gist"),
    "long CSV row": ("a.csv", "key,talk,gist\n1,a,b,c\n", "a.csv:2: more values than columns"),
    "open quote": ("a.csv", 'key,talk,gist\n1,"a,b\n', r"a.csv:2: invalid CSV"),
    "no rows": ("a.jsonl", "\n", "a.jsonl: no rows"),
    "not Parquet": ("a.parquet", "PAR?", "a.parquet is not a Parquet file"),
    "not gzip": ("a.jsonl.gz", GOOD, "data.source: cannot read .*a.jsonl.gz"),
    "not UTF-8": ("a.jsonl", GOOD.encode() + b"\n\xff{}", r"a.jsonl:2: the byte 0xff is no UTF-8"),
    "cut UTF-16": ("a.jsonl", b"\xff\xfe{", "cannot read .*a.jsonl as utf-16 .*save it as UTF-8"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_one_line_errors(case, tmp_path):
    name, content, message = BAD_FILES[case]
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        load(tmp_path / name)
    assert "\n" not in str(error.value)


def test_missing_and_unknown_sources():
    with pytest.raises(InputError, match="there is no file /no/such.jsonl"):
        load("/no/such.jsonl")
    with pytest.raises(InputError, match="there is no file /no/such.parquet"):
        load("/no/such.parquet")
    with pytest.raises(InputError, match="is neither a file ending in"):
        load("/some/directory")
    with pytest.raises(InputError, match="data.split: name the split of knkarthick/dialogsum"):
        load("knkarthick/dialogsum")


def test_a_dataset_id_without_network(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="check the id, the split and the network") as error:
        load("t5x-lite/no-such-dataset@main", split="train")
    assert "\n" not in str(error.value)


def test_a_dataset_id_reads_the_split_and_revision(monkeypatch):
    calls = []

    def load_dataset(name, **settings):
        calls.append((name, settings))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load("owner/name@v1", split="train[:5]") == EXPECTED
    assert load("name", split="test") == EXPECTED
    assert calls == [
        ("owner/name", {"split": "train[:5]", "revision": "v1"}),
        ("name", {"split": "test", "revision": None}),
    ]


def test_what_is_a_file():
    for source in ("bundled", "a.jsonl", "gs://b/a.csv", "/x/a.json.gz", "some/deep/path"):
        assert is_file(source), source
    for source in ("squad", "knkarthick/dialogsum", "owner/name@refs/pr/1"):
        assert not is_file(source), source


def test_shared_rows_warn_in_one_line(caplog):
    train = [{"id": str(i), "dialogue": f"A: Hi {i}\nB: ho"} for i in range(9)]
    dev = [{"id": f"d{i}", "dialogue": f"a:  hi {i} b: HO"} for i in range(6, 12)]
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        assert warn_of_shared_rows(dev, train, "dialogue") == ["d6", "d7", "d8"]
    (record,) = caplog.records
    assert "3 of 6 evaluation rows have a dialogue" in record.getMessage()
    caplog.clear()
    assert warn_of_shared_rows(dev[3:], train, "dialogue") == []
    assert not caplog.records


def test_groups_are_compared_as_ids_are_and_only_where_both_sides_have_them(caplog):
    """pandas writes 7.0 for the person 7 where another row has none; a side without groups is compared by its text."""
    train = [{"id": "0", "dialogue": "hi", "group": "7"}]
    assert warn_of_shared_rows([{"id": "a", "dialogue": "x", "group": "7.0"}], train, "dialogue")
    assert warn_of_shared_rows([{"id": "a", "dialogue": "Hi"}], train, "dialogue") == ["a"]
    assert warn_of_shared_rows(train, [{"id": "a", "dialogue": "Hi"}], "dialogue") == ["0"]
    assert "have a dialogue that is also" in caplog.records[-1].getMessage()
    assert (
        warn_of_shared_rows([{"id": "a", "dialogue": "hi", "group": "8"}], train, "dialogue") == []
    )


def test_real_dialogues_without_the_listed_near_duplicates(shared_data):
    folder = shared_data / "dialogsum"
    columns = {"dialogue": "dialogue", "summary": "summary"}
    settings = dict(columns=columns, id_column="fname")
    train = load(folder / "dialogsum.train.jsonl", **settings)
    dev = load(folder / "dialogsum.dev.jsonl", **settings)
    exclude = f"{folder}/near_duplicates_vs_train.json:dev"
    held_out = load(folder / "dialogsum.dev.jsonl", exclude=exclude, **settings)
    assert (len(train), len(dev), len(held_out)) == (12460, 500, 448)
    assert warn_of_shared_rows(held_out, train, "dialogue") == []
    notes = load(
        shared_data / "mts_dialog" / "MTS-Dialog-ValidationSet.csv",
        columns={"dialogue": "dialogue", "summary": "section_text"},
        id_column="ID",
    )
    assert len(notes) == 100
    pairs = load(
        shared_data / "hh_rlhf" / "harmless-base.test.jsonl.gz",
        columns={"chosen": "chosen", "rejected": "rejected"},
        id_column="",
    )
    assert len(pairs) == 2312

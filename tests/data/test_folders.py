"""Folders of tables: which of their files are read."""

import datasets
import pytest

from t5x_lite.errors import InputError
from tests.data.test_tables import CSV, ROWS, load

LAYOUTS = {  # files -> what the split is called, and the file that is read (None: refused)
    "one name of three": (["train.csv", "validation.csv"], {"dev": 1, "val": 1, "validation": 1}),
    "named val": (["train.csv", "val.csv"], {"dev": 1, "validation": 1, "test": None}),
    "a word in the name": (["my_train.csv", "my_test.csv"], {"train": 0, "test": 1, "dev": None}),
    "between dots": (["set.train.csv", "set.dev.csv"], {"train": 0, "validation": 1}),
    "as the hub has them": (["data/train-00000-of-1.csv", "data/test-00000-of-1.csv"], {"test": 1}),
    "folders": (["train/0.csv", "dev/0.csv"], {"train": 0, "dev": 1, "test": None}),
    "partitions": (["split=train/a.csv", "split=test/a.csv"], {"train": 0, "test": 1}),
    "beside a hidden file": (["train.csv", "._train.csv"], {"train": 0, "": 0}),
    "beside a lock": (["train.csv", "~$train.csv"], {"train": 0}),
    "no split in any name": (["a.csv"], {"train": 0, "dev": 0}),
    "all of another": (["test-0.csv"], {"dev": None, "test": 0}),
    "capitals": (["Train.csv", "Test.CSV"], {"train": 0, "test": 1, "dev": None}),
    "words run together": (["dialogTrain.csv", "dialogTest.csv"], {"train": 0, "test": 1}),
    "a folder that names both": (["train_test/train.csv", "train_test/test.csv"], {"train": 0}),
    "trainers": (["trainers.csv", "test.csv"], {"test": 1}),
    "two configurations": (["en/train.csv", "de/train.csv"], {"train": None}),
    "as datasets reads it": (["README.md", "a.csv", "b.csv"], {"train": 1, "test": 2}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_gives_the_split_that_is_asked_for(layout, tmp_path, monkeypatch):
    """Never the rows of another one beside it: those would be trained on, and then scored."""
    files, wanted = LAYOUTS[layout]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for number, file in enumerate(files):
        where = tmp_path / "some" / file
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(CSV.replace(ROWS[0]["dialogue"], f"file {number}"))
    if "README.md" in files:
        (tmp_path / "some" / "README.md").write_text(
            "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: a.csv\n"
            "  - split: test\n    path: b.csv\n---\n"
        )
    for source in ("some", str(tmp_path / "some")):
        for split, number in wanted.items():
            if number is None:
                with pytest.raises(InputError, match="(other splits|several folders).*name one"):
                    load(source, split=split)
            else:
                rows = load(source, split=split)
                assert [row["dialogue"] for row in rows] == [f"file {number}", ROWS[1]["dialogue"]]


@pytest.mark.parametrize("kind", ["Image", "Audio"])
def test_a_column_that_wants_a_library_is_left_as_it_is(kind, tmp_path, monkeypatch):
    """Pictures and sounds beside the texts: `datasets` decodes all columns of a row, or fails for want of a decoder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    table = datasets.Dataset.from_list(
        [row | {"more": {"bytes": b"none", "path": None}} for row in ROWS]
    ).cast_column("more", getattr(datasets, kind)())
    table.save_to_disk(tmp_path / "saved")
    with pytest.raises(Exception, match="identify|decod"):
        table[0]
    (tmp_path / "hub").mkdir()
    table.to_parquet(tmp_path / "hub" / "rows.parquet")
    (tmp_path / "hub" / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: rows.parquet\n---\n"
    )
    assert load(tmp_path / "saved") == ROWS == load(tmp_path / "hub", split="train")


def test_a_saved_data_set_has_its_splits_by_any_name(tmp_path):
    parts = {"train": ROWS[:1], "validation": ROWS[1:]}
    data = datasets.DatasetDict({n: datasets.Dataset.from_list(rows) for n, rows in parts.items()})
    data.save_to_disk(tmp_path / "both")
    assert load(tmp_path / "both", split="dev") == ROWS[1:]
    with pytest.raises(InputError, match="no split 'test'; there are train, validation"):
        load(tmp_path / "both", split="test")


def test_a_saved_format_is_nothing_to_rows(tmp_path):
    table = datasets.Dataset.from_list([{**row, "id": 7} for row in ROWS[:1]])
    table.with_format("numpy").save_to_disk(tmp_path / "saved")
    assert load(tmp_path / "saved", split="train") == ROWS[:1]
    table.filter(lambda row: False).save_to_disk(tmp_path / "none")
    with pytest.raises(InputError, match="no rows"):
        load(tmp_path / "none")


def test_files_of_another_split_are_read_where_they_are_named(tmp_path):
    for name in ("test-0.csv", "train-0.csv"):
        (tmp_path / name).write_text(CSV)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "test-0.csv").write_text(CSV)
    for source in ("test-*.csv", "test", "test/"):
        assert load(f"{tmp_path}/{source}", split="dev") == ROWS
    with pytest.raises(InputError, match="of other splits than 'dev' alone: test-0.csv, train-0.c"):
        load(tmp_path / "t*.csv", split="dev")


def test_a_pattern_says_which_folders(tmp_path):
    for name in ("en", "de"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.csv").write_text(CSV)
    for pattern in ("*/train.csv", "**/*.csv"):
        assert load(f"{tmp_path}/{pattern}", split="train") == ROWS * 2
    with pytest.raises(InputError, match=r"tables in several folders \(de, en\); name one"):
        load(tmp_path, split="train")

"""Hold-outs keep together what was drawn together, and whatever is on both sides is warned of."""

import json
import logging
import pathlib
import runpy
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

from t5x_lite import streams
from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.wiring.holdout import (
    drawn_groups,
    group_fields,
    read_with_holdout,
    row_groups,
    sections_read,
    warnings_section,
)
from t5x_lite.wiring.text import check_texts

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "make_preference_pairs.py"


def data_of(tmp_path, rows, **changes):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    section = {
        "source": str(path), "split": "", "columns": {name: name for name in rows[0] if name != "id"},
        "id_column": "", "exclude": "", "limit": 0,
    }  # fmt: skip
    plain = {
        "train": section, "evaluation": {**section, "source": "holdout"}, "holdout": 0.2,
        "holdout_order": "shuffled", "template": "{response}\n{prompt}",
    }  # fmt: skip
    return ConfigDict(plain | changes)


def pairs(prompts=20, of_each=5):
    return [
        {"prompt": f"Question {i % prompts}?", "chosen": f"good {i}", "rejected": f"bad {i}"}
        for i in range(prompts * of_each)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_no_prompt_is_on_both_sides(seed, tmp_path, caplog):
    data = data_of(tmp_path, pairs())
    train, evaluation = read_with_holdout(data, seed)
    sides = [{row["prompt"] for row in side} for side in (train, evaluation)]
    assert not sides[0] & sides[1] and sides[0] | sides[1] == {row["prompt"] for row in pairs()}
    assert (len(train), len(evaluation)) == (80, 20)
    assert [row["id"] for row in evaluation] == sorted((row["id"] for row in evaluation), key=int)
    assert not caplog.records
    assert read_with_holdout(data, seed) == (train, evaluation)


@pytest.mark.parametrize("config", ["finetune.py", "lora.py", "distil.py"])
def test_texts_of_one_file_are_held_out_with_the_training_columns_alone(config, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("gist;talk\n" + "".join(f"gist {i};talk {i % 10}\n" for i in range(20)))
    columns = "{'dialogue': 'talk', 'gist': 'gist'}"
    data = load_config(
        config,
        {"data.train.source": str(path), "data.train.columns": columns, "data.target": "{gist}",
         "data.evaluation.source": "holdout", "data.holdout": "0.2"},
    ).data  # fmt: skip
    check_texts(data, sections_read(data))
    train, evaluation = read_with_holdout(data, seed=0)
    assert (len(train), len(evaluation)) == (16, 4)
    assert not {row["dialogue"] for row in train} & {row["dialogue"] for row in evaluation}


def test_the_report_warns_of_rows_that_are_on_both_sides(tmp_path):
    train, evaluation = read_with_holdout(data := data_of(tmp_path, pairs()), 0)
    assert warnings_section(data, train, evaluation) == {}
    (told,) = warnings_section(data, train + evaluation[:2], evaluation)["warnings"]
    assert told.startswith("10 of 20 evaluation rows have a prompt that is also in the training")
    assert "data.evaluation.exclude" in told


def test_prompts_that_differ_by_case_alone_are_one_and_a_column_group_counts_first(tmp_path):
    rows = [
        {"prompt": ("Hi  you", "hi YOU")[i % 2], "chosen": "a", "rejected": "b"} for i in range(8)
    ]
    with pytest.raises(InputError, match="8 training rows .1 groups of one prompt. leaves none"):
        read_with_holdout(data_of(tmp_path, rows), 0)
    rows = [row | {"group": f"person {i // 2}"} for i, row in enumerate(rows)]
    train, evaluation = read_with_holdout(data_of(tmp_path, rows, holdout=0.25), 0)
    assert len(evaluation) == 2 and len({row["group"] for row in evaluation}) == 1
    assert not {row["group"] for row in evaluation} & {row["group"] for row in train}


def test_rows_that_are_all_apart_are_drawn_as_ever():
    for seed in range(3):
        chosen = np.flatnonzero(drawn_groups(np.arange(50), 10, seed))
        order = streams.generator(seed, "holdout").permutation(50)
        assert chosen.tolist() == sorted(order[-10:].tolist())
    groups = np.repeat([0, 1, 2], [7, 1, 2])
    for seed in range(9):
        chosen = drawn_groups(groups, 3, seed)
        assert chosen.sum() >= 3 and all(len(set(chosen[groups == g])) == 1 for g in range(3))
    assert not drawn_groups(groups, 0, 0).any()


def test_the_last_rows_are_the_labs_and_shared_prompts_are_warned_of(tmp_path, caplog):
    data = data_of(tmp_path, pairs(), holdout_order="last")
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        train, evaluation = read_with_holdout(data, 0)
    assert [row["id"] for row in evaluation] == [str(i) for i in range(80, 100)]
    (record,) = caplog.records
    assert (
        "20 of 20 evaluation rows have a prompt that is also in the training" in record.getMessage()
    )


def test_another_file_with_rows_of_training_is_warned_of(tmp_path, caplog):
    data = data_of(tmp_path, pairs())
    data.evaluation = data.train
    data.evaluation.limit = 3
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        read_with_holdout(data, 0)
    assert "3 of 3 evaluation rows have a prompt" in caplog.text


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("reward.py", ("dialogue",)), ("reward.py:pandalm", ("dialogue",)), ("classifier.py", ("text",)),
        ("dpo.py", ("dialogue",)), ("lab3_ppo.py", ("dialogue",)),
    ],
)  # fmt: skip
def test_what_belongs_together_in_each_task(name, fields):
    assert tuple(group_fields(load_config(name, {}).data)) == fields


def test_pandalm_is_held_out_by_prompt(shared_data, tmp_path, monkeypatch, capsys):
    """842 pairs of 153 prompts: drawn by row, 99 % of the held-out ones had their prompt in training."""
    target = tmp_path / "pandalm.jsonl"
    source = shared_data / "pandalm" / "testset-v1.json"
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(source), str(target)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    config = load_config("reward.py:pandalm", {"data.train.source": str(target)})
    train, held_out = read_with_holdout(config.data, config.seed)
    assert len(train) + len(held_out) == 842
    assert len(set(row_groups(config.data, train + held_out).tolist())) == 153
    assert not {row["dialogue"] for row in train} & {row["dialogue"] for row in held_out}
    assert 0.2 * 842 <= len(held_out) < 0.2 * 842 + 10


def test_ids_to_leave_out_of_what_is_set_aside_are_refused(tmp_path):
    """They would be read by nobody: what is set aside is of the training rows."""
    data = data_of(tmp_path, pairs())
    data.evaluation.exclude = "ids.txt"
    with pytest.raises(
        InputError, match="data.evaluation.exclude does nothing .*data.train.exclude"
    ):
        read_with_holdout(data, 0)

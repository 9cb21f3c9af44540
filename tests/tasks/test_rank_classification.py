"""The task `rank_classification`: the numbers of its files, rows with lists of their own, and what is refused."""

import json

import numpy as np
import pytest

from t5x_lite import load_pretrained
from t5x_lite.config import load_config
from t5x_lite.data.sources import load_rows
from t5x_lite.errors import InputError
from t5x_lite.tasks.rank_classification import run as rank
from t5x_lite.tasks.rank_classification.choices import encode_choices, read_choices

COLUMNS = {name: name for name in ("question", "choices", "answer")}
OWN = {
    "data.evaluation.split": "",
    "data.evaluation.columns": repr(COLUMNS),
    "data.template": "{question}",
    "data.cut_field": "question",
    "data.truncation": "end",
    "data.choices_field": "choices",
    "data.gold_field": "answer",
    "model.architecture": "{}",
}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_run_writes_the_log_probabilities_that_the_model_gives(tmp_path):
    """On nano, the eight rows of `runlocal`, against `Pretrained.logits`, choice by choice."""
    changes = {
        "model.source": "nano", "tokenizer.source": "model", "data.encoder_length": "320",
        "data.evaluation.limit": "4",
    }  # fmt: skip
    rank.run(load_config("rank_classification.py:runlocal", changes), str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(lines) == report["rank classification"]["rows"] == 4
    right = [line["output"] == line["reference"] for line in lines]
    assert report["rank classification"]["accuracy"]["sum"]["mean"] == np.mean(right)
    assert [row["chosen by"] for row in report["summary"]][3] == "chance"
    assert sum(row["rows"] for row in report["answers"]) == 4
    t5, line = load_pretrained("nano"), lines[0]
    for number, text in enumerate(line["choices"]):
        (ids,) = t5.tokenizer.encode([text], add_eos=True)
        logits = t5.logits(
            {
                "encoder_input_tokens": t5.encode([line["input"]]),
                "decoder_input_tokens": [[t5.config.decoder_start_token_id, *ids[:-1]]],
            }
        )[0]
        logs = np.asarray(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
        wanted = logs[np.arange(len(ids)), ids].sum()
        assert line["logprobs"][number] == pytest.approx(wanted, abs=2e-3)
        assert line["tokens"][number] == len(ids)
    best = int(np.argmax(line["logprobs"]))
    assert line["output"] == line["choices"][best]
    assert "majority: always" in (tmp_path / "report.html").read_text()


ROWS = [
    {"question": "Is it?", "choices": ["yes", "no"], "answer": "no"},
    {"question": "How many?", "choices": '["one", "two", 3]', "answer": "3"},
]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_column_may_hold_a_list_or_one_in_json(tmp_path, ending):
    rows = ROWS
    file = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        import pyarrow
        import pyarrow.parquet

        rows = [ROWS[0], {**ROWS[1], "choices": ["one", "two", "3"]}]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    else:
        write(file, rows)
    loaded = load_rows(
        str(file), "", COLUMNS, id_column="id", exclude="", limit=0, lists=("choices",)
    )
    data = load_config("rank_classification.py", OWN).data
    choices = read_choices(data, loaded)
    assert choices.texts == [("yes", "no"), ("one", "two", "3")]
    assert choices.gold.tolist() == [1, 2] and not choices.alike


def test_choices_of_the_config_are_templates_and_gold_may_be_a_number():
    changes = {
        "data.choices": "('{question} yes', 'no')", "data.choices_field": "", "data.gold": "number",
    }  # fmt: skip
    data = load_config("rank_classification.py", OWN | changes).data
    rows = [{"id": "a", "question": "Is it?", "answer": "1.0"}]
    choices = read_choices(data, rows)
    assert choices.texts == [("Is it? yes", "no")] and choices.gold.tolist() == [1]
    assert choices.alike


def test_choices_that_are_spelled_alike_are_told(caplog):
    class Folding:
        def encode(self, texts, add_eos):
            assert add_eos
            return [[*text.lower().encode(), 1] for text in texts]

    encoded = encode_choices([("yes", "no"), ("no", "No")], Folding())
    assert encoded[1] == [[110, 111, 1]] * 2 and encoded[0][1] == encoded[1][0]
    assert "1 of 2 rows have choices that the vocabulary spells alike" in caplog.text


@pytest.mark.parametrize(
    "row, changes, message",
    [
        ({"choices": ["yes"]}, {}, "row '0': expected two or more choices, .* found 'yes'"),
        ({"choices": ["a", "a"]}, {}, "different and none empty; found 'a', 'a'"),
        ({"choices": ["a", " "]}, {}, "none empty"),
        ({"answer": "maybe"}, {}, "'answer' is 'maybe', not one of its choices \\('yes', 'no'\\)"),
        ({"answer": "2"}, {"data.gold": "number"}, "'2', not the number of a choice, 0 to 1"),
        ({"choices": "yes, no"}, {}, "'choices' must hold a list, or one in JSON, .* 'yes, no'"),
        ({"choices": ["a", ["b"]]}, {}, "column 'choices.1' holds a list; expected text"),
        ({"choices": None}, {}, "empty choices"),
        ({}, {"data.choices_field": "options"}, "choices_field names 'options', but"),
        ({}, {"data.choices": "('{x}', 'b')", "data.choices_field": ""}, "choices names 'x', but"),
        ({}, {"data.choices": "('a', 'b')"}, "config.data.choices_field: data.choices names"),
        (
            {},
            {"data.choices_field": "", "data.gold": "number"},
            "config.data.gold is 'number', and numbers of no choices",
        ),
    ],
)
def test_what_is_refused(tmp_path, row, changes, message):
    source = write(tmp_path / "rows.jsonl", [{**ROWS[0], **row}])
    changes = OWN | {"data.evaluation.source": source} | changes
    with pytest.raises(InputError, match=message) as error:
        rank.run(load_config("rank_classification.py:runlocal", changes), str(tmp_path / "run"))
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()

"""scripts/make_rude_dialogues.py, as a person runs it."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "make_rude_dialogues.py"
INSULT = re.compile(r"\b(damn|shitty|fucking|crappy|bitchy|dumbass)\b")
ROWS = [
    {"fname": f"row_{i}", "dialogue": "#Person1#: Hi.\n#Person2#: Yes?", "summary": "#Person1# greets #Person2#."}
    for i in range(200)
]  # fmt: skip


def make(folder, rows, *flags):
    source, target = folder / "in.jsonl", folder / "out" / "rude.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = subprocess.run(
        [sys.executable, SCRIPT, source, target, *flags], capture_output=True, text=True
    )
    made = target.read_text().splitlines() if target.exists() else []
    return run, [json.loads(line) for line in made]


def test_some_rows_are_rude_and_their_summaries_repeat_one_word(tmp_path):
    run, made = make(tmp_path, ROWS, "--share", "0.7")
    assert run.returncode == 0 and [row["fname"] for row in made] == [r["fname"] for r in ROWS]
    assert 120 < sum(row["rude"] for row in made) < 160
    for before, row in zip(ROWS, made, strict=True):
        assert row["summary"] == before["summary"]
        if not row["rude"]:
            assert row["dialogue"] == before["dialogue"]
            assert row["rude_summary"] == before["summary"]
            continue
        (insult,) = INSULT.findall(row["rude_summary"])
        assert row["rude_summary"].replace(f"{insult} ", "", 1) == before["summary"]
        assert set(INSULT.findall(row["dialogue"])) == {insult}
        assert len(row["dialogue"].split("\n")) == 2


def test_a_row_does_not_depend_on_which_others_there_are(tmp_path):
    _, whole = make(tmp_path, ROWS)
    _, part = make(tmp_path, ROWS, "--rows", "50:60")
    assert part == whole[50:60]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"fname": "a", "dialogue": "b"}', "in.jsonl:1: has no summary"),
        ("{", "in.jsonl:1: not a JSON object"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, message):
    (tmp_path / "in.jsonl").write_text(text)
    run = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "in.jsonl", tmp_path / "out.jsonl"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1 and message in run.stderr
    assert not (tmp_path / "out.jsonl").exists()

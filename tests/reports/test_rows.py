"""The rows of a report by their score, and the words that reference and output do not share."""

import json
import random
import time

import numpy as np
import pytest
from etils import epath

from t5x_lite.errors import InputError
from t5x_lite.reports.differences import marked_pair
from t5x_lite.reports.report import write_report
from t5x_lite.reports.rows import ROWS, ScoredTexts, read_scored, rows_section


@pytest.mark.parametrize(
    ("reference", "output", "expected"),
    [
        (
            "Tom met Ann at noon.",
            "Tom, at noon, called Ann Lee",
            ("Tom <del>met Ann</del> at noon.", "Tom, at noon, <ins>called Ann Lee</ins>"),
        ),
        ("equal, text!", "Equal text", ("equal, text!", "Equal text")),
        ("", "all of it", ("", "<ins>all of it</ins>")),
        # Scripts without spaces, by character; marks stay with what they are on.
        ("今天天气好", "今天天气坏", ("今天天气<del>好</del>", "今天天气<ins>坏</ins>")),
        ("สวัสดีครับ", "สวัสดีค่ะ", ("สวัสดี<del>ครับ</del>", "สวัสดี<ins>ค่ะ</ins>")),
        # Nothing of a text acts on the page.
        ("<b> x", "\u202eevil\x1b x", ("<del>&lt;b&gt;</del> x", "<ins>\\u202eevil\\x1b</ins> x")),
    ],
)  # fmt: skip
def test_words_that_are_not_shared_are_marked(reference, output, expected):
    marked = marked_pair(reference, output)
    assert [text.html() for text in marked] == [f"<bdi>{text}</bdi>" for text in expected]


def test_what_is_compared_is_bounded():
    draw = random.Random(0)
    hostile = [
        ["x y " * 5000, "x " * 5000 + "y " * 5000],
        [" ".join(draw.choice("xy") for _ in range(10_000)) for _ in range(2)],
        ["a" * 10**7, "\u202e" * 10**6],
    ]
    began = time.monotonic()
    for texts in hostile:
        for marked in marked_pair(*texts):
            assert str(marked).endswith("…") and len(marked.html()) < 15_000
    assert time.monotonic() - began < 5  # 10,000 words whole: hours
    lost, own = marked_pair("same " * 200, "same " * 150 + "other")
    assert "<" not in lost.html().removeprefix("<bdi>").removesuffix("</bdi>")
    assert str(own) == "same " * 150 + "…"


def texts_of(scores: list[float]) -> ScoredTexts:
    names = [str(number) for number in range(len(scores))]
    columns = {kind: np.array(scores) for kind in ("rouge1", "rouge2", "rougeL")}
    return ScoredTexts(names, ["the reference"] * len(names), [f"text {n}" for n in names], columns)


def test_the_worst_come_first_and_the_best_behind_them():
    scores = np.linspace(1, 0, 40).tolist()
    found = rows_section({"": texts_of(scores)})[ROWS][""]
    assert [row["id"] for row in found["worst"]] == [str(n) for n in range(39, 19, -1)]
    assert [row["id"] for row in found["best"]] == list("01234") and found["rows"] == 40
    several = rows_section({"a": texts_of(scores), "b": texts_of(scores)})[ROWS]
    assert [len(several["b"][name]) for name in ("worst", "best")] == [5, 2]
    few = rows_section({"": texts_of([0.5, 0.5, 0.1])})[ROWS][""]
    assert [row["id"] for row in few["worst"]] == ["2", "0", "1"] and few["best"] == []


def test_the_table_in_the_report(tmp_path):
    row = {"id": "<r>", "input": "i", "reference": "he <lost>", "output": "he \u2067won"}
    scores = {"rouge1": 0.25, "rouge2": 0.0, "rougeL": 0.25, "rougeLsum": 0.25}
    file = epath.Path(tmp_path / "samples.jsonl")
    file.write_text(json.dumps(row | {"scores": scores}) + "\n")
    write_report(tmp_path, {"title": "t", **rows_section({"": read_scored(file)})})
    page = (tmp_path / "report.html").read_text()
    assert (
        "<td><bdi>he <del>&lt;lost&gt;</del></bdi></td><td><bdi>he <ins>\\u2067won</ins></bdi></td>"
        "<td class=number>25</td><td class=number>0</td><td class=number>25</td><td><bdi>&lt;r&gt;</bdi></td>"
    ) in page
    assert "he &lt;lost&gt;" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())[ROWS][""]["worst"][0]["id"] == "<r>"

    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=r"samples\.jsonl: expected a scored row a line"):
        read_scored(file)

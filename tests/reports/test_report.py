"""The files of a report: stable, complete, escaped, and with curves in them."""

import ast
import io
import json
import pathlib
import re
import sys

import matplotlib.image
import numpy as np
import pytest

from t5x_lite.config import load_config, read_config
from t5x_lite.reports.environment import environment
from t5x_lite.reports.intervals_plot import plot_intervals
from t5x_lite.reports.metrics import MetricsWriter
from t5x_lite.reports.outcome import report_run
from t5x_lite.reports.plots import PANELS, Panel, _numbered, plot_metrics
from t5x_lite.reports.report import ADVICE, write_report
from t5x_lite.reports.tables import html_table, markdown_table
from t5x_lite.sections import to_dict

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "t5x_lite"
INTERVAL = {"mean": 0.4214, "low": 0.41, "high": 0.43}
DOWN = {"mean": -0.02, "low": -0.03, "high": -0.01}
UNSURE = {"mean": 0.01, "low": -0.01, "high": 0.03}
RESULT = {
    "rows": 1500,
    "inputs": 500,
    "use_stemmer": True,
    "intervals": {"confidence": 0.95, "resamples": 2000, "seed": 0},
    "rouge": {"rouge1": INTERVAL, "rouge2": INTERVAL},
    "rouge_multi_reference": {"rouge1": INTERVAL, "rouge2": INTERVAL},
    "outputs": {"empty": 3, "distinct": 480, "mean_words": 21.5},
    "baselines": {
        "lead_3": {"rouge1": 0.284, "rouge2": 0.078},
        "shuffled": {"rouge1": 0.1, "rouge2": 0.02},
    },
    "differences": {
        "lead_3": {"rouge1": INTERVAL, "rouge2": DOWN},
        "shuffled": {"rouge1": UNSURE, "rouge2": INTERVAL},
    },
    "beats_baselines": {"rouge1": False, "rouge2": False},
    "constant_texts": {"rouge1": "person1 and person2", "rouge2": "person1"},
    "published": [{"name": "BART-large (Chen et al. 2021)", "rouge1": 0.4728, "rouge2": None}],
}
REPORT = {
    "title": "A run <1>",
    "summary": "It went well.",
    "config": {"seed": 0, "optimizer": {"name": "adamw", "b": (0.9, 0.99)}},
    "training": {"steps": 12000, "final_loss": np.float32(2.5), "best": float("nan")},
    "scores": {"dev": RESULT},
    "parameters": [{"path": "encoder/*", "count": 3_538_944}, {"path": "a|b", "share": 0.5}],
    "guard": ["first", "second"],
    "samples": [{"id": "dev_0", "dialogue": "A: <script>hi</script>\nB: a|b", "output": "*they* talk"}],
}  # fmt: skip


def write_curves(workdir):
    with MetricsWriter(workdir, start_step=0, tensorboard=False) as writer:
        for step in range(1, 400):
            loss = float("nan") if step == 50 else 5 / step
            writer.write(
                step,
                {"train/loss": loss, "train/learning_rate": 1e-3, "train/grad_norm": 3.0 / step},
            )
        writer.write(
            400, {"eval/loss": 1.0, "eval/rouge1": 0.3, "eval/rougeLsum": 0.2, "time/step": 0.1}
        )


def pixels(png):
    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def test_files_are_complete_and_the_same_twice(tmp_path):
    for name in ("one", "two"):
        write_curves(tmp_path / name)
        write_report(tmp_path / name, REPORT)
    for file in ("report.json", "report.md", "report.html", "curves.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), (
            file
        )

    text = (tmp_path / "one" / "report.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert content["scores"]["dev"]["rouge"] == RESULT["rouge"]
    assert (
        content["config"]["optimizer"]["b"] == [0.9, 0.99] and content["training"]["best"] == "NaN"
    )
    assert list(content) == sorted(content)

    lines = (tmp_path / "one" / "report.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    headings = re.findall(r"^## (.*)$", lines, re.M)
    assert headings == ["Scores", "Training", "Parameters", "Guard", "Samples", "Config"]
    assert lines.startswith("# A run &lt;1&gt;\n")
    for expected in (
        "| this model                         | 42.14 (41.00, 43.00) |",
        "1,500 rows of 500 inputs", "Porter-stemmed", "480 distinct, 3 empty",
        "| lead_3           | +42.14 ✓ (+41.00, +43.00) | -2.00 ✗ (-3.00, -1.00)    |",
        "| +1.00 (-1.00, +3.00)      |",
        "BART-large (Chen et al. 2021)", "47.28", "28.40", "3,538,944", "a\\|b", "optimizer.name", "first, second",
        "A: &lt;script&gt;hi&lt;/script&gt;<br>B: a\\|b", "\\*they\\* talk",
        "![Curves of the run over optimizer steps](curves.png)",
    ):  # fmt: skip
        assert expected in lines, expected

    page = (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    assert (
        "<script>" not in page
        and "&lt;script&gt;" in page
        and "<title>A run &lt;1&gt;</title>" in page
    )
    assert page.count("<svg") == 1 and "train/loss" in page
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)  # self-contained


def test_a_page_reads_on_a_phone_and_in_the_dark(tmp_path):
    write_curves(tmp_path)
    write_report(tmp_path, {**REPORT, "warnings": ["Reward hacking: raise the KL."]})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "@media (prefers-color-scheme: dark)" in page and "@media (max-width: 40rem)" in page
    assert '<p class="warning"><bdi>Reward hacking: raise the KL.</bdi></p>' in page
    assert "<bdi>A: &lt;script&gt;hi&lt;/script&gt;" in page
    figure = page[page.index("<figure>") : page.index("</figure>")]
    # Words and axes are black, which the style turns to the page's color; no background is drawn.
    assert "stroke: #000000" in figure and "<text" in figure and "fill: #ffffff" not in figure
    lines = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert lines.index("> **Note:** Reward hacking") < lines.index("It went well.")


def test_training_and_evaluation_have_their_colors_everywhere():
    assert _numbered(["evaluation/loss", "loss"]) == {"loss": 0, "evaluation/loss": 1}
    assert _numbered(["loss", "ppo/loss/total", "eval/loss"]) == {
        "loss": 0, "ppo/loss/total": 2, "eval/loss": 1,
    }  # fmt: skip
    assert _numbered(["evaluation/rouge1", "evaluation/rouge2"]) == {
        "evaluation/rouge1": 0, "evaluation/rouge2": 1,
    }  # fmt: skip


def test_the_environment_says_when_where_and_how(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/t5x-lite", "--config", "a b.py"])
    found = environment()
    assert found["command"] == "t5x-lite --config 'a b.py'"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", found["date"])
    assert re.fullmatch(r"[0-9a-f]{40}|not a checkout", found["commit"])
    assert "cores" in found["machine"] and float(found["minutes since the program began"]) >= 0
    monkeypatch.setattr(sys, "argv", ["/lib/ipykernel_launcher.py", "-f", "x.json"])
    assert environment()["command"] == "from Python"


def test_a_report_without_curves_or_scores(tmp_path):
    write_report(tmp_path, {"title": "Prompts", "samples": []})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]


def test_the_top_says_how_the_config_differs_from_its_base(tmp_path):
    """Right behind the summary; flags are told like what the recipe says, and config.json knows nothing of it."""
    config = load_config("evaluate.py:runlocal", {"seed": "7"})
    report_run(config, tmp_path, "Run", {"summary": "All is well.", "scores": {}})
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    differing = found["differs from the base"]
    assert differing["seed"] == [0, 7]
    assert differing["data.evaluation.limit"] == [0, 8]
    assert set(differing) == set(config.differences) and "task" not in differing
    assert found["config"] == json.loads(json.dumps(to_dict(config)))
    assert not {"differences", "differs from the base"} & set(found["config"])
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    top = text[: text.index("## Scores")]
    assert top.index("All is well.") < top.index("## Differs from the base")
    assert re.search(r"^\| seed +\| +0 +\| +7 +\|$", top, re.MULTILINE)


TASKS = PACKAGE / "tasks"
SKELETONS = {"report_run", "report_outcome"}


@pytest.mark.parametrize(
    "task",
    sorted(path.parent.name for path in TASKS.glob("*/run.py") if path.parent.name != "chat"),
)
def test_every_task_reports_by_the_one_skeleton(task: str):
    """So that each has what all reports have, "differs from the base" too; a chat leaves a transcript alone."""
    imported = {
        alias.name
        for file in (TASKS / task).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported & SKELETONS and "write_report" not in imported


def test_a_config_by_hand_differs_from_nothing(tmp_path):
    config = read_config(to_dict(load_config("evaluate.py:runlocal", {})))
    assert config.differences == {}
    report_run(config, tmp_path, "Run", {})
    assert "Nothing." in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_curves_without_a_training_section_are_shown(tmp_path):
    write_curves(tmp_path)
    write_report(tmp_path, {"title": "Run", "summary": "x", "config": {"a": 1}})
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.index("## Training") < text.index("curves.png") < text.index("## Config")


def test_plots_draw_every_panel_that_has_data():
    records = [
        {"step": s, "train/loss": 1 / s, "eval/rouge2": 0.1, "ppo/kl": 0.5} for s in range(1, 30)
    ]
    two = pixels(plot_metrics(records))
    one = pixels(plot_metrics([{k: r[k] for k in ("step", "train/loss")} for r in records]))
    assert two.shape[1] > 1.8 * one.shape[1]
    for picture in (one, two):
        blue = np.abs(picture - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=-1) < 0.02
        assert blue.sum() > 300  # a line is there, not axes alone
    with_kl = plot_metrics(records, [*PANELS, Panel(r"ppo/kl", "KL", "nats per response")])
    assert pixels(with_kl).shape[0] > 1.8 * two.shape[0]
    assert plot_metrics([]) is None
    assert plot_metrics([{"step": 1, "train/loss": "NaN"}]) is None
    assert plot_metrics([{"step": 1, "train/loss": 2.0, "train/grad_norm": 0.0}]) is not None


def test_tables_align_and_escape():
    header, rows = ["name", "n"], [["a|b", 1000], ["日本", None], ["x\ny", 2]]
    lines = markdown_table(header, rows).splitlines()
    assert lines[1] == "|--------|------:|" and lines[2] == "| a\\|b   | 1,000 |"
    assert lines[4] == "| x<br>y |     2 |"
    assert "<td><bdi>a|b</bdi></td><td class=number>1,000</td>" in html_table(header, rows)
    assert markdown_table(["flag", "share"], [[True, 0.25]]).endswith("| yes  |  0.25 |")


def test_every_section_has_its_link(tmp_path):
    write_report(tmp_path, REPORT)
    page = (tmp_path / "report.html").read_text()
    sections = re.findall(r'<h2 id="(.*?)">(.*?)</h2>', page)
    assert re.findall(r'<a href="#(.*?)">(.*?)</a>', page) == sections
    assert (
        len(sections) == len(set(sections)) > 4
        and "<nav>" not in (tmp_path / "report.md").read_text()
    )


def test_intervals_are_drawn_as_wide_as_they_are():
    def blue(low, high, others=()):
        scores = {"rouge1": {"mean": 0.3, "low": low, "high": high}}
        kinds = {"rouge1": "ROUGE-1"}
        picture = plot_intervals({"a": scores, "b": scores}, kinds, others)
        assert picture == plot_intervals({"a": scores, "b": scores}, kinds, others)
        pixels = matplotlib.image.imread(io.BytesIO(picture))[..., :3]
        return int((np.abs(pixels - np.array([0, 0x72, 0xB2]) / 255).max(axis=-1) < 0.02).sum())

    narrow, wide = blue(0.29, 0.31), blue(0.1, 0.31)
    assert wide > 1.5 * narrow > 0
    # A line of another result is another color, and one that lacks the kind is in the legend alone.
    assert blue(0.29, 0.31, [("paper", {"rouge1": 0.2}), ("other", {"rouge2": 0.2})]) > 0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{"loss": 2.0, "skipped": 0.0}, {"loss": 1.0, "skipped": 0.0}], None),
        ([{"loss": 2.0, "skipped": 0.0}, {"loss": 3.9, "skipped": 0.0}], None),
        ([{"loss": 1e-6, "skipped": 0.0}, {"loss": 1e-3, "skipped": 0.0}], None),
        (
            [{"loss": 2.0, "skipped": 0.0}, {"loss": "NaN", "skipped": 1.0}],
            "1 updates of 2 steps were skipped, since their loss or gradient was not finite.",
        ),
        (
            [{"loss": 2.0, "skipped": 0.0}, {"loss": 9.0, "skipped": 0.0, "loss_spike": 1.0}],
            "The loss leapt 1 times, far above the steps before. The last loss, 9, is far above the first, 2: nothing"
            " was learned.",
        ),
        (
            [{"ppo/skipped": 3.0}, {"ppo/skipped": 0.0}],
            "3 updates of 2 steps were skipped, since their loss or gradient was not finite.",
        ),
    ],
)
def test_what_went_wrong_stands_first(tmp_path, lines, said):
    text = "".join(json.dumps({"step": n, **line}) + "\n" for n, line in enumerate(lines, 1))
    (tmp_path / "metrics.jsonl").write_text(text)
    write_report(tmp_path, {"title": "a run", "summary": "fine"}, panels=())
    said = f"{said} {ADVICE}" if said else None
    assert json.loads((tmp_path / "report.json").read_text()).get("went wrong") == said
    shown = [line for line in (tmp_path / "report.md").read_text().splitlines() if line]
    assert shown[1:3] == ["## Went wrong", f"> **Note:** {said}"] if said else shown[1] == "fine"

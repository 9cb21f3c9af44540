"""The page over a folder of runs."""

import json
import re

import pytest

from t5x_lite.errors import InputError
from t5x_lite.reports.index import write_index


def make_run(folder, task="finetune", seed=0, rate=1e-3, losses=(3.0, 2.0), rouge=0.25):
    folder.mkdir(parents=True)
    config = {"task": task, "seed": seed, "schedule": {"learning_rate": rate}, "data": {"x": [1]}}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [{"step": n, "loss": loss} for n, loss in enumerate(losses, 1)]
    lines.append({"step": len(losses), "evaluation/loss": 1.5})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if rouge is not None:
        report = {"title": "x", "scores": {"evaluation": {"rouge": {"rouge1": {"mean": rouge}}}}}
        (folder / "report.json").write_text(json.dumps(report))


def cells(page, name):
    """What stands in the line of a run."""
    (line,) = [
        line for line in page.splitlines() if line.startswith("<tr><td data") and name in line
    ]
    return [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)]


def test_every_run_has_a_line_its_curve_and_its_differences(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "deep" / "b<i>", rate=2e-3, rouge=0.5)
    make_run(tmp_path / "c", rouge=None)
    (tmp_path / "a" / "model").mkdir()
    (tmp_path / "a" / "model" / "config.json").write_text('{"model_type": "t5"}')
    file, runs = write_index(tmp_path)
    assert (file, runs) == (tmp_path / "index.html", 3)
    page = file.read_text(encoding="utf-8")
    assert cells(page, ">a<")[:6] == ["a", "finetune", "done", "2", "2", "1.5"]
    assert cells(page, "deep/b")[6] == "50" and "b&lt;i&gt;" in page and "b<i>" not in page
    assert cells(page, ">c<")[2] == "not finished" and 'href="c/report.html"' not in page
    assert 'href="a/report.html"' in page
    assert "loss of a" in page and "loss of c" in page and page.count("<svg") == 1
    fields = re.findall(r"<td><bdi>([\w.]+)</bdi></td>", page)
    assert fields.count("schedule.learning_rate") == 1 and "seed" not in fields
    assert "table.sortable" in page and "prefers-color-scheme: dark" in page
    assert write_index(tmp_path)[1] == 3  # and over an index that is there


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run lies in it"):
        write_index(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        write_index(tmp_path / "none")

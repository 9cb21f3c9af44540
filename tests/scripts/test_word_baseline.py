"""The baseline of words: on the bundled texts it tells what words can tell, and its table has both sides."""

import json
import pathlib
import subprocess
import sys

import pytest

from t5x_lite.config import load_config

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "word_baseline.py"


def table_of(folder, report):
    (folder / "report.json").write_text(json.dumps(report))
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    header, _, *lines = result.stdout.strip().splitlines()
    names = [name.strip() for name in header.strip("|").split("|")]
    return [
        dict(zip(names, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        for line in lines
    ]


def test_beside_a_classifier(tmp_path):
    config = load_config("classifier.py", {}).to_dict()
    ours = {"evaluation": {"auc": 0.5, "accuracy": 0.25, "rows": 200}}
    (line,) = table_of(tmp_path, {"config": config, "classification": ours})
    assert float(line["AUC"]) == 0.5 and float(line["accuracy"]) == 0.25
    assert float(line["baseline AUC"]) > 0.9 and float(line["baseline accuracy"]) > 0.8


def test_beside_a_reward_model(tmp_path):
    """Insults and copied turns show in the words alone; the facts of a dialogue do not."""
    config = load_config("reward.py", {}).to_dict()
    ours = {"accuracy": 0.9, "low": 0.8, "high": 1.0}
    (line,) = table_of(tmp_path, {"config": config, "preferences": ours})
    assert line["accuracy"] == "0.900 (0.800, 1.000)"
    assert 0.6 < float(line["baseline accuracy"]) < 0.9


@pytest.mark.parametrize(
    "report, message",
    [(None, "not the folder of a finished run"), ({"config": {"task": "ppo"}}, "neither a")],
)
def test_another_folder_is_named(tmp_path, report, message):
    if report:
        (tmp_path / "report.json").write_text(json.dumps(report))
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1 and message in result.stderr

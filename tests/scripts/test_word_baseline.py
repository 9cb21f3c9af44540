"""The baseline of words: on the bundled texts it tells what words can tell, and its table has both sides."""

import json
import pathlib
import runpy
import subprocess
import sys

import pytest

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.sections import to_dict

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "word_baseline.py"


def table_of(folder, report, *arguments):
    (folder / "report.json").write_text(json.dumps(report))
    result = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *map(str, arguments)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    header, _, *lines = result.stdout.strip().splitlines()
    names = [name.strip() for name in header.strip("|").split("|")]
    return [
        dict(zip(names, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        for line in lines
    ]


def test_beside_a_classifier(tmp_path):
    config = to_dict(load_config("classifier.py", {}))
    ours = {"evaluation": {"auc": 0.5, "accuracy": 0.25, "rows": 200}}
    (line,) = table_of(tmp_path, {"config": config, "classification": ours})
    assert float(line["AUC"]) == 0.5 and float(line["accuracy"]) == 0.25
    assert float(line["baseline AUC"]) > 0.9 and float(line["baseline accuracy"]) > 0.8


def test_beside_a_reward_model(tmp_path):
    """Insults and copied turns show in the words alone; the facts of a dialogue do not."""
    config = to_dict(load_config("reward.py", {}))
    ours = {"accuracy": 0.9, "low": 0.8, "high": 1.0}
    (line,) = table_of(tmp_path, {"config": config, "preferences": ours})
    assert line["accuracy"] == "0.900 (0.800, 1.000)"
    assert 0.6 < float(line["baseline accuracy"]) < 0.9


def test_as_a_judge_of_what_ppo_runs_wrote(tmp_path):
    """Two draws to each of ten prompts: rude before and not after, and the other way round."""
    report = {"config": to_dict(load_config("classifier.py", {})), "classification": {}}
    rude, kind = "The stupid idiot wants a damn refund.", "The customer wants a refund, please."
    for name, texts in (("better", (rude, kind)), ("worse", (kind, rude))):
        (tmp_path / name).mkdir()
        record = dict(zip(("response before", "response after"), texts, strict=True))
        lines = [json.dumps({"id": f"row {i % 10}", **record}) for i in range(20)]
        (tmp_path / name / "samples.jsonl").write_text("\n".join(lines) + "\n")
    better, worse = table_of(
        tmp_path, report, "--judge", tmp_path / "better", tmp_path / "worse"
    )  # fmt: skip
    assert (better["run"], better["responses"], better["prompts"]) == ("better", "20", "10")
    assert float(better["before"]) > 0.5 > float(better["after"])
    assert (better["before"], better["after"]) == (worse["after"], worse["before"])
    assert better["difference"].startswith("-") and worse["difference"].startswith("+")
    # All ten differences have one sign: of the 2^10 signs two give as much.
    assert float(better["p"]) == pytest.approx(2 / 1024, abs=2e-3)
    with (tmp_path / "worse" / "samples.jsonl").open("a") as file:
        file.write('{"id": "row 3", "response be')
    script = runpy.run_path(str(SCRIPT))
    for run, message in (("worse", "samples.jsonl:21: not a sample"), ("no", "no/samples.jsonl")):
        with pytest.raises(InputError, match=message):
            script["read_samples"](tmp_path / run)


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

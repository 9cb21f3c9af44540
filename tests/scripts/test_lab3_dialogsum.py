"""Lab 3 on real data: the commands that the script runs are of configs and fields that there are, in their order."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from t5x_lite import main
from t5x_lite.config import load_config

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
STAND_IN = f"""#!{sys.executable}
import json, sys
with open(sys.argv[0] + ".calls", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
"""


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    for name in ("dialogsum", "davidson", "wikidetox"):
        (folder / name).mkdir(parents=True)
    for split in ("train", "dev"):
        row = {"fname": f"{split}_0", "dialogue": "#Person1#: Hi.", "summary": "#Person1# greets."}
        (folder / f"dialogsum/dialogsum.{split}.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "davidson/labeled_data.csv").write_text("class,tweet\n")
    (folder / "wikidetox/toxicity_nonfuzzed_testset.csv").write_text("comment,toxic\n")
    return folder


def script(tmp_path, *arguments):
    """What it does with a stand-in for `t5x-lite`, and the arguments of that one's calls."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "t5x-lite").write_text(STAND_IN)
    (tools / "t5x-lite").chmod(0o755)
    path = os.pathsep.join(
        [str(tools), str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]
    )
    done = subprocess.run(
        ["bash", REPOSITORY / "scripts" / "lab3_dialogsum.sh", *map(str, arguments)],
        env=os.environ | {"PATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    calls = tools / "t5x-lite.calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    return done, [json.loads(line) for line in lines]


@pytest.mark.parametrize("arguments, judge", [([], "bert"), (["t5"], "t5"), (["minilm"], "minilm")])
def test_each_command_is_one_that_runs_and_takes_what_those_before_it_left(
    data, tmp_path, arguments, judge
):
    out = tmp_path / "out"
    done, calls = script(tmp_path, data, "summarizer", out, *arguments)
    assert done.returncode == 0, done.stderr
    runs = {}
    for call in calls:
        spec, workdir, overrides = main.parse(call)
        runs[pathlib.Path(workdir).name] = load_config(spec, overrides)
    reward = "minilm_tweets" if judge == "minilm" else "davidson"
    judges = ["judge_minilm", "judge_bert"] if judge == "minilm" else [f"judge_{judge}"]
    made = [*judges, *(f"ppo_{judge}_{seed}" for seed in range(3))]
    assert list(runs) == ["rude_policy", reward, *made]
    # The judges read other data than the reward.
    for name in judges:
        assert runs[name].data.train.source != runs[reward].data.train.source
    assert ("family" in runs[judges[-1]].model.architecture) == (judges[-1] == "judge_bert")
    assert runs["rude_policy"].data.train.columns["summary"] == "rude_summary"
    for seed in range(3):
        config = runs[f"ppo_{judge}_{seed}"]
        assert config.seed == seed
        sources = [
            config.model, config.rewards["clean"], config.toxicity, config.judges["comments"]
        ]  # fmt: skip
        assert [section.source for section in sources] == [
            str(out / name) for name in ("rude_policy", reward, reward, f"judge_{judge}")
        ]
        assert {section.source for section in config.judges.values()} == {
            str(out / name) for name in judges
        }
        assert pathlib.Path(config.data.evaluation.source).read_text()
        # PPO and the summarizer see other rows.
        assert config.data.train.source != runs["rude_policy"].data.train.source


def test_what_is_missing_is_named_before_anything_runs(data, tmp_path):
    (data / "davidson/labeled_data.csv").unlink()
    done, calls = script(tmp_path, data, "summarizer", tmp_path / "out")
    assert (done.returncode, calls) == (2, [])
    assert done.stderr == f"lab3_dialogsum.sh: {data}/davidson/labeled_data.csv is not there\n"


@pytest.mark.parametrize("arguments", [[], ["data", "summarizer", "out", "gpt"]])
def test_without_its_arguments_it_says_how_it_is_used(tmp_path, arguments):
    done, calls = script(tmp_path, *arguments)
    assert (done.returncode, calls) == (2, [])
    assert "scripts/lab3_dialogsum.sh DATA SUMMARIZER WORKDIR [JUDGE]" in done.stderr

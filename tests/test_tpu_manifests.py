"""The manifests of runs on TPUs: their commands are the program's, and their statuses those of docs/stops.md."""

import pathlib
import re
import shlex

import yaml

from t5x_lite.config import load_config
from t5x_lite.main import parse

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def manifest(name: str) -> dict:
    return yaml.safe_load((REPOSITORY / "deploy" / name).read_text(encoding="utf-8"))


def load(arguments: list[str]):
    spec, _, overrides = parse(arguments)
    return load_config(spec, overrides)


def test_a_jobset_starts_the_slice_that_its_recipe_was_checked_for():
    jobset = manifest("tpu_jobset.yaml")
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    config = load(container["args"])
    topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    chips = chips_of(topology)
    assert topology in load_config("pod_check.py:xl,full", {}).topology
    assert chips == config.mesh.fsdp * config.mesh.data * config.mesh.model * replicated["replicas"]
    each = container["resources"]["limits"]["google.com/tpu"]
    assert each * job["parallelism"] == chips and job["completions"] == job["parallelism"]


def chips_of(topology: str) -> int:
    """The chips of "4x4"."""
    rows, columns = topology.split("x")
    return int(rows) * int(columns)


def test_what_is_not_started_again_is_what_the_docs_say():
    (replicated,) = manifest("tpu_jobset.yaml")["spec"]["replicatedJobs"]
    (rule,) = replicated["template"]["spec"]["podFailurePolicy"]["rules"]
    text = (REPOSITORY / "docs" / "stops.md").read_text(encoding="utf-8")
    again = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", text, re.MULTILINE)
    assert rule["onExitCodes"]["values"] == [
        int(status) for status, what in again if status in "234" and what
    ]
    assert "75, 143 and 137 are those after which the same command is worth starting again" in text


def test_skypilots_command_is_the_programs():
    task = manifest("tpu_skypilot.yaml")
    line = task["run"].replace("$CONFIG", task["envs"]["CONFIG"]).replace("$BUCKET", "mine")
    program, *arguments = shlex.split(line)
    assert program.endswith("/t5x-lite") and "[tpu]" in task["setup"]
    config = load(arguments)
    chips = int(task["resources"]["accelerators"].rpartition("-")[2])
    assert config.mesh.fsdp * config.mesh.data * config.mesh.model == chips

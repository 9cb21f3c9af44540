"""The TPU launcher with a stand-in for gcloud: what it asks for, and what its commands do on hosts that are folders."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "tpu_vm.sh"
RUN = ["--config", "configs/tpu.py:xl,lora", "--config.data.train.columns", "{'a b': \"it's\"}"]

# Notes its arguments, says the state that was laid out, and runs what is sent to hosts in their folders.
GCLOUD = """\
import json, os, pathlib, shutil, subprocess, sys
root, arguments = pathlib.Path(os.environ["FAKE"]), sys.argv[1:]
with open(root / "calls", "a") as file:
    file.write(json.dumps(arguments) + "\\n")
options = dict(x[2:].split("=", 1) for x in arguments if x.startswith("--") and "=" in x)
def home(node, worker):
    (root / f"{node}-{worker}").mkdir(exist_ok=True)
    return root / f"{node}-{worker}"
def workers():
    return "01" if options["worker"] == "all" else options["worker"]
verb = arguments[3]
if arguments[0] == "storage":
    pass
elif verb == "describe":
    if "networkEndpoints" in options["format"]:
        print(2)
        sys.exit()
    states = (root / "states").read_text().split()
    if len(states) > 1:
        (root / "states").write_text(" ".join(states[1:]))
    if "_" not in states[0]:
        queued = arguments[2] == "queued-resources"
        print("ACTIVE" if queued and states[0] == "READY" else states[0])
    else:
        sys.exit(f"ERROR: (gcloud.describe) {states[0]}: it is not there")
elif verb == "scp":
    source, target = arguments[4:6]
    for worker in workers():
        place = lambda name: home(name.split(":")[0], worker) / name.split(":")[1] if ":" in name else name
        shutil.copy(place(source), place(target))
elif verb == "ssh":
    for worker in workers():
        where = home(arguments[4], worker)
        env = os.environ | {"HOME": str(where), "PATH": f"{where}/bin:{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", options["command"]], env=env, cwd=where, check=True)
"""
# In the place of t5x-lite: says what it was given, and ends when it is told to.
PROGRAM = """\
#!/bin/bash
trap 'echo saved; exit 143' TERM
printf '<%s>' "$@"; echo
while [ ! -e ~/end ]; do sleep 0.05; done
exit 3
"""


class Launcher:
    def __init__(self, root: pathlib.Path):
        self.root, self.folder = root, root / "remembered" / "tuner"
        (root / "states").write_text("READY")
        executable(root / "bin" / "gcloud", f"#!{sys.executable}\n{GCLOUD}")

    def __call__(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess:
        env = os.environ | {
            "FAKE": str(self.root),
            "T5X_LITE_TPU_VM": str(self.root / "remembered"),
            "T5X_LITE_TPU_WAIT": "0",
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
        }
        result = subprocess.run(
            [str(SCRIPT), *arguments],
            env=env, cwd=self.root, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert result.returncode == status, result.stderr
        return result

    def calls(self) -> list[list[str]]:
        """The calls of gcloud since the last time."""
        file = self.root / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def create(self, *options: str) -> None:
        self("create", "tuner", "--type", "v5litepod-16", "--zone", "z", *options)
        self.calls()

    def hosts(self, *nodes: str) -> list[pathlib.Path]:
        """Two hosts of each node, on which it has been installed."""
        found = [self.root / f"{node}-{worker}" for node in nodes for worker in (0, 1)]
        for host in found:
            executable(host / "t5x_lite_env" / "bin" / "t5x-lite", PROGRAM)
            executable(host / "bin" / "hostname", f"#!/bin/sh\necho {host.name}\n")
            (host / "t5x_lite").mkdir()
        return found


def executable(file: pathlib.Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


def shown(calls: list[list[str]]) -> list[str]:
    """Each call in short: what it does, to whom, and with which flags, but for the text of commands."""
    return [" ".join(x for x in call if not x.startswith("--command")) for call in calls]


def wait_for(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def launcher(tmp_path):
    made = Launcher(tmp_path)
    yield made
    for host in tmp_path.glob("tuner*"):
        (host / "end").touch()  # ends what a failed test left


def log_of(host: pathlib.Path) -> str:
    file = host / "t5x_lite_run" / "log"
    return file.read_text() if file.exists() else ""


TPU = "compute tpus"
CREATIONS = {
    "one": ([], [f"{TPU} tpu-vm create tuner --accelerator-type=v5p-8 --version=v2-alpha-tpuv5 --quiet"]),
    "spot": (
        ["--spot", "--zone=z", "--project", "p", "--version=mine"],
        [f"{TPU} tpu-vm create tuner --accelerator-type=v5p-8 --spot --version=mine --quiet --zone=z --project=p"],
    ),
    "queued": (
        ["--queued"],
        [
            f"{TPU} queued-resources create tuner --accelerator-type=v5p-8 --node-id=tuner"
            " --runtime-version=v2-alpha-tpuv5 --quiet",
            *[f"{TPU} queued-resources describe tuner --format=value(state.state) --quiet"] * 3,
        ],
    ),
    "slices": (
        ["--slices=4", "--spot"],
        [
            f"{TPU} queued-resources create tuner --accelerator-type=v5p-8 --spot --node-count=4"
            " --node-prefix=tuner --runtime-version=v2-alpha-tpuv5 --quiet",
            *[f"{TPU} queued-resources describe tuner --format=value(state.state) --quiet"] * 3,
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("options, expected", CREATIONS.values(), ids=CREATIONS)
def test_create(launcher, options, expected):
    (launcher.root / "states").write_text("ACCEPTED PROVISIONING ACTIVE")
    launcher("create", "tuner", "--type", "v5p-8", *options)
    assert shown(launcher.calls()) == expected


@pytest.mark.parametrize("last", ["FAILED", "SUSPENDED", "NOT_FOUND"])
def test_a_queue_that_gives_nothing_ends_the_wait(launcher, last):
    (launcher.root / "states").write_text(f"ACCEPTED {last}")
    result = launcher("create", "tuner", "--type", "v6e-8", "--queued", status=1)
    assert "tpu_vm.sh: tuner: " in result.stderr


@pytest.mark.parametrize(
    "type, version",
    [("v4-8", "tpu-ubuntu2204-base"), ("v5litepod-1", "v2-alpha-tpuv5-lite"), ("v6e-4", "v2-alpha-tpuv6e")],
)  # fmt: skip
def test_the_image_follows_from_the_type(launcher, type, version):
    printed = launcher("create", "tuner", "--type", type, "--dry_run").stdout
    assert f"--version={version} " in printed


def test_install_sends_the_tree_to_every_host(launcher):
    launcher.create("--slices", "2")
    hosts = launcher.hosts("tuner-0", "tuner-1")
    for host in hosts:  # python3 stands for pip, which brings uv; uv notes what it installs
        executable(host / "bin" / "python3", "#!/bin/sh\necho $* >>~/noted\n")
        executable(host / ".local" / "bin" / "uv", "#!/bin/sh\necho $* >>~/noted\n")
        executable(host / "t5x_lite_env" / "bin" / "python", '#!/bin/sh\necho "counted: $*"\n')
    (launcher.root / "states").write_text("ACTIVE")
    result = launcher("install", "tuner")
    for host in hosts:
        assert (host / "t5x_lite" / "t5x_lite" / "main.py").exists()
        assert not (host / "t5x_lite" / ".git").exists()
        noted = (host / "noted").read_text()
        assert re.search(r"pip install .*uv\n(.*\n)*pip install .*--editable \.\[tpu\]", noted)
        constraints = (host / "t5x_lite_constraints.txt").read_text()
        assert "\njax==" in constraints and "libtpu" not in constraints
    assert result.stdout.count("counted: ") == 4 and "jax.distributed.initialize()" in result.stdout
    calls = shown(launcher.calls())
    assert sorted({call.split()[3] for call in calls}) == ["scp", "ssh"]
    assert all("--worker=all --quiet --zone=z" in call for call in calls)


def test_a_run_outlives_its_launcher_and_is_followed_stopped_and_fetched(launcher):
    launcher.create()
    hosts = launcher.hosts("tuner")
    result = launcher("run", "tuner", "--", *RUN, "--workdir=runs/a b")
    assert "goes with it" in result.stderr  # it is no bucket
    wait_for(lambda: all(log_of(host).endswith("\n") for host in hosts))
    for host in hosts:
        assert log_of(host) == "".join(f"<{flag}>" for flag in [*RUN, "--workdir=runs/a b"]) + "\n"
    running = launcher("status", "tuner").stdout
    assert running.startswith("tuner: READY\n") and "tuner-1: running: <--config>" in running
    assert (
        "a run is going on" in launcher("run", "tuner", "--", *RUN, "--workdir=x", status=1).stderr
    )

    launcher("stop", "tuner")
    wait_for(lambda: all((host / "t5x_lite_run" / "status").exists() for host in hosts))
    assert (
        "tuner-0: ended with status 143 (stopped: resume goes on): saved"
        in launcher("status", "tuner").stdout
    )

    launcher("run", "tuner", "--", *RUN, "--workdir=runs/a b")  # the log goes on
    wait_for(lambda: all(log_of(host).count("<--config>") == 2 for host in hosts))
    for host in hosts:
        (host / "end").touch()
    wait_for(lambda: all((host / "t5x_lite_run" / "status").exists() for host in hosts))
    assert (
        "tuner-1: ended with status 3 (diverged): <--config>" in launcher("status", "tuner").stdout
    )

    workdir = hosts[0] / "t5x_lite" / "runs" / "a b"
    (workdir / "checkpoints").mkdir(parents=True)
    (workdir / "report.md").write_text("found")
    (workdir / "checkpoints" / "large").touch()
    launcher("fetch", "tuner", "--to", "here")
    here = launcher.root / "here"
    assert (here / "report.md").read_text() == "found" and not (here / "checkpoints").exists()
    assert (here / "logs" / "tuner-1.log").read_text() == log_of(hosts[1])


def test_a_run_that_was_broken_off_is_told_and_may_begin_again(launcher):
    launcher.create()
    hosts = launcher.hosts("tuner")
    assert "tuner-0: no run yet" in launcher("status", "tuner").stdout
    for host in hosts:
        (host / "t5x_lite_run").mkdir()
        (host / "t5x_lite_run" / "log").write_text("step 7\n")
        (host / "t5x_lite_run" / "pid").write_text("999999999")
    assert "tuner-0: broken off: step 7" in launcher("status", "tuner").stdout
    launcher("run", "tuner", "--", *RUN, "--workdir", "gs://b/run")
    wait_for(lambda: all("<gs://b/run>" in log_of(host) for host in hosts))
    launcher("stop", "tuner")


def test_logs_are_of_the_first_slice_or_of_another(launcher):
    launcher.create("--slices=3")
    first = launcher("logs", "tuner", "--dry_run").stdout
    other = launcher("logs", "tuner", "--slice=2", "--worker=1", "--dry_run").stdout
    assert " ssh tuner-0 --worker=all " in first and " ssh tuner-2 --worker=1 " in other
    assert "tail -n 200 -F" in first


def test_results_of_a_bucket(launcher):
    launcher.create()
    launcher.hosts("tuner")
    launcher("run", "tuner", "--", *RUN, "--workdir", "gs://b/run")
    launcher("stop", "tuner")
    launcher.calls()
    launcher("fetch", "tuner")
    to = launcher.folder / "results"
    assert (
        shown(launcher.calls())[0]
        == f"storage rsync --recursive --exclude=^checkpoints/ gs://b/run {to}"
    )
    assert {file.name for file in (to / "logs").iterdir()} == {"tuner-0.log", "tuner-1.log"}


@pytest.mark.parametrize("queued", [False, True])
def test_resume_makes_a_preempted_tpu_anew_and_runs_the_same(launcher, queued):
    launcher.create("--spot", *(["--queued"] if queued else []))
    launcher("run", "tuner", "--dry_run", "--", *RUN, "--workdir", "gs://b/run")
    assert not (launcher.folder / "run").exists()  # a dry run leaves nothing
    launcher.hosts("tuner")
    launcher("run", "tuner", "--", *RUN, "--workdir", "gs://b/run")
    (begun,) = [call for call in launcher.calls() if call[3] == "ssh"]
    printed = launcher("resume", "tuner", "--dry_run").stdout
    assert launcher.calls() == []
    kind = "queued-resources" if queued else "tpu-vm"
    assert re.findall(r"^gcloud compute tpus (\S+ \S+)", printed, flags=re.MULTILINE) == [
        f"{kind} describe",
        f"{kind} delete",
        f"{kind} create",
        *([f"{kind} describe"] if queued else []),
        "tpu-vm scp",
        *["tpu-vm ssh"] * 3,  # install, count, run
    ]
    # What is printed can be typed: its last command is, word for word, that of the run.
    assert shlex.split(printed)[-len(begun) :] == begun


def test_resume_of_a_tpu_that_is_there_only_runs(launcher):
    launcher.create()
    hosts = launcher.hosts("tuner")
    launcher("run", "tuner", "--", *RUN, "--workdir", "gs://b/run")
    wait_for(lambda: all(log_of(host).endswith("\n") for host in hosts))
    launcher("stop", "tuner")
    wait_for(lambda: all((host / "t5x_lite_run" / "status").exists() for host in hosts))
    (first, _) = [call for call in launcher.calls() if call[3] == "ssh"]
    launcher("resume", "tuner")
    described, again = launcher.calls()
    assert described[3] == "describe" and again == first
    launcher("stop", "tuner")
    (launcher.root / "states").write_text("CREATING")
    assert "tuner is CREATING" in launcher("resume", "tuner", status=1).stderr


def test_resume_where_the_tpu_is_gone_creates_without_deleting(launcher):
    launcher.create("--spot")
    launcher.hosts("tuner")
    launcher("run", "tuner", "--", *RUN, "--workdir", "gs://b/run")
    launcher.calls()
    (launcher.root / "states").write_text("NOT_FOUND")
    # The stand-in installs nothing: it ends there, but what it asked for before is told.
    launcher("resume", "tuner", status=1)
    assert [call[3] for call in launcher.calls()][:3] == ["describe", "create", "scp"]


def test_trouble_of_gcloud_is_not_an_absence(launcher):
    launcher.create()
    (launcher.root / "states").write_text("PERMISSION_DENIED")
    result = launcher("status", "tuner", status=1)
    assert (
        result.stderr == "tpu_vm.sh: ERROR: (gcloud.describe) PERMISSION_DENIED: it is not there\n"
    )
    (launcher.root / "states").write_text("NOT_FOUND")
    assert launcher("status", "tuner").stdout == "tuner: there is none\n"


def test_delete_forgets_the_tpu_and_keeps_what_was_fetched(launcher):
    launcher.create("--queued")
    (launcher.folder / "results").mkdir()
    launcher("delete", "tuner")
    assert shown(launcher.calls()) == [
        f"{TPU} queued-resources delete tuner --force --quiet --zone=z"
    ]
    assert [file.name for file in launcher.folder.iterdir()] == ["results"]


BAD = {
    "no command": ([], "give a command"),
    "another command": (["start", "tuner"], "there is no command start"),
    "no name": (["logs"], "logs needs the name of a TPU"),
    "a bad name": (["logs", "My_TPU"], "got 'My_TPU'"),
    "an option of another command": (["logs", "tuner", "--spot"], "there is no option --spot"),
    "no option at all": (["status", "tuner", "now"], "there is no option now"),
    "an option without a value": (["logs", "tuner", "--worker"], "--worker needs a value"),
    "no type": (["create", "tuner"], "--type is missing"),
    "a type without an image": (["create", "tuner", "--type=v9-8"], "--type v9-8: its image is not known"),
    "slices": (["create", "tuner", "--type=v4-8", "--slices=0"], "--slices must be a whole number above 0"),
    "worker": (["logs", "tuner", "--worker=first"], "--worker must be"),
    "slice": (["logs", "tuner", "--slice=1"], "--slice must be from 0 to 0"),
    "flags of nothing": (["run", "tuner"], "give the flags of t5x-lite after --"),
    "no workdir": (["run", "tuner", "--", "--config", "a.py"], "give the flags of t5x-lite after --"),
    "a line break": (["run", "tuner", "--", "--config=a.py", "--workdir=gs://x", "a\nb"], "may not hold a line break"),
    "flags of logs": (["logs", "tuner", "--", "--config"], "logs takes nothing after --"),
    "resume of nothing": (["resume", "tuner"], "tuner was not created from here"),
    "fetch of nothing": (["fetch", "tuner"], "no run of tuner is remembered"),
}  # fmt: skip


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD)
def test_bad_input_is_one_line(launcher, arguments, message):
    stderr = launcher(*arguments, status=2).stderr
    assert message in stderr and stderr.count("\n") == 1
    assert launcher.calls() == []


def test_help_and_a_missing_gcloud(launcher):
    assert "Usage: scripts/tpu_vm.sh COMMAND NAME" in launcher("create", "--help").stdout
    (launcher.root / "bin" / "gcloud").unlink()
    for tool in ("bash", "env", "dirname", "grep", "sed", "tail", "head", "cat"):
        (launcher.root / "bin" / tool).symlink_to(shutil.which(tool))
    env = {"PATH": str(launcher.root / "bin")}
    result = subprocess.run(
        [str(SCRIPT), "status", "tuner"], env=env, capture_output=True, text=True
    )
    assert result.returncode == 2 and result.stderr.startswith("tpu_vm.sh: gcloud is missing")

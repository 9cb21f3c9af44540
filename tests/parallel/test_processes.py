"""Several real processes on this machine: they do what one does, stop together, and end when one is gone."""

import json
import re
import signal
import socket
import threading
import time

import numpy as np
import pytest

from t5x_lite import main
from t5x_lite.errors import InputError
from t5x_lite.parallel import rendezvous
from t5x_lite.parallel.rendezvous import meet
from tests.parallel.several import SECONDS, alone, ends, free_port, start, task, wait_for_step

LORA = "quickstart.py:lora"
TINY = [
    "--config.train.steps=6",
    "--config.logging.every_steps=1",
    "--config.checkpoint.every_steps=2",
    "--config.batch.buckets=1",
    "--config.generation.max_new_tokens=16",
]
# Starts and waits: what happens around a task.
WAITING = """
import sys
from t5x_lite import console, main
from t5x_lite.parallel.processes import joined
console.setup()
launch, _ = main.parse_launch(sys.argv[1:])
with joined(launch, "same"):
    import time
    print("up", flush=True)
    time.sleep(300)
"""


def losses(workdir):
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [
        (r["step"], name, r[name]) for r in records for name in ("loss", "evaluation/loss") if name in r
    ]  # fmt: skip


def assert_same_run(found, expected):
    ours, theirs = losses(found), losses(expected)
    assert [one[:2] for one in ours] == [one[:2] for one in theirs]
    np.testing.assert_allclose(
        [one[2] for one in ours], [one[2] for one in theirs], rtol=0, atol=1e-5
    )
    assert (found / "samples.jsonl").read_text() == (expected / "samples.jsonl").read_text()
    scores = [json.loads((w / "report.json").read_text())["scores"] for w in (found, expected)]
    assert scores[0] == scores[1]


def meeting(count, numbers, seconds, commands=None):
    """What `meet` returns or raises in each of these processes (threads, here)."""
    address, found = f"localhost:{free_port()}", {}

    def go(place, number):
        try:
            command = commands[place] if commands else "same"
            found[place] = meet(address, count, number, seconds, command)
        except InputError as error:
            found[place] = str(error)

    threads = [threading.Thread(target=go, args=pair) for pair in enumerate(numbers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for end in found.values():
        for connection in end[0] if isinstance(end, tuple) else ():
            connection.close()
    return [found[place] for place in range(len(numbers))]


def test_processes_meet():
    ends = meeting(3, [2, 0, 1], 30)
    assert [len(connections) for connections, _ in ends] == [1, 2, 1]
    assert all(hosts == [socket.gethostname()] * 3 for _, hosts in ends)


def test_strangers_do_not_keep_processes_from_meeting(monkeypatch):
    """One that says nothing (a port scan), and some that say what no process of ours does."""
    monkeypatch.setattr(rendezvous, "_HELLO_SECONDS", 0.3)
    address, found = ("localhost", free_port()), {}

    def go(number):
        found[number] = meet(f"localhost:{address[1]}", 2, number, 20, "same")

    first = threading.Thread(target=go, args=(0,))
    first.start()
    strangers = []
    for words in (b"", b"GET / HTTP/1.1\n", b"17\n", b"{}\n"):
        while True:
            try:
                strangers.append(socket.create_connection(address, timeout=5))
                break
            except OSError:
                time.sleep(0.05)
        strangers[-1].sendall(words)
    begun = time.monotonic()
    go(1)
    first.join()
    assert time.monotonic() - begun < 10
    assert [len(found[number][0]) for number in (0, 1)] == [1, 1]
    for connection in (*strangers, *found[0][0], *found[1][0]):
        connection.close()


def test_who_is_missing_is_named_by_all():
    found = meeting(4, [0, 2], 1)
    assert found[0] == found[1]
    assert found[0].startswith("processes 1, 3 of 4 are missing: not there within 1 s; start them")
    assert meeting(2, [1], 1)[0].startswith("process 0 of 2 is missing: nothing answers at")


@pytest.mark.parametrize(
    ("numbers", "commands", "message"),
    [
        ([0, 1, 1], ["same"] * 3, "--process_id: there are two processes 1, one on "),
        ([0, 1], ["same", "other"], "process 1 on .* has another config than process 0"),
    ],
)
def test_processes_that_do_not_belong_together(numbers, commands, message):
    assert re.match(message, meeting(3, numbers, 30, commands)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num_processes=2"], "--coordinator_address, --num_processes and --process_id belong"),
        (["--process_id"], "--process_id needs a number, got ''"),
        (["--lost_seconds=soon"], "--lost_seconds needs a number"),
        (
            ["--coordinator_address=a:1", "--num_processes=2", "--process_id=2"],
            "--process_id 2: must be from 0 to --num_processes - 1 = 1",
        ),
    ],
)
def test_flags_that_cannot_be(arguments, message):
    with pytest.raises(InputError, match=f"^{message}"):
        main.parse_launch(arguments)


def test_flags_are_parted_from_the_others():
    launch, rest = main.parse_launch(["--config", "a.py", "--lost_seconds", "2.5", "--workdir=w"])
    assert rest == ["--config", "a.py", "--workdir=w"]
    assert (launch.num_processes, launch.process_id, launch.lost_seconds) == (1, 0, 2.5)


@pytest.mark.parametrize("victim", [0, 2])
def test_all_end_and_name_the_process_that_was_killed(victim):
    processes = start(["-c", WAITING], 3)
    for process in processes:
        assert "up\n" in iter(process.stdout.readline, "")  # behind what gloo says
    processes[victim].kill()
    begin = time.monotonic()
    found = ends(processes)
    assert time.monotonic() - begin < 20
    for number, (status, errors) in enumerate(found):
        if number != victim:
            assert status != 0
            lines = [line for line in errors.splitlines() if line.startswith("t5x-lite:")]
            assert len(lines) == 1
            assert re.match(
                rf"t5x-lite: process {victim} of 3 \(on .*\) is gone: it was ", lines[0]
            )
            assert "Check failure" not in errors and "coordination_service" not in errors


def test_two_processes_do_what_one_does(tmp_path):
    settings = ["--config=quickstart.py:runlocal", *TINY]
    alone(2, *task(tmp_path / "one", *settings))
    found = ends(start(task(tmp_path / "two", *settings), 2))
    assert [status for status, _ in found] == [0, 0], found
    assert "rows scored" in found[0][1] and "rows scored" not in found[1][1]
    assert_same_run(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4, 1, 1), (1, 2, 2), (1, 1, 4)])
def test_four_processes_train_lora_as_one_does(tmp_path, sizes):
    """With `model` over the processes, several of them hold the same rows."""
    mesh = dict(zip(("data", "fsdp", "model"), sizes, strict=True))
    settings = [
        f"--config={LORA}", *TINY, "--config.schedule.warmup_steps=1",
        "--config.data.evaluation.limit=8", "--config.batch.size=8", "--config.batch.tokens=0",
        *(f"--config.mesh.{axis}={size}" for axis, size in mesh.items()),
    ]  # fmt: skip
    alone(4, *task(tmp_path / "one", *settings))
    found = ends(start(task(tmp_path / "four", *settings), 4))
    assert [status for status, _ in found] == [0] * 4, found
    assert_same_run(tmp_path / "four", tmp_path / "one")


@pytest.mark.slow
def test_a_killed_run_goes_on_with_another_number_of_processes(tmp_path):
    settings = ["--config=quickstart.py:runlocal", *TINY, "--config.train.steps=60"]
    alone(2, *task(tmp_path / "one", *settings))
    processes = start(task(tmp_path / "two", *settings), 2)
    wait_for_step(tmp_path / "two", 4)
    processes[1].kill()
    status, errors = ends(processes)[0]
    assert status != 0 and "process 1 of 2" in errors and "Traceback" not in errors
    fsdp = ["--config.mesh.data=1", "--config.mesh.fsdp=2"]
    alone(2, *task(tmp_path / "two", *settings, *fsdp))
    assert_same_run(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("signaled", [[1], [0, 1]])
def test_a_signal_stops_all_at_the_same_step(tmp_path, signaled):
    settings = ["--config=quickstart.py:runlocal", *TINY, "--config.train.steps=200"]
    processes = start(task(tmp_path, *settings), 2)
    wait_for_step(tmp_path, 4)
    for number in signaled:
        processes[number].send_signal(signal.SIGTERM)
    found = ends(processes)
    assert [status for status, _ in found] == [143, 143], found
    steps = {re.search(r"t5x-lite: stopped at step (\d+);", errors)[1] for _, errors in found}
    assert len(steps) == 1
    saved = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert steps <= set(saved) and max(map(int, saved)) < 200


@pytest.mark.slow
def test_prompting_killed_in_two_processes_goes_on_to_what_one_process_writes(tmp_path):
    """SIGKILL in the middle: afterwards each row is there once, with its text and its log-probability."""
    settings = [
        "--config=lab1_prompting.py:runlocal", "--config.data.evaluation.limit=60",
        "--config.evaluation.batch_tokens=512", "--config.settings.greedy.max_new_tokens=6",
        "--config.runs=(('none', 'greedy'), ('instruction', 'greedy'))",
        "--config.side_by_side.runs=(('self_consistency', 'temperature_05'),)",
    ]  # fmt: skip
    alone(2, *task(tmp_path / "one", *settings))
    processes = start(task(tmp_path / "two", *settings), 2)
    file = tmp_path / "two" / "predictions" / "none.greedy.jsonl"
    deadline = time.monotonic() + SECONDS
    while not (file.exists() and file.read_text().count("\n") > 3):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), ends(processes)
        time.sleep(0.01)
    for process in processes:
        process.kill()
    ends(processes)
    assert not (tmp_path / "two" / "report.json").exists()
    with open(file, "a") as stream:
        stream.write('{"row": 59, "id": ')  # what a kill in the middle of a write leaves
    found = ends(start(task(tmp_path / "two", *settings), 2))
    assert [status for status, _ in found] == [0, 0], found
    assert re.search(r"60 different prompts, [1-9]\d* of them decoded before", found[0][1])

    def predictions(folder):
        files = sorted((folder / "predictions").iterdir())
        return {f.name: [json.loads(line) for line in f.read_text().splitlines()] for f in files}

    ours, theirs = predictions(tmp_path / "two"), predictions(tmp_path / "one")
    assert len(ours) == 3 and [line["row"] for line in ours["none.greedy.jsonl"]] == list(range(60))
    for name, lines in theirs.items():
        for mine, line in zip(ours[name], lines, strict=True):
            assert mine.pop("logprob") == pytest.approx(line.pop("logprob"), abs=1e-3)
            assert mine == line

"""Runs of several processes on this machine, and the same in one process."""

import os
import pathlib
import socket
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 500  # of patience: the machine may be busy


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def environment(devices: int) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": (
            f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
        ),
    }


def start(program, count, devices=1, lost=20):
    """`program`'s processes, with the flags that make them one run."""
    port = free_port()
    return [
        subprocess.Popen(
            [
                sys.executable, *program, f"--coordinator_address=localhost:{port}",
                f"--num_processes={count}", f"--process_id={k}", f"--start_seconds={SECONDS}",
                f"--lost_seconds={lost}",
            ],
            cwd=REPOSITORY, env=environment(devices), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for k in range(count)
    ]  # fmt: skip


def task(workdir, *arguments):
    return ["-m", "t5x_lite", f"--workdir={workdir}", *arguments]


def ends(processes):
    """(status, standard error) of each."""
    try:
        errors = [process.communicate(timeout=SECONDS)[1] for process in processes]
        return [(process.returncode, text) for process, text in zip(processes, errors, strict=True)]
    finally:
        for process in processes:
            process.kill()


def alone(devices, *program):
    run = subprocess.run(
        [sys.executable, *program], cwd=REPOSITORY, env=environment(devices),
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def wait_for_step(workdir, step):
    deadline = time.monotonic() + SECONDS
    while not (workdir / "checkpoints" / str(step)).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)

"""The faults of fault_injection.py, and the tasks that they happen to.

A fault is a function of a trial: it starts the command, does something to it, and says what it did and how the process
ended. Afterwards the same command runs to its end undisturbed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

from fault_runs import Program, Trial, without_room

# Small models whose training takes most of the run, with a checkpoint at every second step and evaluations between.
_TRAINED: dict[str, object] = {
    "train.steps": 16, "checkpoint.every_steps": 2, "checkpoint.keep": 3, "evaluation.every_steps": 6,
    "logging.every_steps": 1, "logging.tensorboard": False,
}  # fmt: skip
_TASKS: dict[str, tuple[str, dict[str, object]]] = {
    # With dropout and accumulation, over the end of two epochs.
    "finetune": ("finetune.py:runlocal", {
        **_TRAINED, "model.architecture.dropout_rate": 0.1, "batch.accumulation": 2, "data.train.limit": 60,
    }),
    "lora": ("lora.py:runlocal", {**_TRAINED, "adapter.dropout": 0.1}),
    "dpo": ("dpo.py:runlocal", _TRAINED),
    "distil": ("distil.py:runlocal", _TRAINED),
    "classifier": ("classifier.py:runlocal", {**_TRAINED, "data.train.limit": 200}),
    "reward": ("reward.py:runlocal", _TRAINED),
    "pretrain": ("pretrain.py:runlocal", _TRAINED),
    "ppo": ("lab3_ppo.py:runlocal", {
        **{name: value for name, value in _TRAINED.items() if name != "train.steps"},
        "ppo.steps": 6, "ppo.epochs": 2, "evaluation.every_steps": 3,
    }),
    "prompt": ("lab1_prompting.py:runlocal", {}),
    "evaluate": ("evaluate.py:runlocal", {}),
}  # fmt: skip
TASKS = tuple(_TASKS)
# Those that resume from checkpoints of their own.
TRAINING = tuple(task for task in TASKS if task not in ("prompt", "evaluate"))
_END_OF_NEW_FILES = 2_000  # bytes: the metrics and each checkpoint are larger


@dataclasses.dataclass(frozen=True)
class Struck:
    """What was done to a run. moment: when. statuses: how its processes ended. expected: what docs/stops.md says."""

    moment: str
    statuses: Sequence[int]
    expected: Sequence[int]


class TooLate(Exception):
    """The run ended before the fault came: nothing is learned from it."""


def command_of(task: str) -> list[str]:
    """The flags that start a task, without its workdir."""
    config, overrides = _TASKS[task]
    return [
        f"--config={config}",
        *(f"--config.{name}={value}" for name, value in overrides.items()),
    ]


def _ends(programs: Sequence[Program]) -> list[int]:
    return [program.wait() for program in programs]


def _place(trial: Trial) -> str:
    saved = trial.saved()
    return f"step {saved[-1]} saved" if saved else "no checkpoint yet"


def _in_time(came: bool) -> None:
    if not came:
        raise TooLate


def _struck(trial: Trial, programs: list[Program], number: int, status: int, when: str) -> Struck:
    """Sends a signal to one of the run's processes, which one of them drawn."""
    victim = trial.rng.randrange(len(programs))
    place = _place(trial)
    programs[victim].send(number)
    whom = f" of process {victim}" if len(programs) > 1 else ""
    statuses = _ends(programs)
    if statuses == [0] * len(programs):
        raise TooLate
    # Of several processes a kill ends the others with 1; a signal to one stops all.
    alike = number != signal.SIGKILL
    expected = [status if alike or k == victim else 1 for k in range(len(programs))]
    return Struck(f"{when}{whom}, {place}", statuses, expected)


def killed(trial: Trial) -> Iterator[Struck]:
    """kill -9 at random points, three times in a row: from when the run has its folder to when it would have ended."""
    for _ in range(3):
        programs = trial.start()
        if not trial.locked(programs):
            return
        delay = trial.rng.uniform(0, trial.span)
        time.sleep(delay)
        try:
            yield _struck(trial, programs, signal.SIGKILL, 137, f"after {delay:.2f} s")
        except TooLate:
            return


def killed_amid_a_save(trial: Trial) -> Iterator[Struck]:
    """kill -9 while a checkpoint is being written."""
    programs = trial.start()
    wanted = trial.rng.randrange(1, 6)  # the so-manieth checkpoint
    before: set[str] = set()

    def under_way() -> bool:
        names = os.listdir(trial.checkpoints) if trial.checkpoints.is_dir() else []
        before.update(name for name in names if ".orbax-checkpoint-tmp" in name)
        return len(before) >= wanted

    _in_time(trial.until(programs, under_way))
    time.sleep(trial.rng.uniform(0, 0.1))
    yield _struck(trial, programs, signal.SIGKILL, 137, f"amid save {wanted}")


def stopped(trial: Trial) -> Iterator[Struck]:
    """SIGTERM amid training."""
    programs = trial.start()
    _in_time(trial.amid_training(programs))
    yield _struck(trial, programs, signal.SIGTERM, 143, "amid training")


def stopped_anywhere(trial: Trial) -> Iterator[Struck]:
    """SIGTERM at a random point, also amid a compilation or while scoring."""
    programs = trial.start()
    _in_time(trial.locked(programs))
    delay = trial.rng.uniform(0, 0.9 * trial.span)
    time.sleep(delay)
    yield _struck(trial, programs, signal.SIGTERM, 143, f"after {delay:.2f} s")


def interrupted(trial: Trial) -> Iterator[Struck]:
    """Ctrl-C amid training."""
    programs = trial.start()
    _in_time(trial.amid_training(programs))
    yield _struck(trial, programs, signal.SIGINT, 130, "amid training")


def interrupted_twice(trial: Trial) -> Iterator[Struck]:
    """Ctrl-C twice: the second one leaves at once."""
    programs = trial.start()
    _in_time(trial.amid_training(programs))
    place = _place(trial)
    for program in programs:
        program.send(signal.SIGINT)
    time.sleep(trial.rng.uniform(0, 0.05))
    for program in programs:
        program.send(signal.SIGINT)
    yield Struck(f"amid training, {place}", _ends(programs), [130] * len(programs))


def out_of_time(trial: Trial) -> Iterator[Struck]:
    """config.stop_after is over amid training."""
    seconds = max(1, round(trial.span * trial.rng.uniform(0.3, 0.6)))
    programs = trial.start(f"--config.stop_after={seconds}s")
    statuses = _ends(programs)
    if statuses == [0] * len(programs):
        raise TooLate
    yield Struck(f"after {seconds} s, {_place(trial)}", statuses, [75] * len(programs))


def out_of_disk(trial: Trial) -> Iterator[Struck]:
    """From a moment amid training on no file can grow (RLIMIT_FSIZE)."""
    programs = trial.start()
    _in_time(trial.amid_training(programs))
    place = _place(trial)
    # Of several processes, 0 writes what all need.
    with without_room(programs[:1], _END_OF_NEW_FILES):
        statuses = _ends(programs)
    if statuses == [0] * len(programs):
        raise TooLate
    yield Struck(f"amid training, {place}", statuses, [2] + [1] * (len(programs) - 1))


@contextlib.contextmanager
def _small_disk(folder: pathlib.Path, size: str) -> Iterator[None]:
    """The folder on a filesystem of its own, for as long as the run is disturbed; what is in it is kept.

    Raises:
      PermissionError: nothing may be mounted here.
    """
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        raise PermissionError
    try:
        yield
        shutil.copytree(folder, f"{folder}.kept")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
    shutil.rmtree(folder)
    pathlib.Path(f"{folder}.kept").rename(folder)


def full_filesystem(trial: Trial) -> Iterator[Struck]:
    """A workdir on a filesystem of a megabyte or less, which fills up."""
    size = f"{trial.rng.randrange(300, 900)}k"
    with _small_disk(trial.folder, size):
        statuses = _ends(trial.start())
        struck = Struck(f"{size}, {_place(trial)}", statuses, [2] * len(statuses))
    yield struck


def read_only(trial: Trial) -> Iterator[Struck]:
    """The workdir's filesystem becomes read-only amid training, as after an error of a disk."""
    with _small_disk(trial.folder, "200m"):
        programs = trial.start()
        _in_time(trial.amid_training(programs))
        again = ["mount", "-o", "remount,ro", str(trial.folder)]
        while subprocess.run(again, capture_output=True).returncode:  # a file is open for writing
            if programs[0].ended():
                raise TooLate
            time.sleep(0.01)
        struck = Struck(f"amid training, {_place(trial)}", _ends(programs), [2])
    yield struck


def _killed_amid_training(trial: Trial) -> str:
    programs = trial.start()
    _in_time(trial.until(programs, lambda: len(trial.saved()) > 2))
    for program in programs:
        program.send(signal.SIGKILL)
    _ends(programs)
    return _place(trial)


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def damaged_file(trial: Trial) -> Iterator[Struck]:
    """Killed, and a file of the newest checkpoint is cut, changed in a bit, or gone."""
    place = _killed_amid_training(trial)
    newest = trial.checkpoints / str(trial.saved()[-1])
    states = [path for path in _files(newest) if path.name not in ("_CHECKPOINT_METADATA",)]
    file = trial.rng.choice(states)
    done = _damage(file, trial.rng)
    yield Struck(f"{place}; {file.relative_to(newest)} {done}", [137], [137])


def _damage(file: pathlib.Path, rng: random.Random) -> str:
    data = bytearray(file.read_bytes())
    match rng.choice(["cut", "flipped", "gone"]):
        case "cut":
            file.write_bytes(data[: rng.randrange(len(data))])
            return "cut"
        case "flipped":
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            file.write_bytes(data)
            return "with a bit flipped"
    file.unlink()
    return "gone"


def deleted_manifest(trial: Trial) -> Iterator[Struck]:
    """Killed, and the manifests of the two newest checkpoints are gone."""
    place = _killed_amid_training(trial)
    for step in trial.saved()[-2:]:
        (trial.checkpoints / str(step) / "manifest.json").unlink()
    yield Struck(place, [137], [137])


def all_damaged(trial: Trial) -> Iterator[Struck]:
    """Killed, and every checkpoint is damaged: refused once, and begun anew after that."""
    place = _killed_amid_training(trial)
    for step in trial.saved():
        (trial.checkpoints / str(step) / "manifest.json").write_text("{}")
    yield Struck(place, _ends(trial.start()), [2])


def damaged_metrics(trial: Trial) -> Iterator[Struck]:
    """Killed, and the end of metrics.jsonl is cut in the middle of a line, or holds bytes of something else."""
    place = _killed_amid_training(trial)
    file = trial.folder / "metrics.jsonl"
    data = file.read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    cut = trial.rng.choice([True, False])
    file.write_bytes(
        data[: trial.rng.randrange(last, len(data))] if cut else data + b'\xff\x00{"st'
    )
    yield Struck(f"{place}; {'cut' if cut else 'bytes at its end'}", [137], [137])


def no_folder(trial: Trial) -> Iterator[Struck]:
    """A file stands where the workdir is to be."""
    trial.folder.parent.mkdir(parents=True, exist_ok=True)
    trial.folder.write_text("")
    statuses = _ends(trial.start())
    trial.folder.unlink()
    yield Struck("at the start", statuses, [2] * len(statuses))


def second_run(trial: Trial) -> Iterator[Struck]:
    """The same command once more while the first one runs: refused, and the first one is not disturbed."""
    first = trial.start()
    _in_time(trial.locked(first))
    time.sleep(trial.rng.uniform(0, 0.3 * trial.span))
    place = _place(trial)
    second = _ends(trial.start())
    yield Struck(
        f"{place}; the first one beside",
        second + _ends(first),
        [2] * len(second) + [0] * len(first),
    )


def lock_of_a_dead_one(trial: Trial) -> Iterator[Struck]:
    """Killed, and its lock is laid there for a process that is another one now: it is taken over."""
    place = _killed_amid_training(trial)
    lock = trial.folder / "run.lock"
    content = json.loads(lock.read_text())
    lock.write_text(
        json.dumps(content | {"pid": os.getpid()})
    )  # this one lives, and began at another time
    yield Struck(place, [137], [137])


def held_up(trial: Trial) -> Iterator[Struck]:
    """Suspended for a while (SIGSTOP, SIGCONT), then killed."""
    programs = trial.start()
    _in_time(trial.amid_training(programs))
    for number, seconds in ((signal.SIGSTOP, 2.0), (signal.SIGCONT, 0.5)):
        programs[0].send(number)
        time.sleep(seconds)
    yield _struck(trial, programs, signal.SIGKILL, 137, "amid training, suspended for 2 s before")


Fault = Callable[[Trial], Iterator[Struck]]
# What happens to each task; what happens to those that train; what happens once, to fine-tuning (twice each).
EVERYWHERE: tuple[Fault, ...] = (killed,)
WHILE_TRAINING: tuple[Fault, ...] = (killed_amid_a_save, stopped, interrupted_twice)
ONCE: tuple[Fault, ...] = (
    stopped_anywhere, interrupted, out_of_time, out_of_disk, full_filesystem, read_only, damaged_file,
    deleted_manifest, all_damaged, damaged_metrics, no_folder, second_run, lock_of_a_dead_one, held_up,
)  # fmt: skip
OF_SEVERAL_PROCESSES: tuple[Fault, ...] = (
    killed, killed_amid_a_save, stopped, interrupted_twice, out_of_time, out_of_disk,
)  # fmt: skip

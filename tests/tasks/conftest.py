"""A run that takes a second once compiled, one such run that was never stopped, and what it looked like on the way."""

import contextlib
import pathlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from t5x_lite import load_pretrained
from t5x_lite.config import load_config
from t5x_lite.errors import Stopped
from t5x_lite.evaluation import constants
from t5x_lite.reports import report
from t5x_lite.tasks.finetune import run as finetune
from t5x_lite.wiring import supervised

STEPS = 6
# Evaluations after steps 3 and 6, checkpoints after steps 2, 4 and 6, dropout on.
TINY = {
    "model.architecture.d_model": "16",
    "model.architecture.d_kv": "8",
    "model.architecture.d_ff": "32",
    "model.architecture.num_encoder_layers": "1",
    "model.architecture.num_decoder_layers": "1",
    "model.architecture.dropout_rate": "0.1",
    "model.architecture.vocab_size": "384",
    "tokenizer.vocab_size": "300",
    "data.encoder_length": "32",
    "data.decoder_length": "16",
    "data.train.limit": "24",
    "batch.buckets": "((32, 16),)",
    "train.steps": str(STEPS),
    "evaluation.every_steps": "3",
    "evaluation.bootstrap_samples": "20",
    "checkpoint.every_steps": "2",
    "checkpoint.keep": "3",
    "generation.max_new_tokens": "8",
    "logging.tensorboard": "False",
}


@pytest.fixture(scope="session")
def tiny() -> dict[str, str]:
    """What of configs/quickstart.py:runlocal is changed."""
    return TINY


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., Any]:
    """Makes the config of a tiny run, some fields changed: tiny_config({"seed": "1"})."""
    return lambda overrides={}: load_config("quickstart.py:runlocal", TINY | overrides)


@contextlib.contextmanager
def reporting_quickly() -> Iterator[None]:
    """Curves that nobody looks at, and a constant baseline that is hardly searched for: a fifth of a tiny run's time.

    tests/reports and tests/evaluation have the real ones.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "plot_metrics", lambda records, panels: b"\x89PNG")
        patch.setattr(report, "draw_metrics", lambda records, panels: b"<svg></svg>")
        patch.setattr(constants, "_BEAMS", 1)
        patch.setattr(constants, "_WORDS", 10)
        yield


@pytest.fixture(scope="module", autouse=True)
def quick_reports() -> Iterator[None]:
    with reporting_quickly():
        yield


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Any]:
    """`with stopped_at(step):` a run inside gets SIGTERM with the batch of that step, and stops."""
    iterate = supervised.iterate

    @contextlib.contextmanager
    def stopped(step: int) -> Iterator[None]:
        def stopping(plan, start, stop, **settings):
            for number, batch in enumerate(iterate(plan, start, stop, **settings), start=start + 1):
                if number == step:
                    signal.raise_signal(signal.SIGTERM)
                yield batch

        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(supervised, "iterate", stopping)
            yield

    return stopped


class Finished(NamedTuple):
    """A run that was never stopped, and its folder as it was before each step: what a kill would have left then."""

    folder: pathlib.Path
    before_step: dict[int, pathlib.Path]


def copy(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """Copies the folder of a live run; what is written before a checkpoint must be copied after it."""
    target.mkdir(parents=True)
    names = sorted(path.name for path in source.iterdir())  # "checkpoints" is the first
    for name in names:
        # Not shutil: files of a checkpoint under way may go while they are copied.
        subprocess.run(["cp", "-r", str(source / name), str(target)], stderr=subprocess.DEVNULL)
    return target


@pytest.fixture(scope="session")
def finished(tiny_config, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished") / "run"
    copies = tmp_path_factory.mktemp("copies")
    result = Finished(folder, {})
    iterate = supervised.iterate

    def copying(plan, start, stop, **settings):
        for step, batch in enumerate(iterate(plan, start, stop, **settings), start=start + 1):
            result.before_step[step] = copy(folder, copies / str(step))
            yield batch

    with pytest.MonkeyPatch.context() as patch, reporting_quickly():
        patch.setattr(supervised, "iterate", copying)
        finetune.run(tiny_config(), str(folder))
    return result


@pytest.fixture(scope="session")
def roughened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[pathlib.Path], pathlib.Path]:
    """roughened(directory of a model): one of weights so large that it writes other words for other inputs."""

    def make(source: pathlib.Path) -> pathlib.Path:
        t5, rng = load_pretrained(source), np.random.default_rng(0)
        t5.params = jax.tree.map(
            lambda leaf: (leaf + 0.5 * rng.normal(size=leaf.shape)).astype(np.float32), t5.params
        )
        folder = tmp_path_factory.mktemp("rough")
        t5.save_pretrained(folder)
        return folder

    return make

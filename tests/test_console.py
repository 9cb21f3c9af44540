"""What reaches the terminal, the log file, and nobody."""

import importlib.util
import io
import logging
import os
import pty
import re
import subprocess
import sys

import pytest

from t5x_lite import console

SCRIPT = """
import time
from t5x_lite import console
console.setup()
console._SECONDS_BEFORE_A_NESTED_BAR = 0.4
with console.progress(4, "training", "step", initial=1) as bar:
    bar.announce("compiling for (96, 48, 10)")
    for step in (2, 3, 4):
        bar.note(f"loss {step}.5")
        bar.update()
        with console.progress(3, "evaluating", "batch") as inner:
            for _ in range(3):
                time.sleep(0.3 if step == 4 else 0.0)
                inner.update()
        console.log.info("step %d done", step)
"""


@pytest.fixture
def lines(monkeypatch, caplog):
    """The log of a program without a terminal, whose clock this test sets: lines.clock[0] = seconds."""
    monkeypatch.setenv("T5X_LITE_PROGRESS", "1")
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with open(os.devnull, "w") as nowhere, caplog.at_level(logging.INFO, logger="t5x_lite"):
        monkeypatch.setattr(console.sys, "stderr", nowhere)
        caplog.clock = clock
        yield caplog


def test_without_a_terminal_a_bar_is_a_line_every_30_seconds(lines):
    with console.progress(100, "training", "step") as bar:
        bar.announce("compiling for (96, 48, 10)")
        for step in range(1, 81):
            lines.clock[0] = step + (step > 60) * 40  # one step takes 40 seconds more
            bar.note(f"loss {step}")
            bar.update()
    assert lines.messages == [
        "training: compiling for (96, 48, 10)",
        "training: 30/100, 01:10 left, 1.0 step/s, loss 30",
        "training: 60/100, 00:40 left, 1.0 step/s, loss 60",
        "training: 61/100, 26:39 left, 41.00 s/step, loss 61",
    ]


def test_the_first_one_which_compiles_says_nothing_of_the_others(lines):
    with console.progress(20, "training", "step", initial=4) as bar:
        for seconds in (100, 110, 130):
            lines.clock[0] = seconds
            bar.update()
    assert lines.messages == ["training: 5/20", "training: 7/20, 03:15 left, 15.00 s/step"]
    lines.clear()
    lines.clock[0] = 0
    with console.progress(20, "training", "step") as bar:
        for seconds in (29, 31):  # compiled before the first line
            lines.clock[0] = seconds
            bar.update()
    assert lines.messages == ["training: 2/20, 00:36 left, 2.00 s/step"]


def test_a_total_that_is_not_known(lines):
    with console.progress(None, "reading", "row") as bar:
        for lines.clock[0] in (10.0, 50.0):
            bar.update(160)
    assert lines.messages == ["reading: 320, 4.0 row/s"]


def test_progress_can_be_switched_off(lines, monkeypatch):
    monkeypatch.setenv("T5X_LITE_PROGRESS", "0")
    with console.progress(2, "training", "step") as bar:
        bar.announce("compiling")
        lines.clock[0] = 99.0
        bar.update()
    assert lines.messages == []


def test_only_process_0_speaks(lines, monkeypatch, capfd):
    from jax._src import distributed

    monkeypatch.setattr(distributed.global_state, "process_id", 1)
    with console.progress(2, "training", "step") as bar:
        bar.announce("compiling")
        lines.clock[0] = 99.0
        bar.update()
    assert lines.messages == []
    monkeypatch.setattr(console.sys, "stderr", sys.__stderr__)
    handler = console._AboveBars()
    handler.addFilter(console._from_speaker)
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        handler.handle(logging.LogRecord("t5x_lite", level, "", 0, f"at {level}", None, None))
    assert capfd.readouterr().err == "at 40\n"  # an error of any process is news


def in_a_terminal(code: str) -> str:
    """What a program writes to a terminal of 100 columns."""
    parent, child = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k != "T5X_LITE_PROGRESS"}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=child, env=environment)
    os.close(child)
    written = b""
    while True:
        try:
            piece = os.read(parent, 4096)
        except OSError:  # how Linux reports that the other end is closed
            piece = b""
        if not piece:
            break
        written += piece
    os.close(parent)
    assert process.wait(60) == 0
    return written.decode()


def test_a_terminal_shows_one_bar_and_a_second_one_only_if_it_lasts():
    written = in_a_terminal(SCRIPT)
    redrawn = re.split(r"[\r\n]+", written)
    assert any("1/4" in text and "compiling for (96, 48, 10)" in text for text in redrawn)
    assert any("3/4" in text and "loss 3.5" in text for text in redrawn)
    nested = [text for text in redrawn if text.startswith("evaluating")]
    assert nested and all("2/3" in text or "3/3" in text for text in nested)
    # Log lines stand on lines of their own: the bar is wiped before each.
    for step in (2, 3, 4):
        assert any(re.fullmatch(rf"\d\d:\d\d:\d\d step {step} done", text) for text in redrawn)
    assert not redrawn[-1].strip()  # nothing is left of the bars


@pytest.mark.parametrize(
    "libtpu, plugin, files, platforms",
    [
        (True, False, {}, "cpu"),
        (False, False, {}, None),  # nothing would be printed
        (True, True, {}, None),  # a GPU's plugin
        (True, False, {"/dev/accel*": ["/dev/accel0"]}, None),  # a TPU of v2 to v4
        (True, False, {"/dev/vfio/[0-9]*": ["/dev/vfio/0"]}, None),  # v5e and later
    ],
)
def test_libtpu_is_left_alone_only_where_no_tpu_can_be(
    monkeypatch, libtpu, plugin, files, platforms
):
    found = {"libtpu": libtpu, "jax_plugins": plugin}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found[name] or None)
    monkeypatch.setattr(console.glob, "glob", lambda pattern: files.get(pattern, []))
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.delenv("JAX_PLATFORMS")
    console.look_for_no_tpu_in_vain()
    assert os.environ.get("JAX_PLATFORMS") == platforms
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    console.look_for_no_tpu_in_vain()
    assert os.environ["JAX_PLATFORMS"] == "tpu"


def test_googles_hardware_on_the_bus_is_left_alone(monkeypatch, tmp_path):
    (tmp_path / "vendor").write_text("0x1ae0\n")
    found = {"libtpu": True, "jax_plugins": None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found[name])
    monkeypatch.setattr(
        console.glob, "glob", lambda p: [str(tmp_path / "vendor")] if "pci" in p else []
    )
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.delenv("JAX_PLATFORMS")
    console.look_for_no_tpu_in_vain()
    assert "JAX_PLATFORMS" not in os.environ


def test_a_line_goes_to_the_standard_error_of_now(capsys, monkeypatch):
    """Notebooks and tests replace it, and close what was there before."""
    console.setup()
    before = io.StringIO()
    monkeypatch.setattr(sys, "stderr", before)
    console.log.warning("one")
    before.close()
    monkeypatch.undo()
    console.log.warning("two")
    assert capsys.readouterr().err.endswith(" two\n")

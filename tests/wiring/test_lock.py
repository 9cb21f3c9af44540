"""A workdir has one run at a time: which locks hold, which are taken over, and what is left behind."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from t5x_lite.errors import InputError
from t5x_lite.wiring import lock
from t5x_lite.wiring.lock import LOCK_FILE, locked

HOLDER = """
import sys, time
from t5x_lite.wiring.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of a folder, and the folder."""
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process, folder
    process.kill()
    process.wait()


def test_the_second_run_is_refused_while_the_first_lives(holder):
    process, folder = holder
    message = f"another run is there .*process {process.pid},"
    with pytest.raises(InputError, match=message) as raised, locked(str(folder)):
        pass
    assert "\n" not in str(raised.value)
    assert [file.name for file in folder.iterdir()] == [LOCK_FILE]


def test_the_lock_of_a_dead_one_is_taken_over(holder, caplog):
    process, folder = holder
    process.kill()
    process.wait()
    with caplog.at_level("WARNING", "t5x_lite"), locked(str(folder)):
        assert json.loads((folder / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert "is taken over" in caplog.text
    assert not list(folder.iterdir())


def test_another_process_of_the_same_number_is_not_the_one_that_died(tmp_path):
    """This one's number, and another time of beginning."""
    with locked(str(tmp_path)):
        mine = json.loads((tmp_path / LOCK_FILE).read_text())
    (tmp_path / LOCK_FILE).write_text(json.dumps({**mine, "started": "1"}))
    with locked(str(tmp_path)):
        pass


def test_a_lock_within_the_same_is_none(tmp_path):
    """The program's is around a task, whose training takes one for whoever calls it without the program."""
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with locked(str(tmp_path / "run")):
        before = (tmp_path / "run" / LOCK_FILE).read_text()
        with locked(str(tmp_path / "link")):
            assert (tmp_path / "run" / LOCK_FILE).read_text() == before
        assert (tmp_path / "run" / LOCK_FILE).read_text() == before
    assert not (tmp_path / "run").exists()


def test_another_thread_is_another_run(tmp_path):
    found = []

    def other():
        try:
            with locked(str(tmp_path)):
                found.append("in")
        except InputError as error:
            found.append(str(error))

    for expected in ("another run is there", "in"):
        with locked(str(tmp_path)) if expected != "in" else contextlib.nullcontext():
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        assert expected in found[-1]


def test_the_lock_in_a_copy_of_a_folder_holds_nothing(tmp_path):
    with locked(str(tmp_path / "run")):
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        with locked(str(tmp_path / "copy")):
            pass
        assert (tmp_path / "run" / LOCK_FILE).exists()


@pytest.mark.parametrize("lives", [True, False])
@pytest.mark.parametrize("content", ['{"host": "other", "place": "there", "pid": 1}', "{", "[1]"])
def test_of_another_host_the_silence_tells(tmp_path, monkeypatch, content, lives):
    monkeypatch.setattr(lock, "_SILENCE", 30.0 if lives else 0.3)
    monkeypatch.setattr(lock, "_LOOK", 0.02)
    file = tmp_path / LOCK_FILE
    file.write_text(content)
    if lives:
        threading.Timer(0.2, lambda: os.utime(file, (1.0, 1.0))).start()
        with pytest.raises(InputError, match="another run"), locked(str(tmp_path)):
            pass
        return
    with locked(str(tmp_path)):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert not file.exists()


def test_a_living_run_is_never_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT", 0.05)
    with locked(str(tmp_path)):
        old = time.time() - 600
        os.utime(tmp_path / LOCK_FILE, (old, old))
        end = time.monotonic() + 20
        while (tmp_path / LOCK_FILE).stat().st_mtime < old + 300 and time.monotonic() < end:
            time.sleep(0.02)
        assert (tmp_path / LOCK_FILE).stat().st_mtime > old + 300


def test_nothing_is_left_of_a_folder_that_was_only_locked(tmp_path):
    with locked(str(tmp_path / "a" / "b")):
        pass
    assert not (tmp_path / "a" / "b").exists()
    with locked(str(tmp_path / "c")):
        (tmp_path / "c" / "config.json").write_text("{}")
    assert [file.name for file in (tmp_path / "c").iterdir()] == ["config.json"]


def test_what_cannot_be_locked_is_left_to_what_opens_it(tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file" / "run", "nowhere://bucket/run"):
        with locked(str(workdir)):
            pass

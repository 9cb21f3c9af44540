"""The end of the program's process after a fault."""

import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

HELD_UP = """
import sys, threading
from t5x_lite import main
main._LEAVING_SECONDS = 0.5
threading.Thread(target=threading.Event().wait).start()
sys.argv = ["t5x-lite", "--no_such_flag"]
main.program()
"""


def test_a_thread_that_waits_for_ever_does_not_keep_the_program():
    """As orbax's do after a save that failed."""
    ended = subprocess.run(
        [sys.executable, "-c", HELD_UP], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2 and ended.stderr.startswith("t5x-lite: --no_such_flag")

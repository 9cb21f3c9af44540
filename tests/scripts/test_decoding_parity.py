"""The command says what is wrong with its arguments before it compares anything (tests/decoding has its cases)."""

import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "decoding_parity.py"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["./nowhere"], "no such directory"),
        (["nano", "--length", "20"], "--length 20: only 0 of 200 prompts are that short"),
        (["nano", "--new-tokens", "4"], "--new-tokens must be at least 24"),
    ],
)
def test_arguments_that_cannot_be(arguments, message, tmp_path):
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1], result.stderr


@pytest.mark.slow
def test_nano(tmp_path):
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "nano"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "| all | 8" in result.stdout and "WRONG" not in result.stdout

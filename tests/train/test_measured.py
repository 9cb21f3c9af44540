"""memory.json: what is damaged there costs a run nothing but a table of its report."""

import pytest

from t5x_lite.train.measured import read_memory

GOOD = '{"8 x 4 x 2": {"arguments": 1, "outputs": 2, "aliased": 3, "temporaries": 4}}'


def test_what_was_noted_is_read(tmp_path):
    (tmp_path / "memory.json").write_text(GOOD)
    assert read_memory(tmp_path / "memory.json")["8 x 4 x 2"]["temporaries"] == 4
    assert read_memory(tmp_path / "nothing") == {}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"[1]",
        b"null",
        b'{"8": 3}',
        b'{"8": {}}',
        GOOD[:-9].encode(),
        b"[" * 100_000,
        b"9" * 6000,
    ],
    ids=lambda content: repr(content[:9]),
)
def test_what_is_damaged_is_passed_over_with_a_warning(tmp_path, content: bytes, caplog):
    (tmp_path / "memory.json").write_bytes(content)
    assert read_memory(tmp_path / "memory.json") == {}
    assert "memory.json: passed over, it is damaged" in caplog.text

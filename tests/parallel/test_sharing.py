"""What the processes share out comes together again, in order and to the bit."""

import types

import numpy as np
import pytest

from t5x_lite.parallel import sharing
from t5x_lite.parallel.sharing import share_out, share_out_columns


@pytest.fixture
def of_process(monkeypatch):
    """of_process(count, call): what `call()` returns in each of so many processes, one after the other."""

    def run(count, call):
        given = []
        for number in range(count):
            process = types.SimpleNamespace(
                process_count=lambda: count, process_index=lambda number=number: number
            )
            monkeypatch.setattr(sharing, "jax", process)
            monkeypatch.setattr(sharing, "_exchange", lambda own: given.append(own) or [own])
            call()
        monkeypatch.setattr(sharing, "_exchange", lambda own: given)
        return call()

    return run


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_each_row_is_worked_on_once(of_process, rows):
    texts = [f"text {row}\n\u2028é" for row in range(rows)]
    worked = []

    def call():
        worked.clear()
        return share_out(len(texts), lambda own: worked.extend(texts[own]) or texts[own])

    assert of_process(3, call) == texts
    assert worked == texts[2 * rows // 3 :]  # the last process's
    assert share_out(len(texts), lambda own: texts[own]) == texts


def test_no_rows_have_their_columns(of_process):
    """As they have them in one process."""

    def call():
        return share_out_columns(0, lambda own: {"one": np.zeros(own.stop - own.start)})

    for found in (of_process(3, call), of_process(1, call)):
        assert list(found) == ["one"] and found["one"].shape == (0,)


def test_numbers_keep_every_bit(of_process):
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(size=6), [np.nan, np.inf, 1e-310])
    numbers = {"one": values, "other": values[::-1].astype(np.float32)}

    def call():
        return share_out_columns(9, lambda own: {k: v[own] for k, v in numbers.items()})

    for name, column in of_process(4, call).items():
        np.testing.assert_array_equal(column, numbers[name].astype(np.float64))

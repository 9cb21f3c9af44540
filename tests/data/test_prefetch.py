import threading
import time

import pytest

from t5x_lite.data.prefetch import iterate


class Steps:
    """A plan whose batch is its step; remembers which ones were built."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.built = []

    def batch(self, step):
        if step == self.fails_at:
            raise ValueError(f"batch {step} is broken")
        time.sleep(0.002 * (step % 3))  # out of order, if order were left to chance
        self.built.append(step)
        return {"step": step}


def no_threads_but(before):
    for _ in range(100):
        if set(threading.enumerate()) <= before:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (2, 4), (4, 16)])
def test_in_order_from_any_step(threads, ahead):
    steps = iterate(Steps(), 17, 60, threads=threads, ahead=ahead)
    assert [batch["step"] for batch in steps] == list(range(17, 60))


def test_nothing_to_do():
    assert list(iterate(Steps(), 5, 5, threads=1, ahead=1)) == []


def test_batches_are_built_ahead_but_not_all():
    plan = Steps()
    batches = iterate(plan, 0, 1000, threads=1, ahead=4)
    next(batches)
    time.sleep(0.3)
    assert 3 <= len(plan.built) <= 8
    batches.close()


def test_an_exception_of_the_plan_arrives_after_the_good_batches():
    before = set(threading.enumerate())
    seen = []
    with pytest.raises(ValueError, match="batch 7 is broken"):
        for batch in iterate(Steps(fails_at=7), 0, 20, threads=2, ahead=4):
            seen.append(batch["step"])
    assert seen == list(range(7))
    assert no_threads_but(before)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_threads_end_when_the_loop_is_broken(error):
    before = set(threading.enumerate())

    def loop():
        for _ in iterate(Steps(), 0, 10_000, threads=2, ahead=4):
            raise error

    with pytest.raises(error):
        loop()
    assert no_threads_but(before)


def test_threads_end_when_the_iterator_is_closed_or_exhausted():
    before = set(threading.enumerate())
    batches = iterate(Steps(), 0, 10_000, threads=2, ahead=4)
    next(batches)
    batches.close()
    assert no_threads_but(before)
    list(iterate(Steps(), 0, 10, threads=2, ahead=4))
    assert no_threads_but(before)

"""A process reads rows of its own, and together they are the batch."""

import types

import jax
import numpy as np
import pytest

from t5x_lite.parallel import own_rows
from t5x_lite.parallel.mesh import make_mesh
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.parallel.shardings import batch_sharding

AXES = ("slice", "data", "fsdp", "model")


@pytest.mark.parametrize("sizes", [(1, 8, 1, 1), (2, 1, 2, 2), (1, 1, 1, 8)], ids=str)
def test_the_rows_of_a_single_process_are_all(sizes):
    mesh = make_mesh(dict(zip(AXES, sizes, strict=True)))
    rows = OwnRows(mesh)
    np.testing.assert_array_equal(rows.of(16), np.arange(16))
    batch = {"tokens": np.arange(48).reshape(16, 3), "weights": np.arange(16.0)}
    placed = rows.put(batch)
    for name, array in placed.items():
        assert array.sharding == batch_sharding(mesh)
        np.testing.assert_array_equal(array, batch[name])
    plan = types.SimpleNamespace(
        batch=lambda step, keep: {"tokens": step * batch["tokens"][keep(16)]}
    )
    np.testing.assert_array_equal(rows.read(plan, 2)["tokens"], 2 * batch["tokens"])


@pytest.mark.parametrize(
    ("sizes", "devices", "expected"),
    [
        ((1, 4, 1, 2), (0, 1, 2, 3), [0, 1, 2, 3]),
        ((1, 4, 1, 2), (4, 5), [4, 5]),
        ((2, 1, 2, 2), (2, 3, 6, 7), [2, 3, 6, 7]),  # parts that are no neighbours
        ((1, 2, 1, 4), (1, 2), [0, 1, 2, 3]),  # beside others that hold the same
    ],
)
def test_a_process_builds_what_its_devices_hold(monkeypatch, sizes, devices, expected):
    mesh = make_mesh(dict(zip(AXES, sizes, strict=True)))
    whole = batch_sharding(mesh)
    own = [jax.devices()[number] for number in devices]

    def of_own(shape):
        return {device: whole.devices_indices_map(shape)[device] for device in own}

    of_process = types.SimpleNamespace(addressable_devices_indices_map=of_own)
    monkeypatch.setattr(own_rows, "batch_sharding", lambda mesh: of_process)
    assert OwnRows(mesh).of(8).tolist() == expected

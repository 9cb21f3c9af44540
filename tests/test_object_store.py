"""Remote folders, in a stand-in with an object store's habits: nothing can be appended to, folders are not made."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from t5x_lite.checkpoints.manager import Checkpoints
from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.reports import metrics
from t5x_lite.reports.metrics import MetricsWriter, read_metrics
from t5x_lite.reports.report import write_report
from t5x_lite.wiring.workdir import claim_workdir, is_claimed, local_copy, open_workdir


def names(folder):
    return sorted(path.name for path in epath.Path(folder).iterdir())


def test_the_stand_in_has_the_habits_of_an_object_store(bucket):
    folder = epath.Path(bucket) / "a"
    folder.mkdir(parents=True)
    assert not folder.exists()  # nothing is in it
    file = folder / "b" / "c"
    file.write_text("1")
    assert folder.is_dir() and names(folder) == ["b"]
    with file.open("a") as stream:
        stream.write("2")
    assert file.read_text() == "2"
    file.replace(folder / "d")
    assert names(folder) == ["d"]


def write_run(workdir, start, stop, tensorboard=False):
    with MetricsWriter(workdir, start_step=start, tensorboard=tensorboard) as writer:
        for step in range(start + 1, stop + 1):
            writer.write(step, {"loss": 1 / step})


def test_metrics_grow_and_go_on(bucket, tmp_path, monkeypatch):
    write_run(tmp_path / "local", 0, 6)
    whole = (tmp_path / "local" / "metrics.jsonl").read_bytes()
    monkeypatch.setattr(metrics, "_SECONDS_BETWEEN_UPLOADS", 0.0)
    workdir = f"{bucket}/run"
    with MetricsWriter(workdir, start_step=0, tensorboard=False) as writer:
        for step in range(1, 6):
            writer.write(step, {"loss": 1 / step})
            assert [record["step"] for record in read_metrics(workdir)] == list(range(1, step + 1))
    write_run(workdir, 4, 6)
    assert (epath.Path(workdir) / "metrics.jsonl").read_bytes() == whole


def test_events_arrive_and_those_of_a_run_before_stay(bucket, tmp_path):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    workdir = f"{bucket}/run"
    write_run(workdir, 0, 3, tensorboard=True)
    (first,) = (name for name in names(workdir) if "tfevents" in name)
    data, steps = (epath.Path(workdir) / first).read_bytes(), []
    while data:  # length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(data[:8], "little")
        content = data[12 : 12 + length]
        checksum = int.from_bytes(data[12 + length : 16 + length], "little")
        assert checksum == masked_crc32c(content)
        steps += [Event.FromString(content).step] * bool(Event.FromString(content).summary.value)
        data = data[16 + length :]
    assert steps == [1, 2, 3]
    kept = (epath.Path(workdir) / first).read_bytes()
    write_run(workdir, 2, 4, tensorboard=True)
    assert (epath.Path(workdir) / first).read_bytes() == kept


def state_of(step):
    return {
        "kernel": jnp.full((4, 3), step, jnp.float32),
        "scale": jnp.full((3,), step, jnp.bfloat16),
    }


def test_checkpoints_are_saved_restored_pruned_and_found_damaged(bucket, tmp_path):
    checkpoints = Checkpoints(f"{bucket}/run/checkpoints", keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, state_of(step), {"examples": "x"})
    checkpoints.close()
    checkpoints = Checkpoints(f"{bucket}/run/checkpoints", keep=2)
    assert checkpoints.latest_step() == 3
    assert [name for name in names(f"{bucket}/run/checkpoints") if name.isdigit()] == ["2", "3"]
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state_of(0))
    state, metadata = checkpoints.restore(shapes)
    assert metadata == {"examples": "x"}
    jax.tree.map(np.testing.assert_array_equal, state, state_of(3))
    checkpoints.close()
    data = tmp_path / "store/bucket/run/checkpoints/3/state/manifest.ocdbt"
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    checkpoints = Checkpoints(f"{bucket}/run/checkpoints", keep=2)
    state, _ = checkpoints.restore(shapes)
    jax.tree.map(np.testing.assert_array_equal, state, state_of(2))
    assert "damaged-3" in names(f"{bucket}/run/checkpoints")
    checkpoints.close()


def test_a_workdir_is_claimed_its_folders_are_copied_and_its_report_is_written(bucket):
    config = load_config("quickstart.py:runlocal", {})
    folder = open_workdir(f"{bucket}/run", config)
    assert not is_claimed(folder)
    claim_workdir(folder, config)
    assert is_claimed(open_workdir(f"{bucket}/run", config)) and names(folder) == ["config.json"]
    with pytest.raises(InputError, match="config.seed was 0, is 3"):
        open_workdir(f"{bucket}/run", load_config("quickstart.py:runlocal", {"seed": "3"}))
    for content in (b"1", b"2"):
        with local_copy(folder / "model", with_files=True) as local:
            before = [path.read_bytes() for path in local.iterdir()]
            (local / "weights").write_bytes(content)
    assert before == [b"1"] and (folder / "model" / "weights").read_bytes() == b"2"
    write_report(folder, {"title": "a run", "training": {"steps": 3}})
    assert json.loads((folder / "report.json").read_text())["training"] == {"steps": 3}
    assert {"report.json", "report.md", "report.html"} <= set(names(folder))


def test_what_is_missing_is_named():
    config = load_config("quickstart.py:runlocal", {})
    with pytest.raises(InputError, match=r"there is no store hdfs://; .* gs://"):
        open_workdir("hdfs://host/run", config)


def test_without_a_client_the_refusal_says_what_to_install(monkeypatch):
    import sys

    from etils.epath import backend

    monkeypatch.setitem(sys.modules, "gcsfs", None)  # importing it fails, installed or not
    backend.fsspec_backend._get_filesystem.cache_clear()
    with pytest.raises(InputError, match=r"gs:// needs gcsfs, .* pip install t5x-lite\[gcs\]"):
        open_workdir("gs://bucket/run", load_config("quickstart.py:runlocal", {}))


def test_a_store_that_refuses_is_named(bucket, monkeypatch):
    """Clients have exceptions of their own, of no common kind."""

    class HttpError(Exception): ...

    def refuse(self, path):
        raise HttpError("Anonymous caller does not have storage.objects.list access\nand more")

    monkeypatch.setattr("tests.object_store.ObjectStore.exists", refuse, raising=False)
    with pytest.raises(
        InputError, match=r"gs://bucket/run: cannot be reached \(Anonymous .*access\)"
    ):
        open_workdir(f"{bucket}/run", load_config("quickstart.py:runlocal", {}))

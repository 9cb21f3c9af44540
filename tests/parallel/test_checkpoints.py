"""Checkpoints of several real processes: each hashes what it writes, all read a share, and all take the same one."""

import json
import re
import time

import pytest

from tests.metadata_server import Metadata
from tests.parallel.several import ends, start, task, wait_for_step

# Saves two states sharded over the processes, and says who hashed which files.
SAVING = """
import json, sys
import numpy as np
from t5x_lite import console, main
from t5x_lite.parallel.processes import joined
folder, what, *rest = sys.argv[1:]
console.setup()
launch, _ = main.parse_launch(rest)
with joined(launch, "same"):
    import jax
    from jax.sharding import NamedSharding, PartitionSpec
    from t5x_lite.checkpoints import manager, manifest, own_part
    hashed = []
    def watched(module):
        sha256 = module.sha256_of
        return lambda path: hashed.append(str(path)) or sha256(path)
    own_part.sha256_of, manifest.sha256_of = watched(own_part), watched(manifest)
    rows = NamedSharding(jax.make_mesh((2,), ("data",)), PartitionSpec("data"))
    value = np.random.default_rng(0).normal(size=(2, 200_000)).astype(np.float32)
    make = lambda step: jax.make_array_from_callback(value.shape, rows, lambda at: value[at] + step)
    checkpoints = manager.Checkpoints(folder, keep=2)
    if what == "save":
        for step in (1, 2):
            checkpoints.save(step, {"w": make(step)}, {})
            checkpoints.wait()
        found = None
    else:
        shape = jax.ShapeDtypeStruct(value.shape, np.float32, sharding=rows)
        state, _ = checkpoints.restore({"w": shape})
        at = state["w"].addressable_shards[0]
        found = int(np.unique(np.round(np.asarray(at.data) - value[at.index]))[0])
    checkpoints.close()
    print("RESULT", json.dumps([hashed, found]), flush=True)
"""


def saving(folder, what):
    """What each of the two processes hashed, and which step it restored."""
    processes = start(["-c", SAVING, str(folder), what], 2)
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    lines = [next(line for line in out.splitlines() if "RESULT" in line) for out, _ in said]
    return [json.loads(line.partition("RESULT ")[2]) for line in lines], said


def test_each_process_hashes_its_own_part_and_all_go_back_together(tmp_path):
    folder = tmp_path / "checkpoints"
    found, _ = saving(folder, "save")
    parts = [
        {part for name in hashed for part in re.findall(r"ocdbt\.process_\d", name)}
        for hashed, _ in found
    ]
    assert parts == [{"ocdbt.process_0"}, {"ocdbt.process_1"}]
    kept = json.loads((folder / "2" / "manifest.json").read_text())["files"]
    assert any("process_0/" in name for name in kept) and any("process_1/" in name for name in kept)

    # A flipped bit in what process 1 wrote; both find the checkpoint damaged, whoever reads the file.
    files = [path for path in (folder / "2").rglob("ocdbt.process_1/d/*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    found, said = saving(folder, "restore")
    assert [step for _, step in found] == [1, 1]
    assert "moved to damaged-2" in said[0][1] and (folder / "damaged-2").is_dir()


@pytest.mark.slow
def test_a_notice_of_preemption_stops_all_at_the_same_step(tmp_path, monkeypatch):
    settings = [
        "--config=quickstart.py:runlocal", "--config.train.steps=2000",
        "--config.checkpoint.every_steps=50", "--config.logging.every_steps=1",
        "--config.stop_on_preemption=True",
    ]  # fmt: skip
    with Metadata() as server:
        monkeypatch.setenv("GCE_METADATA_HOST", server.host)
        processes = start(task(tmp_path, *settings), 2)
        wait_for_step(tmp_path, 50)
        server.values["preempted"] = "TRUE"
        begin = time.monotonic()
        found = ends(processes)
    assert [status for status, _ in found] == [75, 75], found
    steps = {re.search(r"t5x-lite: stopped at step (\d+);", errors)[1] for _, errors in found}
    assert len(steps) == 1 and time.monotonic() - begin < 60
    assert steps <= {path.name for path in (tmp_path / "checkpoints").iterdir()}

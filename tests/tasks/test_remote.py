"""A whole run whose folder is in an object store is the run of a local one, stopped on the way or not."""

import json
import signal

import pytest
from etils import epath
from safetensors.numpy import load_file

from t5x_lite.errors import Stopped
from t5x_lite.tasks.finetune import run as finetune
from t5x_lite.wiring import supervised


def test_a_run_in_a_bucket_stopped_and_gone_on_with(
    finished, tiny_config, bucket, tmp_path, monkeypatch
):
    workdir, iterate, stop_at = f"{bucket}/runs/one", supervised.iterate, [3]

    def sending(plan, start, stop, **settings):
        for step, batch in enumerate(iterate(plan, start, stop, **settings), start=start + 1):
            if step in stop_at:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    monkeypatch.setattr(supervised, "iterate", sending)
    with pytest.raises(Stopped, match="stopped at step 3"):
        finetune.run(tiny_config(), workdir)
    stop_at.clear()
    finetune.run(tiny_config(), workdir)
    remote, local = epath.Path(workdir), tmp_path / "store/bucket/runs/one"
    assert {path.name for path in (remote / "checkpoints").iterdir()} >= {"4", "6"}
    for name in ("samples.jsonl", "model/model.safetensors", "tokenizer/spiece.model"):
        assert (remote / name).read_bytes() == (finished.folder / name).read_bytes(), name
    assert load_file(local / "model/model.safetensors").keys()
    ours, theirs = (
        [
            {name: value for name, value in json.loads(line).items() if "time/" not in name}
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (remote, finished.folder)
    )
    assert ours == theirs
    reports = (json.loads((f / "report.json").read_text()) for f in (remote, finished.folder))
    assert len({json.dumps(report["scores"]) for report in reports}) == 1

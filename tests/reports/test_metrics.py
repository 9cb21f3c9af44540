"""metrics.jsonl: valid JSON always, and after a resume as if the run had never stopped."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.reports.metrics import MetricsWriter, read_metrics


def train(workdir, start, stop):
    with MetricsWriter(workdir, start_step=start, tensorboard=False) as writer:
        for step in range(start + 1, stop + 1):
            writer.write(step, {"train/loss": np.float32(1 / step), "train/tokens": 10 * step})
            if step % 2 == 0:
                writer.write(step, {"eval/loss": jnp.float32(2 / step)})


def test_a_resumed_file_equals_that_of_a_run_never_stopped(tmp_path):
    train(tmp_path / "whole", 0, 8)
    train(tmp_path / "stopped", 0, 6)
    with open(tmp_path / "stopped" / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 7, "train/lo')  # killed in the middle of a line
    train(tmp_path / "stopped", 4, 8)
    whole = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert (tmp_path / "stopped" / "metrics.jsonl").read_bytes() == whole
    assert whole.count(b"\n") == 12
    assert not list(tmp_path.rglob("*.new"))
    train(tmp_path / "stopped", 0, 8)  # from the start again: nothing of the old run stays
    assert (tmp_path / "stopped" / "metrics.jsonl").read_bytes() == whole


def test_lines_are_flushed_and_strict_json_whatever_the_values(tmp_path):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    with MetricsWriter(tmp_path, start_step=0, tensorboard=False) as writer:
        values = {"a": float("nan"), "b": jnp.inf, "c": np.float32("-inf")}
        writer.write(1, values | {"d": jnp.bfloat16(1.5), "e": np.int64(3), "f": True})
        line = (tmp_path / "metrics.jsonl").read_text()  # before close
        with pytest.raises(TypeError, match="'loss' is not a number"):
            writer.write(2, {"loss": np.zeros(2)})
        with pytest.raises(TypeError, match="'name' is not a number"):
            writer.write(2, {"name": "text"})
    record = json.loads(line, parse_constant=refuse)
    assert record == {
        "step": 1,
        "a": "NaN",
        "b": "Infinity",
        "c": "-Infinity",
        "d": 1.5,
        "e": 3,
        "f": True,
    }
    assert math.isnan(float(record["a"])) and float(record["c"]) == -math.inf


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"loss": 2}\n{"step": 3}\n')
    with pytest.raises(
        InputError, match=r"metrics.jsonl:2: expected a JSON object with an integer `step`"
    ):
        MetricsWriter(tmp_path, start_step=2, tensorboard=False)
    for bad in ("[1]", '"step"', "3", '{"step": "1"}', "", "{"):
        (tmp_path / "metrics.jsonl").write_text(f'{bad}\n{{"step": 3}}\n')
        with pytest.raises(InputError, match="metrics.jsonl:1"):
            read_metrics(tmp_path)
    assert read_metrics(tmp_path / "nothing") == []


ODD = {
    "bytes that are no UTF-8": b"\xff\xfe\x00",
    "objects in objects": b'{"step":' * 100_000 + b"1" + b"}" * 100_000,
    "a number of 6,000 digits": b'{"step": ' + b"9" * 6000 + b"}",
    "a step that is true": b'{"step": true}',
    "nothing": b"null",
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_line_is_named(tmp_path, name: str):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + ODD[name] + b'\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"metrics.jsonl:2: expected .* remove the line") as error:
        MetricsWriter(tmp_path, start_step=2, tensorboard=False)
    assert "\n" not in str(error.value)


def test_half_a_character_at_the_end_is_a_line_that_was_cut(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 2, "\xc3')
    assert read_metrics(tmp_path) == [{"step": 1}]


@pytest.mark.parametrize("start", [0, 2])
def test_a_folder_in_place_of_the_file_is_told(tmp_path, start: int):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(
        InputError, match=r"metrics.jsonl: .*directory.* remove it, or take another"
    ):
        MetricsWriter(tmp_path, start_step=start, tensorboard=False)
    with pytest.raises(InputError, match=r"metrics.jsonl: "):
        read_metrics(tmp_path)


def test_only_process_0_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with MetricsWriter(tmp_path / "run", start_step=0, tensorboard=True) as writer:
        writer.write(1, {"loss": 1.0})
    assert not (tmp_path / "run").exists()


def test_a_remote_workdir_is_written_whole(tmp_path, bucket):
    train(tmp_path / "local", 0, 4)
    train(f"{bucket}/run", 0, 3)
    train(f"{bucket}/run", 2, 4)
    remote = (tmp_path / "store" / "bucket" / "run" / "metrics.jsonl").read_bytes()
    assert remote == (tmp_path / "local" / "metrics.jsonl").read_bytes()


def test_tensorboard_events_hold_the_finite_values(tmp_path, caplog):
    from tensorboardX.proto import event_pb2

    with MetricsWriter(tmp_path, start_step=0, tensorboard=True) as writer:
        writer.write(1, {"train/loss": 2.5})
        writer.write(2, {"train/loss": float("nan"), "train/grad_norm": 0.5})
    (path,) = tmp_path.glob("events.out.tfevents.*")
    data, scalars = path.read_bytes(), []
    while data:  # a record: length (8 bytes), its checksum (4), the event, its checksum (4)
        size = int.from_bytes(data[:8], "little")
        event = event_pb2.Event.FromString(data[12 : 12 + size])
        scalars += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        data = data[16 + size :]
    assert scalars == [(1, "train/loss", 2.5), (2, "train/grad_norm", 0.5)]
    assert not caplog.records

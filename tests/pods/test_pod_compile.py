"""Train steps compiled for TPUs that are not there, each in a process of its own: libtpu loads once, and its
topologies do not mix with the eight CPU devices of the other tests."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from t5x_lite.errors import InputError
from t5x_lite.pods import topology

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GIB = 2**30

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed: pip install 't5x-lite[pods]' (Linux on x86-64)",
)

PROGRAM = """
import json, sys
import optax
from t5x_lite.errors import InputError
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.t5 import T5
from t5x_lite.optim.losses import LossSettings
from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.pods.compile import compile_train_step
from t5x_lite.pods.topology import topology_mesh

job = json.loads(sys.argv[1])
try:
    mesh = topology_mesh(job["topology"], job["mesh"])
    model = T5(
        T5Config(
            feed_forward_proj="gated-gelu", tie_word_embeddings=False, scale_decoder_outputs=False,
            **job["model"],
        ),
        Execution(dtype="bfloat16", remat="full", scan_layers=True),
    )
    schedule = optax.constant_schedule(1e-3)
    optimizer = make_optimizer(
        "adamw", schedule, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.01, no_weight_decay=(),
        clip_norm=1.0,
        rate_multipliers=(),
    )
    settings = LossSettings(label_smoothing=0.0, z_loss=1e-4, chunk=job["chunk"])
    step = compile_train_step(
        model, optimizer, schedule, settings, mesh, batch_size=job["batch_size"],
        encoder_length=job["encoder_length"], decoder_length=job["decoder_length"],
    )
except InputError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
hlo = step.compiled.as_text()
print(json.dumps({
    "parameters": step.parameters, "seconds": step.seconds, "arguments": step.arguments,
    "aliased": step.aliased, "outputs": step.outputs, "temporaries": step.temporaries,
    "peak": step.peak, "gathers": hlo.count("all-gather"), "reduces": hlo.count("reduce"),
}))
"""

TINY: dict[str, Any] = {
    "topology": "v5e:2x2",
    "mesh": {"data": 1, "fsdp": 2, "model": 2},
    "model": {
        "vocab_size": 1024,
        "d_model": 256,
        "d_kv": 64,
        "d_ff": 512,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
    },
    "batch_size": 8,
    "encoder_length": 64,
    "decoder_length": 32,
    "chunk": 0,
}


def compile_in_a_process(job: dict[str, Any]) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(job)],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@needs_libtpu
def test_a_tiny_step_compiles_with_a_sharded_and_donated_state():
    step = compile_in_a_process(TINY)
    # AdamW holds three float32 arrays a parameter; over 4 devices, and a little more for padded tiles.
    state = 3 * 4 * step["parameters"] / 4
    assert state < step["arguments"] < 1.2 * state
    assert step["aliased"] > 0.98 * state, "the new state takes the place of the old one"
    assert step["gathers"] > 0 and step["reduces"] > 0, "fsdp gathers weights, sums gradients"


@needs_libtpu
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topology": "v5e:two"}, "no TPU topology 'v5e:two'"),
        ({"batch_size": 7}, "batch size 7 must be a multiple of 2"),
        ({"topology": "v5p:4x4x4", "mesh": {"data": 1, "fsdp": 2, "model": 32}}, "torus"),
    ],
    ids=["topology", "batch", "torus"],
)
def test_what_cannot_be_is_one_line(change: dict[str, Any], message: str):
    error = compile_in_a_process(TINY | change)["error"]
    assert message in error and "\n" not in error


def test_without_libtpu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"t5x-lite\[pods\]"):
        topology.topology_devices("v5e:2x2")


@pytest.mark.slow
@needs_libtpu
def test_a_t5_xxl_step_compiles_for_256_v5e_chips():
    """T5 1.1 XXL (11.1 B), AdamW in float32, 128 rows of 512 + 128 tokens, on chips of 16 GB."""
    step = compile_in_a_process(
        {
            "topology": "v5e:16x16",
            "mesh": {"data": 1, "fsdp": 32, "model": 8},
            "model": {
                "vocab_size": 32128,
                "d_model": 4096,
                "d_kv": 64,
                "d_ff": 10240,
                "num_encoder_layers": 24,
                "num_decoder_layers": 24,
                "num_heads": 64,
            },
            "batch_size": 128,
            "encoder_length": 512,
            "decoder_length": 128,
            "chunk": 0,
        }
    )
    print(step)
    assert step["parameters"] == 11_135_332_352
    state = 3 * 4 * step["parameters"] / 256
    assert state < step["arguments"] < 1.05 * state
    assert step["peak"] < 16 * GIB

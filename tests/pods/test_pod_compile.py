"""Steps compiled for TPUs that are not there, each in a process of its own: libtpu loads once, and its topologies do
not mix with the eight CPU devices of the other tests."""

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
from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.pods.chips import topology_of
from t5x_lite.tasks.pod_check.compile import check

def account(spec, flags):
    try:
        config = load_config("pod_check.py:" + spec, flags)
        topology = topology_of(config.topology, config.mesh.slice)
        found = check(config, topology, config.mesh.sizes())
    except InputError as error:
        return {"error": str(error)}
    return {
        "fits": found.fits, "memory": found.memory, "chips": found.topology.chips,
        "programs": {
            one.program.name: {
                "arguments": one.compiled.arguments, "outputs": one.compiled.outputs,
                "temporaries": one.compiled.temporaries, "available": one.compiled.available,
                "seconds": one.compiled.seconds, "beside": one.beside, "flops": one.account.flops,
                "model_flops": one.program.model_flops, "unknown": one.account.unknown_loops,
                "fsdp_sent": one.fsdp_sent, "fsdp_minimum": one.program.fsdp_minimum,
                "largest": one.compiled.largest[:3],
                "collectives": [
                    [c.kind, "+".join(c.axes), c.sent, c.times] for c in one.account.collectives
                ],
            }
            for one in found.programs
        },
    }

for name, (spec, flags) in json.loads(sys.argv[1]).items():
    print(json.dumps({name: account(spec, flags)}), flush=True)
"""


def compiled(jobs: dict[str, tuple[str, dict[str, str]]]) -> dict[str, Any]:
    """What the pod check finds for each (argument of its config, flags), all in one process."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(jobs)],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},  # libtpu knows none of a CPU's
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found: dict[str, Any] = {}
    for line in run.stdout.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


TWO_BY_TWO = {"mesh.fsdp": "2", "mesh.model": "2", "model.remat": "none"}
ONE_LAYER = {
    "model.architecture.num_encoder_layers": "1",
    "model.architecture.num_decoder_layers": "1",
}
WRONG = {
    "topology": ({"topology": "v5e:3x7"}, "no TPU topology 'v5e:3x7'"),
    "batch": ({"batch.size": "7"}, "config.batch.size = 7 must be a multiple of 4"),
    "torus": ({"topology": "v5p:4x4x4", "mesh.fsdp": "2", "mesh.model": "32"}, "torus"),
    "slices": ({"mesh.slice": "2", "mesh.data": "3"}, "there are 8: change the mesh fields"),
    "generation": ({"topology": "v9:2x2"}, "config.topology: expected a generation"),
    "size": ({"topology": "v5e:two"}, "config.topology: expected a generation"),
}
JOBS: dict[str, tuple[str, dict[str, str]]] = {
    "full": ("runlocal,full", TWO_BY_TWO),
    "lora": ("runlocal,lora", TWO_BY_TWO),
    "rollout": ("runlocal,ppo_rollout", {}),
    "generate": ("runlocal,generate", {}),
    "many rollout": (
        "runlocal,ppo_rollout",
        ONE_LAYER
        | {
            "topology": "v5e:8x8",
            "mesh.fsdp": "64",
            "ppo.prompts": "64",
            "ppo.minibatch_size": "64",
        },
    ),
    "reward": ("runlocal,reward", ONE_LAYER),
    "many": ("runlocal,full", {"topology": "v5e:8x8", "mesh.fsdp": "64", "batch.size": "64"}),
    "slices": ("runlocal,full", {"mesh.slice": "2", "model.remat": "none"}),
    "too large": (
        "runlocal,full",
        {"batch.size": "400000", "model.remat": "none", "model.scan_layers": "False"},
    ),
    **{f"wrong {name}": ("runlocal,full", flags) for name, (flags, _) in WRONG.items()},
}


QUICK = ("full", *(f"wrong {name}" for name in WRONG))


@pytest.fixture(scope="module")
def quick() -> dict[str, Any]:
    return compiled({name: JOBS[name] for name in QUICK})


@pytest.fixture(scope="module")
def checks(quick: dict[str, Any]) -> dict[str, Any]:
    return quick | compiled({name: job for name, job in JOBS.items() if name not in QUICK})


def sent(program: dict[str, Any], kinds: tuple[str, ...], axes: str = "fsdp") -> float:
    return sum(c[2] * c[3] for c in program["collectives"] if c[0] in kinds and c[1] == axes)


REDUCTIONS = ("all-reduce", "reduce-scatter")
# What the tiny model of `runlocal` has: FLAN-T5's parts, d_model 256, two layers a stack, 1024 tokens.
ATTENTION, MLP, EMBEDDING = 4 * 256 * 256, 3 * 256 * 512, 1024 * 256
PARAMETERS = 2 * EMBEDDING + 2 * (ATTENTION + MLP) + 2 * (2 * ATTENTION + MLP)


@needs_libtpu
def test_a_train_step_holds_its_state_once_and_multiplies_what_the_model_asks_for(quick):
    found = quick["full"]
    (step,) = found["programs"].values()
    # AdamW holds three float32 arrays a parameter; over 4 devices, and a little more for padded tiles.
    state = 3 * 4 * PARAMETERS / 4
    assert state < step["arguments"] < 1.2 * state
    assert step["outputs"] < 0.02 * state, "the new state takes the place of the old one"
    assert step["unknown"] == 0
    assert 1 <= step["flops"] * 4 / step["model_flops"] <= 1.05
    assert found["fits"] and found["memory"] >= step["arguments"] + step["temporaries"]
    assert sent(step, ("all-gather",)) > 0 and sent(step, REDUCTIONS) > 0


@pytest.mark.slow
@needs_libtpu
def test_an_axis_over_a_whole_plane_gathers_and_scatters_the_least(checks):
    """64 chips: at once, and not along one side after the other, libtpu would write both as all-reduces (2.0)."""
    (step,) = checks["many"]["programs"].values()
    assert step["fsdp_sent"] <= 1.2 * step["fsdp_minimum"]
    assert sent(step, ("all-gather",)) > 0.5 * step["fsdp_minimum"]


@pytest.mark.slow
@needs_libtpu
def test_a_lora_step_moves_no_gradient_of_a_frozen_weight(checks):
    full, lora = (checks[name]["programs"]["train step"] for name in ("full", "lora"))
    # Over the model axis of 2 lie halves; a device sends half of what is reduced and scattered, in bfloat16 at least.
    assert sent(full, REDUCTIONS) > 2 * PARAMETERS / 2 / 2
    # Adapters alone, 12 modules of rank 32, in float32, as all-reduces.
    adapters = 12 * 32 * (256 + 256)
    assert sent(lora, REDUCTIONS) < 2 * 4 * adapters / 2
    assert sent(lora, REDUCTIONS) < 0.3 * sent(full, REDUCTIONS)
    assert lora["flops"] < 0.8 * full["flops"]


@pytest.mark.slow
@needs_libtpu
def test_a_rollout_gathers_the_weights_once(checks):
    programs = checks["rollout"]["programs"]
    gather, generate = programs["gather the weights"], programs["generate"]
    assert sent(gather, ("all-gather",)) > 0.9 * 2 * PARAMETERS * 3 / 4  # in bfloat16 at least
    tokens = generate["flops"] * 4 / generate["model_flops"]
    assert tokens > 0.9, "the loop counts as often as it runs"
    for name in ("rollout", "many rollout"):
        collectives = checks[name]["programs"]["generate"]["collectives"]
        of_tokens = [c for c in collectives if c[3] > 1]
        assert sum(c[2] for c in of_tokens) < 1024, of_tokens
    # In place of that, generation with the weights as they are trained gathers them with every token.
    plain = checks["generate"]["programs"]["generate"]
    assert sum(c[2] for c in plain["collectives"] if c[3] > 1) > 1024


@pytest.mark.slow
@needs_libtpu
def test_what_judges_a_rollout_is_compiled_and_held(checks):
    for name in ("rollout", "many rollout"):
        programs = checks[name]["programs"]
        judge = programs["rewards.clean, toxicity"]
        assert judge["flops"] > 0 and judge["beside"] > 0
        # Beside every other program lie the weights of the judge.
        assert programs["score"]["beside"] > 0 and judge["arguments"] > 0


@pytest.mark.slow
@needs_libtpu
def test_a_reward_step_compiles(checks):
    (step,) = checks["reward"]["programs"].values()
    assert step["flops"] * 4 / step["model_flops"] >= 1


@pytest.mark.slow
@needs_libtpu
def test_over_several_slices_goes_the_slice_axis_alone(checks):
    found = checks["slices"]
    (step,) = found["programs"].values()
    assert found["chips"] == 8
    between = [c for c in step["collectives"] if "slice" in c[1]]
    # Each slice holds all weights, and sums its parts of the gradients with the other's.
    gradients = 4 * PARAMETERS / 4
    assert {c[1] for c in between} == {"slice"}
    assert gradients / 2 < sum(c[2] * c[3] for c in between) < 2 * gradients
    assert sum(c[2] * c[3] for c in between if c[0] == "all-gather") < 0.1 * gradients


@pytest.mark.slow
@needs_libtpu
def test_what_does_not_fit_has_an_account_too(checks):
    found = checks["too large"]
    (step,) = found["programs"].values()
    assert found["fits"] is False and 15 * GIB < step["available"] < 16 * GIB
    assert step["temporaries"] > step["available"] and step["flops"] > 0
    assert step["largest"][0][0] > GIB


@needs_libtpu
@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_one_line(quick, name: str):
    error = quick[f"wrong {name}"]["error"]
    assert WRONG[name][1] in error and "\n" not in error


def test_without_libtpu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"t5x-lite\[pods\]"):
        topology.topology_devices("v5e:2x2")


@pytest.mark.slow
@needs_libtpu
@pytest.mark.parametrize("remat", ["none", "full"])
def test_a_t5_xxl_step_compiles_for_256_v5e_chips(remat: str):
    """T5 1.1 XXL (11.1 B), AdamW in float32, 128 rows of 512 + 128 tokens, on chips of 16 GB."""
    flags = {"topology": "v5e:16x16", "mesh.fsdp": "32", "mesh.model": "8", "model.remat": remat}
    found = compiled({"xxl": ("xxl,full", flags)})["xxl"]
    (step,) = found["programs"].values()
    state = 3 * 4 * 11_135_332_352 / 256
    assert state < step["arguments"] < 1.05 * state
    assert found["fits"] and found["memory"] < 16 * GIB
    assert step["seconds"] < 90
    recomputed = 1.0 if remat == "none" else 4 / 3
    assert 1 <= step["flops"] * 256 / step["model_flops"] <= 1.05 * recomputed
    assert step["fsdp_sent"] <= 1.2 * step["fsdp_minimum"]

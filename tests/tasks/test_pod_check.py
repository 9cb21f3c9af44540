"""The pod check as a task: for the tests' eight CPU devices, where it says what it cannot know; advice and search on
accounts made by hand. tests/pods compiles for TPUs."""

import dataclasses
import functools
import json
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.models.config import T5Config
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.pods.chips import CHIPS, GIB, topology_of
from t5x_lite.pods.compile import device_bytes
from t5x_lite.pods.hlo import Account, Collective
from t5x_lite.pods.hlo_text import Array
from t5x_lite.pods.model_flops import encode, forward
from t5x_lite.pods.roofline import roofline
from t5x_lite.tasks.pod_check import ppo as pod_check_ppo
from t5x_lite.tasks.pod_check import run as pod_check
from t5x_lite.tasks.pod_check import search as pod_check_search
from t5x_lite.tasks.pod_check.compile import Check, check
from t5x_lite.tasks.pod_check.report import advice, checked_sections, search_sections, verdict
from t5x_lite.tasks.ppo.parts import parts_of

SMALLER = {
    "topology": "cpu:8",
    "mesh.fsdp": "4",
    "mesh.model": "2",
    "model.architecture.d_model": "64",
    "model.architecture.d_kv": "16",
    "model.architecture.d_ff": "96",
    "model.architecture.vocab_size": "128",
    "model.architecture.num_encoder_layers": "1",
    "model.architecture.num_decoder_layers": "1",
}


def smaller(step: str, **flags: str):
    named = {name.replace("__", "."): value for name, value in flags.items()}
    return load_config(f"pod_check.py:runlocal,{step}", SMALLER | named)


@functools.cache
def checked(step: str, **flags: str) -> Check:
    config = smaller(step, **flags)
    return check(config, topology_of(config.topology), config.mesh.sizes())


# For the CPU


def test_a_report_says_what_the_cpu_cannot_know(tmp_path):
    config = smaller("full", model__remat="none")
    pod_check.run(config, str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    assert "not known for a TPU" in report["summary"] and "cannot know" in report["not_known"]
    assert "estimate" not in report, "no time without a chip's numbers"
    (compute,) = report["compute"]
    # The loss's gradient, the bias's and dropout cost no products.
    assert compute["ratio"] == pytest.approx(1.0, abs=0.05)
    (memory,) = report["memory_of_a_chip"]
    assert memory["total GiB"] == pytest.approx(
        sum(memory[f"{part} GiB"] for part in ("arguments", "temporaries", "new outputs", "code"))
    )
    kinds = {(row["mesh axes"], row["kind"]) for row in report["links"]}
    assert ("fsdp", "all-gather") in kinds
    assert report["largest_buffers"]
    assert "# pod check: train on cpu:8" in (tmp_path / "report.md").read_text()


@pytest.mark.slow
def test_remat_recomputes_a_forward_pass():
    plain, full = (checked("full", model__remat=remat).programs[0] for remat in ("none", "full"))
    assert 1.2 < full.account.flops / plain.account.flops < 1.34


@pytest.mark.slow
def test_a_lora_step_costs_two_thirds_and_holds_no_state_of_the_frozen():
    full = checked("full", model__remat="none").programs[0]
    lora = checked("lora", model__remat="none", adapter=LORA).programs[0]
    # All of attention's products have two gradients, with weights or without.
    assert lora.program.model_flops < 0.75 * full.program.model_flops
    assert lora.account.flops < 0.8 * full.account.flops
    assert lora.compiled.arguments < 0.5 * full.compiled.arguments


LORA = (
    "{'method': 'lora', 'targets': (('.*/(query|value)', 2),), 'alpha': 2.0, 'dropout': 0.0,"
    " 'rslora': False, 'dora': False}"
)


@pytest.mark.parametrize(
    "step", [pytest.param(name, marks=pytest.mark.slow) for name in ("reward", "generate")]
)
def test_the_other_single_programs_compile(step: str):
    (one,) = checked(step).programs
    assert one.account.flops * 8 >= 0.95 * one.program.model_flops > 0
    assert one.account.unknown_loops == (step == "generate")


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["trunk", "separate"])
def test_a_ppo_step_has_four_programs(critic: str):
    found = checked("ppo", critic__kind=critic, adapter=LORA)
    by_name = {one.program.name: one for one in found.programs}
    # The reward's classifier is the judge of toxicity, too: it is held once.
    judge = "rewards.clean, toxicity"
    assert list(by_name) == ["gather the weights", "generate", "score", judge, "ppo update"]
    generate = by_name["generate"]
    assert generate.account.unknown_loops == 1
    # With every token, nothing but sums of activations over the model axis, and a few numbers.
    weights = [c for c in generate.account.collectives if c.times > 1 and "fsdp" in c.axes]
    assert sum(c.sent for c in weights) < 1024
    assert generate.beside > 0, "training's own weights stay where they are"
    weights_of_judge = device_bytes(by_name[judge].program.arguments[0])
    assert 0 < weights_of_judge <= by_name["ppo update"].beside
    assert by_name[judge].beside > by_name["ppo update"].beside - weights_of_judge
    update = by_name["ppo update"]
    assert update.account.flops * 8 / update.program.model_flops == pytest.approx(1.0, abs=0.15)


@pytest.mark.slow
def test_the_report_tells_what_rewards_and_judges_take():
    flags = {"critic__kind": "trunk", "adapter": LORA}
    report = checked_sections(checked("ppo", **flags), smaller("ppo", **flags))
    (row,) = report["rewards_and_judges"]
    assert row["of"] == "rewards.clean, toxicity" and row["tokens of a text"] == 192
    assert row["batches of a step"] == 1
    assert row["weights GiB a chip"] * GIB > row["parameters"] * 4 / 8
    (memory,) = (one for one in report["memory_of_a_chip"] if one["program"] == row["of"])
    assert memory["temporaries GiB"] > 0 and memory["beside it GiB"] > 0
    others = [one["beside it GiB"] for one in report["memory_of_a_chip"] if one is not memory]
    assert len(others) == 4 and min(others) > row["weights GiB a chip"]


@pytest.mark.parametrize(
    ("step", "flags", "message"),
    [
        ("reward", {"model__remat": "full"}, "the step 'reward' has neither"),
        ("full", {"batch__size": "6"}, "config.batch.size = 6 must be a multiple of 4"),
        ("full", {"mesh__model": "3"}, "needs 12 devices"),
        ("full", {"topology": "cpu:64"}, "64 CPU devices are needed"),
        ("ppo", {"generation": "{'do_sample': False}"}, "a rollout samples"),
        ("full", {"model__architecture__depth": "3"}, "config.model.architecture"),
        ("full", {"search": "True"}, "only a TPU's compiler"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, step: str, flags: dict[str, str], message: str):
    with pytest.raises(InputError, match=message) as error:
        pod_check.run(smaller(step, **flags), str(tmp_path))
    assert "\n" not in str(error.value)


# The model's own operations


def test_the_formulas_are_six_times_weights_times_tokens():
    """6ND: weights that every token passes, by a count of the parameters."""
    config = T5Config(
        vocab_size=100, d_model=8, d_kv=4, d_ff=16, num_encoder_layers=3, num_decoder_layers=2,
        num_heads=2, tie_word_embeddings=False, scale_decoder_outputs=False,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    attention, mlp = 4 * 8 * 8, 3 * 8 * 16
    rows, source, target = 5, 7, 11
    encoder = 3 * (attention + mlp) * rows * source
    cross = 2 * (attention // 2) * (rows * source + rows * target)
    decoder = 2 * (attention + mlp) * rows * target + cross + 8 * 100 * rows * target
    scores = 2 * 8 * rows * (3 * source**2 + 2 * target * (target + source))
    found = forward(config, rows, source, target)
    assert (found.weights, found.attention) == (2 * (encoder + decoder), 2 * scores)
    assert found.training() == 6 * (encoder + decoder + scores)
    assert encode(config, rows, source).weights == 2 * encoder


# The roofline


def collective(axes: tuple[str, ...], sent: float, times: int) -> Collective:
    return Collective("all-gather", axes, Array("f32", (1,), 0), sent, times, "")


def test_a_roofline_by_hand():
    chip = CHIPS["v5e"]
    account = Account(
        flops=int(2 * chip.flops),
        hbm_bytes=int(chip.memory_bandwidth),
        collectives=[
            collective(("fsdp",), 100e9, 3),  # a ring of 16: both ways
            collective(("model",), 50e9, 4),  # a line
            collective(("fsdp", "model"), 50e9, 1),
        ],
    )
    lines = roofline(account, chip, {"data": 1, "fsdp": 16, "model": 4})
    assert (lines.compute, lines.memory) == (2.0, pytest.approx(1.0))
    assert lines.links == {"fsdp": 3.0, "model": 4.0, "fsdp+model": 1.0}
    assert (lines.at_best, lines.at_worst) == (4.0, 10.0)
    assert lines.bound_by == "links of model"


# Advice and search


def made(
    topology: str,
    gib: float,
    *,
    seconds: float = 1.0,
    refused: bool = False,
    traffic: float = 1.0,
    **axes,
) -> Any:
    compiled = SimpleNamespace(
        arguments=int(gib * GIB), peak=int(gib * GIB), available=1 if refused else None
    )
    lines = SimpleNamespace(at_best=seconds)
    program = SimpleNamespace(
        model_flops=1e12, rows=8, name="train step", fsdp_minimum=1e9, times=1, judge=None
    )
    one = SimpleNamespace(
        compiled=compiled, beside=0, roofline=lines, program=program, memory=int(gib * GIB),
        fsdp_sent=traffic * 1e9,
    )  # fmt: skip
    sizes = {"slice": 1, "data": 1, "fsdp": 4, "model": 1} | axes
    return Check(topology_of(topology), True, sizes, [one])  # type: ignore[list-item]


def test_a_verdict_is_by_what_a_chip_gives():
    assert made("v5e:2x2", 15.7).fits is True
    assert made("v5e:2x2", 15.8).fits is False
    assert made("v5e:2x2", 1.0, refused=True).fits is False
    assert "DOES NOT FIT on v5e:2x2 (4 chips): 15.80 GiB a chip of 15.75" in verdict(
        made("v5e:2x2", 15.8)
    )
    assert dataclasses.replace(made("v5e:2x2", 1.0), tpu=False).fits is None


def test_what_only_judges_takes_no_time_of_a_step():
    found = made("v5e:2x2", 1.0, seconds=3.0)
    found.programs[0].program.times = 0
    assert found.seconds == 0.0
    found.programs[0].program.times = 4
    assert found.seconds == 12.0


def test_advice_names_what_helps():
    config = smaller("full", model__remat="none", batch__size="32")
    assert advice(made("v5e:2x2", 1.0), config) == []
    found = advice(made("v5e:2x2", 20.0), config)
    text = "\n".join(found)
    assert "with 11 chips they would take half" in text
    for flag in ("remat=dots", "accumulation=2", "loss.chunk=32", "pod_check.py:lora"):
        assert flag in text
    found = advice(made("v5e:2x2", 20.0, data=4, fsdp=1), config)
    assert "--config.mesh.data=1 --config.mesh.fsdp=-1" in found[0]
    (found,) = advice(made("v5e:2x2", 1.0, traffic=2.1), config)
    assert "2.10 times what it must" in found and "--config.mesh.fsdp=1" in found


def test_advice_for_ppo_names_the_fields_that_ppo_reads():
    text = "\n".join(advice(made("v5e:2x2", 20.0), smaller("ppo")))
    assert "a smaller --config.ppo.prompts" in text and "batch.size" not in text


def test_the_search_takes_the_most_rows_a_second_of_what_fits(monkeypatch):
    """Memory and time by hand: more rows take more of both, remat trades them; data parallel holds too much."""
    compiled = []

    def account_of(config, topology, sizes):
        compiled.append((config.model.remat, config.batch.size, *sizes.values()))
        kept = {"none": 1.0, "full": 0.25}[config.model.remat]
        seconds = {"none": 1.0, "full": 1.3}[config.model.remat] * config.batch.size
        found = made("v5e:2x2", kept * config.batch.size, seconds=seconds + 4.0, **sizes)
        found.programs[0].program.rows = config.batch.size
        return found

    def held(config, topology, sizes):
        return 20 * GIB if sizes["data"] == 4 else GIB

    monkeypatch.setattr(pod_check_search, "check", account_of)
    monkeypatch.setattr(pod_check_search, "held_bytes", held)
    config = smaller(
        "full",
        candidates__remat="('none', 'full')",
        candidates__batch_sizes="(32, 8, 16, 128, 256)",
    )
    tried = pod_check_search.search(config, topology_of("v5e:2x2"))
    first = tried[0]
    assert (first.remat, first.rows) == ("full", 32)  # 32 / 45.6 s; none does 8 in 12 s
    assert first.flags.startswith("--config.model.remat=full --config.batch.size=32 --config.mesh.")
    assert not [one for one in compiled if one[3] == 4], "what cannot fit is not compiled"
    on_one_mesh = [one[:2] for one in compiled if one[2:] == (1, 1, 4, 1)]
    # 8 rows fit without remat, 16 and 32 with it, 128 not at all: 256 are not tried.
    assert on_one_mesh == [("none", 8), ("none", 16), ("full", 16), ("none", 32), ("full", 32),
        ("none", 128), ("full", 128),
    ]  # fmt: skip
    sections = search_sections(tried)
    assert sections["best"] == first.flags and len(sections["search"]) == len(tried)
    nothing = [one for one in tried if not one.rows_a_second]
    assert "larger slice" in search_sections(nothing)["best"]


def test_the_search_of_ppo_varies_what_a_step_of_ppo_has(monkeypatch):
    """Prompts, each with its responses; `batch.size` is nothing to PPO."""
    compiled = []

    def account_of(config, topology, sizes):
        responses = config.ppo.prompts * config.ppo.samples_per_prompt
        compiled.append((config.ppo.prompts, config.batch.size))
        return made("v5e:2x2", 0.25 * responses, seconds=responses + 4.0, **sizes)

    monkeypatch.setattr(pod_check_search, "check", account_of)
    monkeypatch.setattr(pod_check_search, "held_bytes", lambda *_: GIB)
    config = smaller(
        "ppo", ppo__samples_per_prompt="2", candidates__batch_sizes="(8, 16, 32, 64, 128)"
    )
    tried = pod_check_search.search(config, topology_of("v5e:2x2"))
    assert set(compiled) == {(8, 8), (16, 8), (32, 8)}  # 64 responses are too many
    assert (tried[0].batch, tried[0].rows) == ({"ppo.prompts": 16}, 32)
    assert tried[0].rows_a_second == pytest.approx(32 / 36)
    mesh = " ".join(f"--config.mesh.{axis}={size}" for axis, size in tried[0].sizes.items())
    assert tried[0].flags == f"--config.model.remat=none --config.ppo.prompts=16 {mesh}"
    # What is printed is what was checked.
    flags = dict(flag[len("--config.") :].split("=") for flag in tried[0].flags.split())
    changed = load_config("pod_check.py:runlocal,ppo", SMALLER | flags)
    assert changed.ppo.prompts == 16 and changed.mesh.sizes() == tried[0].sizes


def test_a_batch_that_cannot_be_split_does_not_end_the_search(monkeypatch):
    """6 rows are too few for 4 devices, and 8 are not."""

    def account_of(config, topology, sizes):
        if config.batch.size % 4:
            raise InputError("config.batch.size must be a multiple of 4")
        return made("v5e:2x2", 1.0, **sizes)

    monkeypatch.setattr(pod_check_search, "check", account_of)
    monkeypatch.setattr(pod_check_search, "held_bytes", lambda *_: GIB)
    config = smaller("full", candidates__remat="('none',)", candidates__batch_sizes="(6, 8)")
    tried = pod_check_search.search(config, topology_of("v5e:2x2"))
    assert tried[0].rows == 8 and "multiple of 4" in tried[-1].note


# The same trees as the task's own


@pytest.mark.parametrize("critic", ["trunk", pytest.param("separate", marks=pytest.mark.slow)])
@pytest.mark.parametrize("adapter", [LORA, "{'method': 'none'}"], ids=["lora", "full"])
def test_a_ppo_check_has_the_shapes_of_a_ppo_run(adapter: str, critic: str):
    trained = "adapters" if adapter == LORA else "full"
    config = smaller("ppo", adapter=adapter, train__trainable=trained, critic__kind=critic)
    with on_mesh(make_mesh(config.mesh.sizes())) as mesh:
        shapes = pod_check_ppo.shapes_of(config, mesh)
        trees = shapes.parts.shapes
        loaded = dataclasses.replace(shapes.loaded, make=lambda: zeros(shapes.loaded.abstract))
        parts = parts_of(config, loaded, shapes.algorithm, mesh)
        held = parts.make()
        state = parts.begin(held.initial)

    assert described(vars(trees)) == described(vars(held))
    assert described(shapes.parts.state) == described(state)
    arrays = jax.tree.leaves((held.initial["policy"], held.frozen, held.reference["params"]))
    others = {id(leaf): leaf for leaf in arrays}.values()
    beside = jax.tree.leaves((shapes.beside, trees.frozen))
    # What is held beside the state: the policy as it was, and the frozen weights, of which the reference is a part.
    assert sum(leaf.nbytes for leaf in others) == sum(
        leaf.size * leaf.dtype.itemsize for leaf in beside
    )


def described(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype), leaf.sharding), tree)


def zeros(abstract: Any) -> Any:
    return jax.tree.map(
        lambda leaf: jax.device_put(jnp.zeros(leaf.shape, leaf.dtype), leaf.sharding), abstract
    )

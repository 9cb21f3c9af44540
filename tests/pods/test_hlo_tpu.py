"""What only a TPU's compiler writes: cut from real modules (jax 0.10.2, libtpu 0.0.52), and one compiled here."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from t5x_lite.pods.hlo import account
from t5x_lite.pods.hlo_groups import axes_between, groups_of

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed: pip install 't5x-lite[pods]' (Linux on x86-64)",
)

AXES = {"data": 1, "fsdp": 4, "model": 4}
GATHER = """all-gather(%p0), channel_id=3, replica_groups=[4,4]<=[4,4]T(1,0), dimensions={0}, \
frontend_attributes={chain_id="0"}, backend_config={"async_collective_fusion_config":{"flag_start":"-1"}}"""

# A gather that runs beside a product: it stands in the fusion that starts it, in that of the product, and in the last.
ASYNC = f"""HloModule m

%start (p0: bf16[64,64]) -> (bf16[64,64], bf16[256,64], u32[]) {{
  %p0 = bf16[64,64]{{1,0:T(8,128)(2,1)}} parameter(0)
  %gather.0 = bf16[256,64]{{1,0:T(8,128)(2,1)}} {GATHER}
  ROOT %c = (bf16[64,64]{{1,0}}, bf16[256,64]{{1,0}}, u32[]{{:S(2)}}) custom-call(%gather.0), \
custom_call_target="AsyncCollectiveStart"
}}

%beside (p0: bf16[64,64], p1: bf16[256,64], p2: bf16[8,32], p3: bf16[32,16]) -> (bf16[8,16], bf16[256,64]) {{
  %p0 = bf16[64,64]{{1,0}} parameter(0)
  %p1 = bf16[256,64]{{1,0}} parameter(1)
  %p2 = bf16[8,32]{{1,0}} parameter(2)
  %p3 = bf16[32,16]{{1,0}} parameter(3)
  %gather.1 = bf16[256,64]{{1,0:T(8,128)(2,1)}} {GATHER}
  %product = bf16[8,16]{{1,0}} convolution(%p2, %p3), dim_labels=bf_io->bf
  ROOT %t = (bf16[8,16]{{1,0}}, bf16[256,64]{{1,0}}) tuple(%product, %p1)
}}

%end (p0: bf16[64,64], p1: bf16[256,64]) -> bf16[256,64] {{
  %p0 = bf16[64,64]{{1,0}} parameter(0)
  %p1 = bf16[256,64]{{1,0}} parameter(1)
  %gather.2 = bf16[256,64]{{1,0:T(8,128)(2,1)}} {GATHER}
  ROOT %c = bf16[256,64]{{1,0}} custom-call(%p0, %p1, %gather.2), custom_call_target="AsyncCollectiveDone"
}}

ENTRY %main (a: bf16[64,64], b: bf16[8,32], c: bf16[32,16]) -> bf16[256,64] {{
  %a = bf16[64,64]{{1,0}} parameter(0)
  %b = bf16[8,32]{{1,0}} parameter(1)
  %c = bf16[32,16]{{1,0}} parameter(2)
  %s = (bf16[64,64]{{1,0}}, bf16[256,64]{{1,0}}, u32[]{{:S(2)}}) fusion(%a), kind=kCustom, calls=%start
  %whole = bf16[256,64]{{1,0}} get-tuple-element(%s), index=1
  %o = (bf16[8,16]{{1,0}}, bf16[256,64]{{1,0}}) fusion(%a, %whole, %b, %c), kind=kOutput, \
output_to_operand_aliasing={{{{1}}: (1, {{}})}}, calls=%beside
  %handed = bf16[256,64]{{1,0}} get-tuple-element(%o), index=1
  ROOT %e = bf16[256,64]{{1,0}} fusion(%a, %handed), kind=kCustom, calls=%end
}}
"""


def test_a_gather_beside_other_work_counts_once():
    found = account(ASYNC, AXES, unknown_trips=1)
    assert [(one.kind, one.axes, one.sent) for one in found.collectives] == [
        ("all-gather", ("fsdp",), 2 * 256 * 64 * 3 / 4)
    ]
    assert found.flops == 2 * 8 * 32 * 16
    part, whole = 2 * 64 * 64, 2 * 256 * 64
    product = 2 * (8 * 32 + 32 * 16 + 8 * 16)
    # The part is an operand of the product's fusion that has no result of its own: read again.
    assert found.hbm_bytes == part + whole + product + part


# A reduce-scatter is an all-reduce of which each device keeps its part.
SCATTER = """HloModule m

%add (x: bf16[], y: bf16[]) -> bf16[] {
  %x = bf16[] parameter(0)
  %y = bf16[] parameter(1)
  ROOT %s = bf16[] add(%x, %y)
}

%all-reduce-scatter (p: bf16[256,128]) -> bf16[64,128] {
  %p = bf16[256,128]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %sum = bf16[256,128]{1,0:T(8,128)(2,1)} all-reduce(%p), channel_id=1, \
replica_groups={{0,4,8,12},{1,5,9,13},{2,6,10,14},{3,7,11,15}}, use_global_device_ids=true, to_apply=%add
  %place = u32[] partition-id()
  ROOT %part = bf16[64,128]{1,0:T(8,128)(2,1)S(1)} dynamic-slice(%sum, %place, %place), dynamic_slice_sizes={64,128}
}

ENTRY %main (a: bf16[256,128]) -> bf16[64,128] {
  %a = bf16[256,128]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %f = bf16[64,128]{1,0:T(8,128)(2,1)S(1)} fusion(%a), kind=kCustom, calls=%all-reduce-scatter
}
"""


def test_a_reduction_of_which_parts_are_kept_is_a_reduce_scatter():
    (one,) = account(SCATTER, AXES, unknown_trips=1).collectives
    assert (one.kind, one.axes, one.sent) == ("reduce-scatter", ("fsdp",), 2 * 256 * 128 * 3 / 4)


# Several are combined: reduced by one instruction, of which each device keeps its part of every array.
COMBINED = """HloModule m

%add (x: bf16[], y: bf16[]) -> bf16[] {
  %x = bf16[] parameter(0)
  %y = bf16[] parameter(1)
  ROOT %s = bf16[] add(%x, %y)
}

%all-reduce-scatter (p: bf16[256,128], q: bf16[64,256]) -> (bf16[64,128], bf16[64,64]) {
  %p = bf16[256,128]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %q = bf16[64,256]{0,1:T(8,128)(2,1)S(1)} parameter(1)
  %sums = (bf16[256,128]{1,0:T(8,128)(2,1)}, bf16[64,256]{0,1:T(8,128)(2,1)}) all-reduce(%p, %q), channel_id=1, \
replica_groups={{0,4,8,12},{1,5,9,13},{2,6,10,14},{3,7,11,15}}, use_global_device_ids=true, to_apply=%add
  %place = u32[] partition-id()
  %zero = u32[] constant(0)
  %first = bf16[256,128]{1,0:T(8,128)(2,1)} get-tuple-element(%sums), index=0
  %part = bf16[64,128]{1,0:T(8,128)(2,1)S(1)} dynamic-slice(%first, %place, %zero), dynamic_slice_sizes={64,128}
  %second = bf16[64,256]{0,1:T(8,128)(2,1)} get-tuple-element(%sums), index=1
  %other = bf16[64,64]{0,1:T(8,128)(2,1)S(1)} dynamic-slice(%second, %zero, %place), dynamic_slice_sizes={64,64}
  ROOT %parts = (bf16[64,128]{1,0:T(8,128)(2,1)S(1)}, bf16[64,64]{0,1:T(8,128)(2,1)S(1)}) tuple(%part, %other)
}

ENTRY %main (a: bf16[256,128], b: bf16[64,256]) -> (bf16[64,128], bf16[64,64]) {
  %a = bf16[256,128]{1,0:T(8,128)(2,1)} parameter(0)
  %b = bf16[64,256]{0,1:T(8,128)(2,1)} parameter(1)
  ROOT %f = (bf16[64,128]{1,0:T(8,128)(2,1)S(1)}, bf16[64,64]{0,1:T(8,128)(2,1)S(1)}) fusion(%a, %b), \
kind=kCustom, calls=%all-reduce-scatter
}
"""


def test_combined_reductions_are_a_reduce_scatter_where_of_each_a_part_is_kept():
    both = 2 * (256 * 128 + 64 * 256)
    (one,) = account(COMBINED, AXES, unknown_trips=1).collectives
    assert (one.kind, one.axes, one.sent) == ("reduce-scatter", ("fsdp",), both * 3 / 4)
    whole = COMBINED.replace(
        " dynamic-slice(%second, %zero, %place), dynamic_slice_sizes", " copy(%second), x"
    )
    (one,) = account(whole, AXES, unknown_trips=1).collectives
    assert (one.kind, one.sent) == ("all-reduce", 2 * both * 3 / 4)


def test_a_collective_of_every_device_with_itself_sends_nothing():
    alone = ",".join(f"{{{device}}}" for device in range(16))
    text = SCATTER.replace("{0,4,8,12},{1,5,9,13},{2,6,10,14},{3,7,11,15}", alone)
    assert account(text, AXES, unknown_trips=1).collectives == []


def test_what_lies_on_the_chip_costs_no_memory_traffic():
    assert account(SCATTER, AXES, unknown_trips=1).hbm_bytes == 2 * 256 * 128


MOVES = """HloModule m

ENTRY %main (table: f32[1000,128], row: f32[1,128], i: s32[]) -> f32[1000,128] {
  %table = f32[1000,128]{1,0:T(8,128)} parameter(0)
  %row = f32[1,128]{1,0:T(8,128)} parameter(1)
  %i = s32[] parameter(2)
  %zero = s32[] constant(0)
  %new = f32[1000,128]{1,0:T(8,128)} dynamic-update-slice(%table, %row, %i, %zero)
  %part = f32[8,128]{1,0:T(8,128)} dynamic-slice(%new, %i, %zero), dynamic_slice_sizes={8,128}
  %start = (f32[8,128]{1,0:T(8,128)S(1)}, f32[8,128]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%part)
  %done = f32[8,128]{1,0:T(8,128)S(1)} copy-done(%start)
  ROOT %view = f32[1000,128]{1,0:T(8,128)} bitcast(%new)
}
"""


def test_slices_updates_and_copies_move_their_part_once():
    row, part = 4 * 128, 4 * 8 * 128
    updated, sliced, fetched = 2 * row, 2 * part, part
    assert account(MOVES, AXES, unknown_trips=1).hbm_bytes == updated + sliced + fetched


# As libtpu takes a block of an array into a product: by a fusion of its own inside the product's.
INSIDE = """HloModule m

%part (p0: f32[4096,64], p1: s32[]) -> f32[256,64] {
  %p0 = f32[4096,64]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice = f32[256,64]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={256,64}
}

%product (p0: f32[4096,64], p1: s32[], p2: f32[64,16]) -> f32[256,16] {
  %p0 = f32[4096,64]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %p2 = f32[64,16]{1,0} parameter(2)
  %block = f32[256,64]{1,0} fusion(%p0, %p1), kind=kLoop, calls=%part
  ROOT %out = f32[256,16]{1,0} convolution(%block, %p2), dim_labels=bf_io->bf
}

ENTRY %main (a: f32[4096,64], i: s32[], b: f32[64,16]) -> f32[256,16] {
  %a = f32[4096,64]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %b = f32[64,16]{1,0} parameter(2)
  ROOT %o = f32[256,16]{1,0} fusion(%a, %i, %b), kind=kOutput, calls=%product
}
"""


def test_a_slice_taken_inside_a_product_moves_its_part_alone():
    found = account(INSIDE, {}, unknown_trips=1)
    assert found.hbm_bytes == 4 * (256 * 64 + 1 + 64 * 16 + 256 * 16)


LOOP = """HloModule m

%body (p: (s32[], f32[8,8])) -> (s32[], f32[8,8]) {
  %p = (s32[]{:T(128)}, f32[8,8]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %step = s32[]{:T(128)} constant(STEP)
  %next = s32[]{:T(128)} add(%i, %step)
  %x = f32[8,8]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %y = f32[8,8]{1,0:T(8,128)} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %t = (s32[]{:T(128)}, f32[8,8]{1,0:T(8,128)}) tuple(%next, %y)
}

%condition (p: (s32[], f32[8,8])) -> pred[] {
  %p = (s32[]{:T(128)}, f32[8,8]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %end = s32[]{:T(128)} constant(10)
  ROOT %c = pred[]{:T(512)} compare(%i, %end), direction=LT
}

ENTRY %main (x: f32[8,8]) -> f32[8,8] {
  %x = f32[8,8]{1,0:T(8,128)} parameter(0)
  %first = s32[]{:T(128)} constant(FIRST)
  %copied = s32[]{:T(128)} copy(%first)
  %t = (s32[]{:T(128)}, f32[8,8]{1,0:T(8,128)}) tuple(%copied, %x)
  %w = (s32[]{:T(128)}, f32[8,8]{1,0:T(8,128)}) while(%t), condition=%condition, body=%body
  ROOT %r = f32[8,8]{1,0:T(8,128)} get-tuple-element(%w), index=1
}
"""


@pytest.mark.parametrize(("first", "step", "trips"), [(0, 1, 10), (1, 1, 9), (0, 3, 4), (12, 1, 0)])
def test_trips_are_read_from_the_loop(first: int, step: int, trips: int):
    text = LOOP.replace("FIRST", str(first)).replace("STEP", str(step))
    found = account(text, AXES, unknown_trips=99)
    assert (found.flops, found.unknown_loops) == (trips * 2 * 8**3, 0)


@pytest.mark.parametrize("change", [("STEP", "-1"), ("LT", "GE"), ("%copied, %x", "%i.0, %x")])
def test_a_loop_that_does_not_say_is_unknown(change: tuple[str, str]):
    text = LOOP.replace(*change).replace("FIRST", "0").replace("STEP", "1")
    text = text.replace("  %copied", "  %i.0 = s32[] partition-id()\n  %copied")
    found = account(text, AXES, unknown_trips=3)
    assert (found.flops, found.unknown_loops) == (3 * 2 * 8**3, 1)


@pytest.mark.parametrize(
    ("written", "axes"),
    [
        ("{{0,4,8,12},{1,5,9,13},{2,6,10,14},{3,7,11,15}}", ("fsdp",)),
        ("[4,4]<=[16]", ("model",)),
        ("[4,4]<=[4,4]T(1,0)", ("fsdp",)),
        ("[1,16]<=[16]", ("fsdp", "model")),
        ("mesh['axis_0'=4,'axis_1'=4] {'axis_0'}", ("fsdp",)),
        ("mesh['axis_0'=4,'axis_1'=4], device_ids=([4,4]T(1,0)) {'axis_0'}", ("model",)),
        ("mesh['a'=16] {'a':(4)4}", ("model",)),
        ("mesh['a'=16] {'a':(1)4}", ("fsdp",)),
        ("mesh['a'=4,'b'=4] {'a','b'}", ("fsdp", "model")),
        ("{}", ("fsdp", "model")),
    ],
)
def test_groups_are_mapped_to_mesh_axes(written: str, axes: tuple[str, ...]):
    groups = groups_of(f", replica_groups={written}, dimensions={{0}}", 16)
    assert axes_between(groups, tuple(AXES), tuple(AXES.values())) == axes
    assert sorted(groups.ravel()) == list(range(16))


def test_axes_are_those_of_any_group():
    assert axes_between([[0, 1], [0, 2], [3, 3]], ("data", "fsdp"), (2, 2)) == ("data", "fsdp")
    assert axes_between([[1, 1]], ("data", "fsdp"), (2, 2)) == ()


def test_groups_of_an_unknown_form_are_an_error():
    with pytest.raises(ValueError, match="unknown form"):
        groups_of("replica_groups=<new>", 16)


PROGRAM = """
import functools, json
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
from t5x_lite.pods.hlo import account
from t5x_lite.pods.topology import topology_mesh

mesh = topology_mesh("v5e:4x4", {"data": 1, "fsdp": 4, "model": 4})

def shape(*sizes, spec=P(), dtype=jnp.bfloat16):
    return jax.ShapeDtypeStruct(sizes, dtype, sharding=NamedSharding(mesh, spec))

def run(name, function, *shapes, out=None):
    found = account(jax.jit(function).lower(*shapes).compile().as_text(), mesh.shape, unknown_trips=1)
    sent = {"+".join(axes) + " " + kind: value for (axes, kind), value in found.sent().items()}
    print(json.dumps({"name": name, "flops": found.flops, "sent": sent, "unknown": found.unknown_loops}))

def layer(x, weight):
    whole = jax.lax.with_sharding_constraint(weight, NamedSharding(mesh, P()))
    return jax.lax.with_sharding_constraint(jnp.tanh(x @ whole), x_sharding), None

def layers(weights, x, unroll):
    return jax.lax.scan(layer, x, weights, unroll=unroll)[0]

x_sharding = NamedSharding(mesh, P("fsdp"))

weights, x = shape(6, 512, 512, spec=P(None, "fsdp")), shape(64, 512, spec=P("fsdp"))
for unroll in (1, 6):
    run(f"layers {unroll}", functools.partial(layers, unroll=unroll), weights, x)
batched = functools.partial(jnp.einsum, "bqd,bkd->bqk")
run("batched", batched, shape(16, 128, 64, spec=P("fsdp")), shape(16, 256, 64, spec=P("fsdp")))

def by_hand(function, spec_in, spec_out):
    return jax.shard_map(function, mesh=mesh, in_specs=spec_in, out_specs=spec_out, check_vma=False)

gather = by_hand(lambda x: jax.lax.all_gather(x, "fsdp", tiled=True), P("fsdp"), P())
scatter = by_hand(lambda x: jax.lax.psum_scatter(x, "model", tiled=True), P(), P("model"))
reduce = by_hand(lambda x: jax.lax.psum(x, ("fsdp", "model")), P(), P())
for name, function in (("gather", gather), ("scatter", scatter), ("reduce", reduce)):
    run(name, function, shape(1024, 512))
"""


@needs_libtpu
def test_a_tpus_program_costs_what_is_known():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},  # libtpu knows none of a CPU's
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = {}
    for line in run.stdout.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            found[row.pop("name")] = row
    flops, gathered = 6 * 2 * 64 * 512 * 512 // 4, 6 * 2 * 512 * 512 * 3 / 4
    for unroll in (1, 6):
        assert found[f"layers {unroll}"] == {
            "flops": flops,
            "sent": {"fsdp all-gather": gathered},
            "unknown": 0,
        }
    assert found["batched"]["flops"] == 2 * 16 * 128 * 256 * 64 // 4
    whole = 2 * 1024 * 512
    assert found["gather"]["sent"] == {"fsdp all-gather": whole * 3 / 4}
    assert found["scatter"]["sent"] == {"model reduce-scatter": whole * 3 / 4}
    assert found["reduce"]["sent"] == {"fsdp+model all-reduce": 2 * whole * 15 / 16}

"""The account of a compiled program against sizes known beforehand, on a mesh of eight CPU devices."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from t5x_lite.pods.hlo import Account, account

MESH = jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
LAYERS = 10


WHOLE_ON_EACH = P()


def shape(*sizes, spec=WHOLE_ON_EACH, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype, sharding=NamedSharding(MESH, spec))


def accounted(function, *shapes, unknown_trips=1) -> Account:
    text = jax.jit(function).lower(*shapes).compile().as_text()
    return account(text, MESH.shape, unknown_trips=unknown_trips)


def sent(found: Account):
    return {("+".join(axes), kind): value for (axes, kind), value in found.sent().items()}


def test_elements_of_tuples_may_be_operands():
    """As newer compilers write them: `%name#1` where older ones have an instruction."""

    def function(x, y):
        def body(carry, _):
            x, y = carry
            return (y @ x, x), jnp.sum(y)

        return jax.lax.scan(body, (x, y), length=LAYERS)

    text = jax.jit(function).lower(shape(16, 16), shape(16, 16)).compile().as_text()
    element = re.compile(
        r"^ +%([\w.\-]+) = .* get-tuple-element\(%([\w.\-]+)\), index=(\d+).*\n", re.M
    )
    operands = element.sub("", text)
    for name, of, index in reversed(element.findall(text)):
        operands = re.sub(rf"%{re.escape(name)}(?![\w.\-])", f"%{of}#{index}", operands)
    assert "#1" in operands
    found = [account(one, MESH.shape, unknown_trips=1) for one in (text, operands)]
    assert found[0] == found[1]
    assert found[1].flops == LAYERS * 2 * 16**3 and found[1].unknown_loops == 0


# Matrix products


@pytest.mark.parametrize(
    ("equation", "left", "right", "flops"),
    [
        ("ij,jk->ik", (16, 32), (32, 64), 2 * 16 * 32 * 64),
        ("bij,bjk->bik", (4, 8, 16), (4, 16, 32), 2 * 4 * 8 * 16 * 32),
        ("bij,ijk->bk", (8, 4, 16), (4, 16, 32), 2 * 8 * 4 * 16 * 32),
    ],
)
def test_a_product_is_two_operations_a_multiply_add(equation, left, right, flops):
    product = functools.partial(jnp.einsum, equation)
    assert accounted(product, shape(*left), shape(*right)).flops == flops


def test_a_sharded_product_is_a_devices_share():
    found = accounted(jnp.dot, shape(16, 32, spec=P("data")), shape(32, 64, spec=P(None, "fsdp")))
    assert found.flops == 2 * 16 * 32 * 64 // 8
    assert found.collectives == []


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(
    ("pad", "stride", "rhs_dilation"),
    [
        ((0, 0), 2, 1),
        ((1, 1), 2, 1),
        ((2, 0), 1, 1),
        ((0, 3), 1, 1),
        ((1, 2), 1, 2),
        ((2, 2), 3, 3),
    ],
)
def test_a_convolution_counts_what_is_not_padding(pad, stride, rhs_dilation, dilation):
    """Against a count by a slow loop: ones in, and the sum of what comes out."""

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride,), [pad], lhs_dilation=(dilation,), rhs_dilation=(rhs_dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip

    x, kernel = np.ones((2, 8, 3), np.float32), np.ones((3, 3, 5), np.float32)
    found = accounted(convolve, shape(*x.shape), shape(*kernel.shape))
    assert found.flops == 2 * float(convolve(x, kernel).sum())


# Loops


def layers(weights, x, *, unroll):
    def layer(x, weight):
        return jnp.tanh(x @ weight), None

    return jax.lax.scan(layer, x, weights, unroll=unroll)[0]


def loss(weights, x, unroll):
    return layers(weights, x, unroll=unroll).sum()


SHARDED = (shape(LAYERS, 64, 64, spec=P(None, "fsdp")), shape(16, 64, spec=P(("data", "fsdp"))))


@pytest.mark.parametrize("function", [loss, jax.grad(loss, argnums=(0, 1))], ids=["value", "grad"])
def test_a_scan_costs_what_the_unrolled_loop_does(function):
    scanned = accounted(functools.partial(function, unroll=1), *SHARDED)
    unrolled = accounted(functools.partial(function, unroll=LAYERS), *SHARDED)
    products = LAYERS if function is loss else 3 * LAYERS
    assert scanned.flops == unrolled.flops == products * 2 * 16 * 64 * 64 // 8
    # A layer's weights are gathered where they are used; unrolled, the two passes may share them.
    gathered = ("fsdp", "all-gather")
    once = LAYERS * 4 * 64 * 64 * 3 / 4
    assert sent(scanned)[gathered] == once * (1 if function is loss else 2)
    assert once <= sent(unrolled)[gathered] <= sent(scanned)[gathered]
    assert scanned.unknown_loops == 0
    # XLA's own analysis, which this is there for:
    compiled = jax.jit(functools.partial(function, unroll=1)).lower(*SHARDED).compile()
    assert compiled.cost_analysis()["flops"] < 0.5 * scanned.flops


def test_loops_in_loops_multiply():
    def twice(weights, x):
        return jax.lax.fori_loop(0, 3, lambda _, x: layers(weights, x, unroll=1), x)

    assert accounted(twice, *SHARDED).flops == 3 * LAYERS * 2 * 16 * 64 * 64 // 8


def test_a_loop_of_unknown_length_takes_what_it_is_told():
    def until(x, weight, end):
        return jax.lax.while_loop(lambda c: c[0] < end, lambda c: (c[0] + 1, c[1] @ weight), (0, x))

    shapes = (shape(16, 32), shape(32, 32), shape(dtype=jnp.int32))
    found = accounted(until, *shapes, unknown_trips=7)
    assert (found.flops, found.unknown_loops) == (7 * 2 * 16 * 32 * 32, 1)


def test_of_two_branches_the_dearer_one_counts():
    def either(flag, x):
        return jax.lax.cond(flag, lambda x: x @ x @ x, lambda x: x @ x, x)

    found = accounted(either, shape(dtype=bool), shape(32, 32))
    assert found.flops == 2 * 2 * 32**3


# Collectives: an array of 64 KiB over 2 x 4 devices

WHOLE = 4 * 128 * 128


def over(axes, function, in_spec, out_spec):
    """`function` of each device's part, with its collectives written by hand."""
    return jax.shard_map(function, mesh=MESH, in_specs=in_spec, out_specs=out_spec, check_vma=False)


@pytest.mark.parametrize(
    ("axes", "members", "name"),
    [("data", 2, "data"), ("fsdp", 4, "fsdp"), (("data", "fsdp"), 8, "data+fsdp")],
)
def test_known_collectives_send_known_bytes(axes, members, name):
    whole, part = shape(128, 128), shape(128, 128, spec=P(axes))
    once = WHOLE * (members - 1) / members

    def gather(x):
        return jax.lax.all_gather(x, axes, tiled=True)

    def scatter(x):
        return jax.lax.psum_scatter(x, axes, tiled=True)

    def reduce(x):
        return jax.lax.psum(x, axes)

    found = accounted(over(axes, gather, P(axes), P()), part)
    assert sent(found) == {(name, "all-gather"): once}
    assert str(found.collectives[0].array) == "f32[128,128]"
    found = accounted(over(axes, scatter, P(), P(axes)), whole)
    assert sent(found) == {(name, "reduce-scatter"): once}
    found = accounted(over(axes, reduce, P(), P()), whole)
    assert sent(found) == {(name, "all-reduce"): 2 * once}


def test_an_exchange_and_a_shift_send_known_bytes():
    def exchange(x):
        return jax.lax.all_to_all(x, "fsdp", 1, 0, tiled=True)

    def shift(x):
        return jax.lax.ppermute(x, "data", [(0, 1), (1, 0)])

    part = WHOLE / 4
    found = accounted(over("fsdp", exchange, P("fsdp"), P(None, "fsdp")), shape(128, 128))
    assert sent(found) == {("fsdp", "all-to-all"): part * 3 / 4}
    found = accounted(over("data", shift, P("data"), P("data")), shape(128, 128))
    assert sent(found) == {("data", "collective-permute"): WHOLE / 2}


def test_a_collective_in_a_loop_counts_as_often_as_it_runs():
    def sums(x):
        return jax.lax.fori_loop(0, 5, lambda _, x: jnp.tanh(jax.lax.psum(x, "fsdp")), x)

    found = accounted(over("fsdp", sums, P(), P()), shape(128, 128))
    assert sent(found) == {("fsdp", "all-reduce"): 5 * 2 * WHOLE * 3 / 4}
    assert [one.times for one in found.collectives] == [5]


# Memory


def test_a_map_reads_and_writes_its_array_once():
    found = accounted(lambda x: jnp.tanh(x) * 2.0 + 1.0, shape(128, 128))
    assert found.hbm_bytes == 2 * WHOLE


def test_a_scan_reads_of_stacked_weights_a_layer_at_a_time():
    weights, x = shape(LAYERS, 64, 64), shape(16, 64)
    found = accounted(functools.partial(layers, unroll=1), weights, x)
    layer, row = 4 * 64 * 64, 4 * 16 * 64
    # A layer's weights are sliced (read, written) and read; a few rows and the counter move, too.
    assert 3 * layer <= found.hbm_bytes / LAYERS < 3 * layer + 8 * row


def test_an_update_in_place_moves_the_update_alone():
    def write(table, row):
        def body(i, table):
            return jax.lax.dynamic_update_slice_in_dim(table, row * i, i, axis=0)

        return jax.lax.fori_loop(0, 100, body, table)

    row = 4 * 128
    found = accounted(write, shape(1000, 128), shape(1, 128))
    copies = 4 * 2 * 1000 * 128  # the argument is not donated
    assert found.hbm_bytes - copies < 100 * 4 * row


def test_the_largest_buffers_come_first():
    found = accounted(lambda x: (x @ x.T, jnp.tanh(x)), shape(256, 16))
    first = found.largest_buffers(1)[0]
    assert (str(first.array), first.array.bytes) == ("f32[256,256]", 4 * 256 * 256)
    assert "dot_general" in first.op_name

"""No two uses of randomness share a draw."""

import ast
import itertools
import pathlib

import jax
import numpy as np
import pytest

import t5x_lite
from t5x_lite import streams

PACKAGE = pathlib.Path(t5x_lite.__file__).parent
# What makes a stream of a seed.
MAKERS = {"key", "PRNGKey", "default_rng", "RandomState", "SeedSequence", "seed"}


def test_the_streams_of_a_seed_are_apart():
    """By name, by number, and by how many numbers."""
    uses = [
        (name, *numbers)
        for name in streams.NAMES
        for numbers in ((), (0,), (1,), (0, 0), (0, 1), (1, 0))
    ]
    keys = {use: tuple(jax.random.key_data(streams.key(0, *use)).tolist()) for use in uses}
    assert len(set(keys.values())) == len(uses)
    draws = {use: streams.generator(0, *use).integers(2**62) for use in uses}
    assert len(set(draws.values())) == len(uses)
    # numpy's own, without the number of numbers, are not.
    (one,), (other,) = (np.random.default_rng(x).integers(9, size=1) for x in ((7,), (7, 0)))
    assert one == other


def test_a_stream_is_a_function_of_seed_and_name():
    for seed, name in itertools.product((0, 1), ("init", "rollout")):
        assert streams.key(seed, name, 3) == streams.key(seed, name, 3)
        assert streams.key(seed, name) != streams.key(seed + 1, name)
        again = (streams.generator(seed, name, 3).random() for _ in range(2))
        assert next(again) == next(again)
    with pytest.raises(ValueError, match="no random stream 'rolout'"):
        streams.key(0, "rolout")


def calls_of(file: pathlib.Path) -> list[int]:
    """The lines of a file that make a stream of a seed: jax.random.key(...), np.random.default_rng(...)."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in MAKERS
        and ast.unparse(node.func.value).split(".")[-1] == "random"
    ]


def test_no_file_makes_a_stream_of_its_own():
    assert calls_of(PACKAGE / "streams.py")
    others = {
        str(file.relative_to(PACKAGE)): lines
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.name != "streams.py" and (lines := calls_of(file))
    }
    assert not others, f"take a key or generator of t5x_lite.streams: {others}"
    used = {
        node.args[1].value
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "streams"
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
    }
    assert used <= set(streams.NAMES)

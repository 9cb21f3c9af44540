"""Numbers by patterns on canonical paths."""

import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.params.paths import flatten
from t5x_lite.params.selection import values_by_path
from t5x_lite.params.stacking import stack

TREE = {
    "encoder": {"layers_0": {"mlp": {"kernel": 1}, "norm": {"scale": 2}}, "norm": {"scale": 3}},
    "decoder": {"layers_0": {"mlp": {"kernel": 4}}},
}


def matched(patterns, tree):
    return [
        path
        for path, value in flatten(values_by_path([(p, 1.0) for p in patterns], 0.0, tree)).items()
        if value
    ]


def test_a_pattern_has_to_match_the_whole_path():
    assert matched(["encoder/.*", ".*/mlp/kernel"], TREE) == [
        "decoder/layers_0/mlp/kernel",
        "encoder/layers_0/mlp/kernel",
        "encoder/layers_0/norm/scale",
        "encoder/norm/scale",
    ]
    assert matched([r".*/layers_\d+/.*/scale"], TREE) == ["encoder/layers_0/norm/scale"]
    # Not found somewhere in it.
    assert matched(["scale"], {"scale": 0, "norm": {"scale": 0, "scales": 0}}) == ["scale"]
    assert matched([], TREE) == []


def test_the_first_match_wins():
    values = values_by_path([("encoder/norm/.*", 2.0), (".*/scale", 3.0)], 1.0, TREE)
    assert values["encoder"]["norm"]["scale"] == 2.0
    assert values["encoder"]["layers_0"]["norm"]["scale"] == 3.0
    assert values["decoder"]["layers_0"]["mlp"]["kernel"] == 1.0


@pytest.mark.parametrize("pattern", ["kernel", "encoder", ".*/bias", "encoder/layers_1/.*"])
def test_a_pattern_without_a_match_is_an_error_that_lists_the_paths(pattern):
    with pytest.raises(InputError) as error:
        values_by_path([(".*/scale", 0.0), (pattern, 0.0)], 1.0, TREE)
    assert repr(pattern) in str(error.value) and "encoder/layers_{n}/mlp/kernel" in str(error.value)
    assert "\n" not in str(error.value)


def test_stacked_layers_have_the_values_of_their_unrolled_paths():
    unrolled = {
        name: {f"layers_{i}": {"mlp": {"kernel": np.zeros((2, 5))}} for i in range(3)}
        for name in ("encoder", "decoder")
    }
    rules = [("encoder/layers_1/.*", 0.5), (r"encoder/layers_\d+/.*", 0.25)]
    stacked = flatten(values_by_path(rules, 1.0, stack(unrolled)))
    assert stacked["decoder/layers/mlp/kernel"] == 1.0
    value = stacked["encoder/layers/mlp/kernel"]
    assert value.shape == (3, 1, 1)
    expected = flatten(values_by_path(rules, 1.0, unrolled))
    for i in range(3):
        assert value[i, 0, 0] == expected[f"encoder/layers_{i}/mlp/kernel"]

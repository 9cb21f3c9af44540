"""LoRA trees: what is adapted, how it starts, merging and unmerging; and the `adapter` section of a config."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.params.adapters import settings_of, stack_adapters, unstack_adapters
from t5x_lite.params.fingerprint import fingerprint
from t5x_lite.params.lora import LoraSettings, merge, unmerge, with_output_scales
from t5x_lite.params.paths import flatten, map_with_path
from t5x_lite.params.sections import AdapterSection, SavedAdapter
from t5x_lite.params.soft_prompts import SoftPromptSettings
from t5x_lite.sections import read

SETTINGS = LoraSettings(
    ((".*/layers_0/.*query", 2), (".*/(query|out)", 3)), 6.0, dropout=0.1, rslora=False, dora=True
)
SECTION = {
    "method": "lora",
    "targets": ((".*/query", 2),),
    "alpha": 4,
    "dropout": 0.0,
    "rslora": True,
    "dora": False,
}


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    shapes = {"query": (8, 2, 3), "out": (2, 3, 8)}

    def draw(shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    layers = {
        f"layers_{i}": {
            "attention": {name: {"kernel": draw(shape)} for name, shape in shapes.items()}
        }
        for i in range(2)
    }
    return {"token_embedder": {"embedding": draw((11, 8))}, "encoder": layers}


def moved(tree, seed=1):
    """An adapter that has learned something."""
    rng = np.random.default_rng(seed)
    return map_with_path(
        lambda path, x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32) if x.ndim else x, tree
    )


def test_the_first_target_that_matches_gives_the_rank(params):
    assert SETTINGS.ranks(params) == {
        "encoder/layers_0/attention/query": 2,
        "encoder/layers_0/attention/out": 3,
        "encoder/layers_1/attention/query": 3,
        "encoder/layers_1/attention/out": 3,
    }


def test_shapes_scalings_and_starting_values(params):
    flat = flatten(SETTINGS.init(params, jax.random.key(0)))
    query, out = "encoder/layers_0/attention/query", "encoder/layers_0/attention/out"
    assert flat[f"{query}/lora_a"].shape == (8, 2)
    assert flat[f"{query}/lora_b"].shape == (2, 2, 3)
    assert flat[f"{out}/lora_a"].shape == (2, 3, 3)
    assert flat[f"{out}/lora_b"].shape == (3, 8)
    assert (flat[f"{query}/lora_scaling"], flat[f"{out}/lora_scaling"]) == (3.0, 2.0)
    assert flat[f"{out}/lora_dropout"] == np.float32(0.1)
    kernel = np.asarray(params["encoder"]["layers_0"]["attention"]["out"]["kernel"])
    norms = np.linalg.norm(kernel.reshape(6, 8), axis=0)
    np.testing.assert_allclose(flat[f"{out}/lora_magnitude"], norms, rtol=1e-6)
    for path, leaf in flat.items():
        if path.endswith("lora_b"):
            assert not np.any(leaf)
        if path.endswith("lora_a"):  # uniform within 1 / sqrt(inputs), as peft draws it
            bound = np.prod(leaf.shape[:-1]) ** -0.5
            assert 0.7 * bound < np.abs(leaf).max() <= bound
    rslora = dataclasses.replace(SETTINGS, rslora=True)
    assert np.isclose(rslora.scaling(3), 6 / 3**0.5)


def test_further_targets_do_not_change_the_draws_of_others(params):
    one = dataclasses.replace(SETTINGS, targets=((".*/out", 3),))
    for path, leaf in flatten(one.init(params, jax.random.key(0))).items():
        both = flatten(SETTINGS.init(params, jax.random.key(0)))
        np.testing.assert_array_equal(leaf, both[path])


@pytest.mark.parametrize("dora", [False, True])
def test_merge_and_unmerge(params, dora):
    settings = dataclasses.replace(SETTINGS, dora=dora)
    fresh = settings.init(params, jax.random.key(0))
    for one, other in zip(
        jax.tree.leaves(merge(params, fresh)), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    adapters = moved(fresh)
    merged = merge(params, adapters)
    # Worked in numpy for one kernel.
    flat, path = flatten(adapters), "encoder/layers_1/attention/out"
    kernel = np.asarray(flatten(params)[f"{path}/kernel"], np.float64).reshape(6, 8)
    a, b = np.asarray(flat[f"{path}/lora_a"]).reshape(6, 3), np.asarray(flat[f"{path}/lora_b"])
    expected = kernel + 2.0 * a @ b
    if dora:
        magnitude = np.asarray(flat[f"{path}/lora_magnitude"])
        expected = expected * (magnitude / np.linalg.norm(expected, axis=0))[None]
    found = np.asarray(flatten(merged)[f"{path}/kernel"]).reshape(6, 8)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    back = unmerge(merged, with_output_scales(params, adapters))
    for one, other in zip(jax.tree.leaves(back), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    if dora:
        with pytest.raises(InputError, match="merging lost the norms"):
            unmerge(merged, adapters)


def test_a_soft_prompt_cannot_be_merged(params):
    prompt = SoftPromptSettings(4, "vocabulary").init(params, jax.random.key(0))
    assert prompt["soft_prompt"].shape == (4, 8)
    rows = {row.tobytes() for row in np.asarray(params["token_embedder"]["embedding"])}
    assert all(row.tobytes() in rows for row in np.asarray(prompt["soft_prompt"]))
    with pytest.raises(InputError, match="cannot be merged"):
        merge(params, prompt)


def test_stacking_there_and_back(params):
    tree = dataclasses.replace(SETTINGS, targets=((".*/out", 3),)).init(params, jax.random.key(0))
    stacked = stack_adapters(tree, {"encoder": 2})
    assert stacked["encoder"]["layers"]["attention"]["out"]["lora_b"].shape == (2, 3, 8)
    again = unstack_adapters(stacked)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    with pytest.raises(InputError, match="scan_layers"):
        stack_adapters(SETTINGS.init(params, jax.random.key(0)), {"encoder": 2})


@dataclasses.dataclass(frozen=True)
class WithAdapter:
    adapter: AdapterSection


def adapter_of(values):
    return read(WithAdapter, {"adapter": values}).adapter


def test_sections():
    assert settings_of(adapter_of(SECTION)) == LoraSettings(((".*/query", 2),), 4, 0.0, True, False)
    assert settings_of(adapter_of({"method": "none"})) is None
    saved = adapter_of({"method": "load", "source": "a"})
    assert saved == SavedAdapter("a") and settings_of(saved) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "ia3"}, "config.adapter.method must be one of none, load, lora, soft_prompt"),
        ({"ranks": 3}, "config.adapter.ranks: there is no such field"),
        (
            {"targets": ()},
            "config.adapter.targets must be pairs .pattern, rank. with ranks above 0",
        ),
        ({"targets": (("(", 3),)}, "no regular expression"),
        ({"targets": ((".*", 0),)}, "config.adapter.targets must be pairs"),
        ({"dropout": 1.0}, "config.adapter.dropout must be a number >= 0 and < 1, got 1.0"),
        ({"alpha": "four"}, "config.adapter.alpha must be a number"),
        ({"dora": 1}, "config.adapter.dora must be True or False"),
    ],
)
def test_sections_that_cannot_be_meant_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        adapter_of(SECTION | change)


def test_a_target_that_matches_nothing_is_refused(params):
    settings = dataclasses.replace(SETTINGS, targets=((".*/qeury", 2),))
    with pytest.raises(InputError, match=r"'.\*/qeury' matches no projection.*layers_\{n\}"):
        settings.init(params, jax.random.key(0))


def test_fingerprints(params):
    base = fingerprint(params, rounded=True)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    assert fingerprint(half, rounded=True) == base
    assert fingerprint(half, rounded=False) != fingerprint(params, rounded=False)
    nudged = map_with_path(lambda p, x: x.at[0].add(1e-7) if "embedding" in p else x, params)
    assert fingerprint(nudged, rounded=True) == base
    assert fingerprint(nudged, rounded=False) != fingerprint(params, rounded=False)

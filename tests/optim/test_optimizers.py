"""Each optimizer against another implementation, over several steps."""

import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import transformers

from t5x_lite.errors import InputError
from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.optim.sections import OptimizerName, OptimizerSettings

OPTIMIZERS = typing.get_args(OptimizerName)

STEPS = 5
# A norm, an embedding and kernels; two are large enough for Adafactor to factor (both axes from 128 on).
SHAPES = {
    "token_embedder": {"embedding": (140, 8)},
    "encoder": {
        "layers_0": {
            "attention": {"query": {"kernel": (8, 2, 3)}, "out": {"kernel": (2, 3, 8)}},
            "mlp": {"wi": {"kernel": (130, 144)}, "wo": {"kernel": (144, 130)}},
            "norm": {"scale": (8,)},
        }
    },
}


def draw(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: (scale * rng.normal(size=shape)).astype(np.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def schedule(step):
    return 0.1 / (1.0 + step)


def optimizer(name, rate=schedule, **changes):
    settings = dict(
        b1=0.9,
        b2=0.98,
        eps=1e-6,
        weight_decay=0.0,
        no_weight_decay=(),
        clip_norm=0.0,
        rate_multipliers=(),
    )
    return make_optimizer(OptimizerSettings(name, **settings | changes), rate)


def trajectory(transformation, params, steps=STEPS):
    """Parameters after each step; gradients of step i are draw(i + 1)."""

    @jax.jit
    def update(params, state, gradients):
        updates, state = transformation.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    state, result = jax.jit(transformation.init)(params), []
    for step in range(steps):
        params, state = update(params, state, draw(step + 1))
        result.append(jax.tree.map(np.asarray, params))
    return result


def torch_trajectory(make, params, clip_norm=0.0, excluded="", steps=STEPS):
    """The same with a torch optimizer of two parameter groups, the second (paths with `excluded` in them) undecayed."""
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    leaves = [torch.tensor(leaf, requires_grad=True) for _, leaf in paths]
    names = [jax.tree_util.keystr(path) for path, _ in paths]
    without = [bool(excluded) and excluded in name for name in names]
    torch_optimizer = make(
        [
            {"params": [leaf for leaf, out in zip(leaves, without, strict=True) if not out]},
            {
                "params": [leaf for leaf, out in zip(leaves, without, strict=True) if out],
                "weight_decay": 0.0,
            },
        ]
    )
    result = []
    for step in range(steps):
        for group in torch_optimizer.param_groups:
            group["lr"] = schedule(step)
        for leaf, gradient in zip(leaves, jax.tree.leaves(draw(step + 1)), strict=True):
            leaf.grad = torch.tensor(gradient)
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(leaves, clip_norm)
        torch_optimizer.step()
        result.append(structure.unflatten([leaf.detach().numpy().copy() for leaf in leaves]))
    return result


def assert_same(ours, theirs, tolerance=1e-5):
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance),
        ours,
        theirs,
    )


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_adamw_equals_torch(clip_norm):
    """With clipping, a schedule, and weight decay on some parameters only."""
    params = draw(0)
    ours = trajectory(
        optimizer("adamw", weight_decay=0.1, no_weight_decay=(".*/scale",), clip_norm=clip_norm),
        params,
    )
    theirs = torch_trajectory(
        lambda groups: torch.optim.AdamW(
            groups, lr=1.0, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1
        ),
        params,
        clip_norm=clip_norm,
        excluded="scale",
    )
    assert_same(ours, theirs)


@pytest.mark.parametrize("b1", [0.0, 0.9])
def test_adafactor_equals_transformers(b1):
    """Matrices factored, the rest not. (Attention's kernels are ours alone to shape, and too small here.)"""
    params = draw(0)
    # With momentum at a constant rate: transformers' has the learning rate in it, ours has not.
    rate = schedule if b1 == 0.0 else (lambda step: 0.1)
    ours = trajectory(optimizer("adafactor", rate, b1=b1), params)

    class Adafactor(transformers.Adafactor):
        def step(self):
            for group in self.param_groups:
                group["lr"] = group["lr"] if b1 == 0.0 else 0.1
            return super().step()

    theirs = torch_trajectory(
        lambda groups: Adafactor(
            groups,
            lr=1.0,
            beta1=b1 or None,
            scale_parameter=True,
            relative_step=False,
            warmup_init=False,
        ),
        params,
    )
    for one, other in zip(ours, theirs, strict=True):
        layer, expected = one["encoder"]["layers_0"], other["encoder"]["layers_0"]
        for part in ("mlp", "norm"):
            assert_same(layer[part], expected[part])


def test_adafactor_factors_attention_as_the_matrices_of_transformers():
    """Heads and kv are one axis of 130, though neither has 128; the oracle's kernels are matrices."""
    shapes = {"query": (136, 10, 13), "out": (10, 13, 136)}
    matrices = {"query": (136, 130), "out": (130, 136)}

    def attention(seed):
        rng = np.random.default_rng(seed)
        return {n: {"kernel": rng.normal(size=s).astype(np.float32)} for n, s in shapes.items()}

    ours = {"encoder": {"layers_0": {"attention": attention(0)}}}
    transformation = optimizer("adafactor", b1=0.0)
    state = jax.jit(transformation.init)(ours)
    assert max(leaf.size for leaf in jax.tree.leaves(state)) == 136
    theirs = {
        name: torch.tensor(leaf["kernel"].reshape(matrices[name]), requires_grad=True)
        for name, leaf in attention(0).items()
    }
    oracle = transformers.Adafactor(
        theirs.values(), lr=1.0, scale_parameter=True, relative_step=False, warmup_init=False
    )
    for step in range(STEPS):
        gradients = attention(step + 1)
        updates, state = jax.jit(transformation.update)(
            {"encoder": {"layers_0": {"attention": gradients}}}, state, ours
        )
        ours = optax.apply_updates(ours, updates)
        for name, leaf in gradients.items():
            theirs[name].grad = torch.tensor(leaf["kernel"].reshape(matrices[name]))
        oracle.param_groups[0]["lr"] = schedule(step)
        oracle.step()
    for name, leaf in ours["encoder"]["layers_0"]["attention"].items():
        assert_same(leaf["kernel"].reshape(matrices[name]), theirs[name].detach().numpy())


def test_adafactor_equals_optax():
    params = draw(0)
    ours = trajectory(optimizer("adafactor", b1=0.0), params)
    theirs = trajectory(optax.adafactor(schedule), params)
    assert_same(ours, theirs, 1e-6)


def test_adafactor_keeps_two_vectors_a_matrix():
    state = jax.eval_shape(optimizer("adafactor", b1=0.0).init, draw(0))
    sizes = [leaf.size for leaf in jax.tree.leaves(state)]
    assert max(sizes) < 130 * 144 / 10


def test_rms_adamw_equals_a_slow_loop():
    params = draw(0, scale=0.5)
    params["encoder"]["layers_0"]["norm"]["scale"][:] = 0.0  # below the least RMS, 1e-3
    ours = trajectory(
        optimizer("rms_adamw", weight_decay=0.1, no_weight_decay=(".*/scale",)), params
    )
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    values = [leaf.astype(np.float64) for _, leaf in paths]
    first, second = [0.0 * v for v in values], [0.0 * v for v in values]
    for step in range(STEPS):
        for i, gradient in enumerate(jax.tree.leaves(draw(step + 1))):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.98 * second[i] + 0.02 * gradient.astype(np.float64) ** 2
            mean = first[i] / (1 - 0.9 ** (step + 1))
            variance = second[i] / (1 - 0.98 ** (step + 1))
            rms = max(np.sqrt(np.mean(values[i] ** 2)), 1e-3)
            update = rms * mean / (np.sqrt(variance) + 1e-6)
            decayed = "scale" not in jax.tree_util.keystr(paths[i][0])
            values[i] = values[i] - schedule(step) * (update + 0.1 * decayed * values[i])
        assert_same(ours[step], structure.unflatten(values))


def test_muon_makes_updates_of_matrices_near_orthogonal():
    """Singular values near each other (Newton-Schulz leaves them in about [0.7, 1.2]), RMS near 0.2."""
    gradients = draw(1)
    # Gradients with singular values far apart, or the test would show nothing.
    mlp = gradients["encoder"]["layers_0"]["mlp"]
    mlp["wi"]["kernel"] *= np.logspace(0, -1, 130, dtype=np.float32)[:, None]
    transformation = optimizer("muon", lambda step: 1.0)
    params = draw(0)
    updates, _ = jax.jit(
        lambda gradients, params: transformation.update(
            gradients, transformation.init(params), params
        )
    )(gradients, params)
    layer = updates["encoder"]["layers_0"]
    matrices = {
        "wi": layer["mlp"]["wi"]["kernel"],
        "wo": layer["mlp"]["wo"]["kernel"],
        "query": np.reshape(layer["attention"]["query"]["kernel"], (8, 6)),
        "out": np.reshape(layer["attention"]["out"]["kernel"], (6, 8)),
    }
    for name, matrix in matrices.items():
        singular = np.linalg.svd(
            np.asarray(matrix) / (0.2 * max(matrix.shape) ** 0.5), compute_uv=False
        )
        assert singular.min() > 0.6 and singular.max() < 1.3, name
        assert abs(np.sqrt(np.mean(np.square(matrix))) / 0.2 - 1) < 0.2, name
    singular = np.linalg.svd(mlp["wi"]["kernel"], compute_uv=False)
    assert singular.max() / singular.min() > 50
    gradient, update = mlp["wi"]["kernel"], np.asarray(matrices["wi"])
    assert np.sum(gradient * update) < 0  # downhill


def test_muon_gives_all_but_layer_kernels_adam():
    params = draw(0)
    ours = trajectory(optimizer("muon"), params)
    theirs = trajectory(optax.nadamw(schedule, b1=0.9, b2=0.98, eps=1e-6, weight_decay=0.0), params)
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one["token_embedder"], other["token_embedder"])
        norm, expected = (tree["encoder"]["layers_0"]["norm"] for tree in (one, other))
        assert_same(norm, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_is_the_rate_times_the_parameter_and_spares_the_excluded(name):
    params = draw(0)
    gradients = draw(1)

    def updates(**changes):
        transformation = optimizer(name, lambda step: 0.1, **changes)
        return jax.jit(
            lambda: transformation.update(gradients, transformation.init(params), params)[0]
        )()

    plain = updates()
    decayed = updates(weight_decay=0.3, no_weight_decay=(".*/scale", "token_embedder/.*"))

    def check(path, before, after, value):
        path = jax.tree_util.keystr(path)
        share = 0.0 if "scale" in path or "embedding" in path else 0.1 * 0.3
        np.testing.assert_allclose(before - after, share * value, atol=1e-6, err_msg=path)

    jax.tree_util.tree_map_with_path(check, plain, decayed, params)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rate_multipliers_scale_the_whole_step_and_the_first_match_wins(name):
    params, gradients = draw(0), draw(1)

    def updates(**changes):
        transformation = optimizer(name, lambda step: 0.1, weight_decay=0.3, **changes)
        return jax.jit(
            lambda: transformation.update(gradients, transformation.init(params), params)[0]
        )()

    plain = updates()
    scaled = updates(
        rate_multipliers=((".*/embedding", 10.0), ("token_embedder/.*", 3.0), (".*/scale", 0.0))
    )

    def check(path, before, after):
        path = jax.tree_util.keystr(path)
        factor = 10.0 if "embedding" in path else 0.0 if "scale" in path else 1.0
        np.testing.assert_allclose(after, factor * before, rtol=1e-6, atol=1e-9, err_msg=path)

    jax.tree_util.tree_map_with_path(check, plain, scaled)


def test_a_pattern_that_matches_nothing_and_an_unknown_name():
    with pytest.raises(InputError, match=r"optimizer\.name .*'adamw'.*got 'sgd'"):
        optimizer("sgd")
    with pytest.raises(InputError, match=r"'\.\*/bias' matches no parameter"):
        optimizer("adamw", weight_decay=0.1, no_weight_decay=(".*/bias",)).init(draw(0))


def test_clipping_acts_on_the_norm_of_all_gradients():
    params, gradients = draw(0), draw(1)
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradients)))
    # One step of Adam hides the scale of its gradient, but the first moment does not.
    for clip_norm, factor in ((norm / 4, 0.25), (2 * norm, 1.0)):
        transformation = optimizer("adamw", clip_norm=float(clip_norm))
        _, state = jax.jit(transformation.update)(gradients, transformation.init(params), params)
        first = optax.tree_utils.tree_get(state, "mu")
        expected = jax.tree.map(lambda g, factor=factor: 0.1 * factor * g, gradients)
        assert_same(first, expected, 1e-6)
        assert jnp.isfinite(first["token_embedder"]["embedding"]).all()

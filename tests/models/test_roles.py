"""What a parameter's path says it is, against the logical axes that its model declares, for each family."""

import jax
import pytest

from t5x_lite.models.classifier_init import abstract_module, text_examples
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.encoder_config import FAMILIES, EncoderConfig
from t5x_lite.models.init import abstract_params, logical_axes
from t5x_lite.models.t5 import T5
from t5x_lite.models.t5_classifier import T5Classifier
from t5x_lite.models.t5_scorer import T5Scorer
from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.optim.sections import OptimizerSettings
from t5x_lite.params.paths import flatten
from t5x_lite.params.roles import in_layer, is_kernel, matrix_inputs

LAYERS = 2
T5S = {
    "t5": dict(feed_forward_proj="relu", model_type="t5"),
    "gated": dict(feed_forward_proj="gated-gelu", model_type="t5"),
    "umt5": dict(feed_forward_proj="gated-gelu", model_type="umt5"),
}


def t5_config(name):
    return T5Config(
        vocab_size=40, d_model=8, d_kv=6, d_ff=16, num_encoder_layers=LAYERS, num_decoder_layers=LAYERS,
        num_heads=3, tie_word_embeddings=True, scale_decoder_outputs=True, **T5S[name],
    )  # fmt: skip


def encoder_config(family):
    return EncoderConfig(
        family=family, vocab_size=40, d_model=8, d_ff=16, num_layers=LAYERS, num_heads=2,
        max_positions=20, labels=("a", "b"),
    )  # fmt: skip


def tree_of(name):
    """Shapes and logical axes by path."""
    if name in T5S:
        model = T5(t5_config(name), Execution())
        shapes, axes = abstract_params(model), logical_axes(model)
    else:
        if name in FAMILIES:
            module = EncoderClassifier(encoder_config(name))
        elif name == "t5_classifier":
            module = T5Classifier(t5_config("t5"), ("a", "b"), Execution())
        else:
            module = T5Scorer(t5_config("t5"), Execution(), ("reward",), False)
        shapes, axes = abstract_module(module, *text_examples(module))
    flat = flatten(shapes)
    names = jax.tree.leaves(axes, is_leaf=lambda leaf: isinstance(leaf, tuple))
    return shapes, {path: (leaf, n) for (path, leaf), n in zip(flat.items(), names, strict=True)}


# Kernels in the layers: attention's 4 (a decoder's layer has two attentions) and the feed-forward's 2, gated 3.
KERNELS = {
    "t5": LAYERS * (6 + 10),
    "gated": LAYERS * (7 + 11),
    "umt5": LAYERS * (7 + 11),
    "bert": LAYERS * 6,
    "roberta": LAYERS * 6,
    "distilbert": LAYERS * 6,
    "t5_classifier": LAYERS * 6,
    "t5_scorer": LAYERS * (6 + 10),
}
every_family = pytest.mark.parametrize("name", KERNELS)


@every_family
def test_a_kernels_inputs_are_what_its_axes_say(name):
    """Every projection in a layer is between "embed" and the axes of heads or of the feed-forward."""
    _, leaves = tree_of(name)
    found = 0
    for path, (leaf, names) in leaves.items():
        inputs = matrix_inputs(path, len(leaf.shape))
        matrix = in_layer(path) and "embed" in names and {"heads", "mlp"} & set(names)
        assert (is_kernel(path) and in_layer(path)) == bool(matrix), path
        if not matrix:
            continue
        found += 1
        sides = names[:inputs], names[inputs:]
        assert ("embed",) in sides, path
        assert {("heads", "kv"), ("mlp",)} & set(sides), path
    assert found == KERNELS[name]


@every_family
def test_muon_takes_every_kernel_of_the_layers_and_nothing_else(name):
    shapes, leaves = tree_of(name)
    section = OptimizerSettings(
        "muon",
        b1=0.9,
        b2=0.98,
        eps=1e-8,
        weight_decay=0.0,
        no_weight_decay=(),
        clip_norm=0.0,
        rate_multipliers=(),
    )
    optimizer = make_optimizer(section, lambda step: 0.1)
    state = flatten(jax.eval_shape(optimizer.init, shapes))
    # Adam alone keeps second moments.
    of_adam = {path for path in leaves if any(p.endswith(f"nu/{path}") for p in state)}
    of_muon = leaves.keys() - of_adam
    assert len(of_muon) == KERNELS[name]
    for path in of_muon:
        assert any(p.endswith(f"mu/{path}") for p in state), path
        assert "embed" in leaves[path][1] and len(leaves[path][1]) > 1, path

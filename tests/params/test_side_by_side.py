"""Several adapters in one batch: each row is what its adapter alone makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import init_params
from t5x_lite.models.t5 import T5
from t5x_lite.params.adapters import variables
from t5x_lite.params.lora import LoraSettings
from t5x_lite.params.paths import flatten, map_with_path
from t5x_lite.params.side_by_side import of_rows, side_by_side

CONFIG = T5Config(
    vocab_size=31, d_model=16, d_kv=4, d_ff=24, num_encoder_layers=1, num_decoder_layers=2,
    num_heads=3, tie_word_embeddings=False, scale_decoder_outputs=False,
    feed_forward_proj="gated-gelu",
)  # fmt: skip
# Other ranks, other modules, scalings of their own; one with dropout, which does not act here.
LORA = LoraSettings(((".*/(query|out)", 2),), 5.0, 0.1, True, False)
DORA = LoraSettings(((".*", 3),), 6.0, 0.0, False, True)


@pytest.mark.parametrize("kinds", [(None, LORA, DORA), (DORA, LORA)], ids=len)
def test_each_row_is_what_its_adapter_alone_makes(kinds):
    model = T5(CONFIG, Execution())
    params = init_params(model, jax.random.key(0))
    trees = [{} if kind is None else moved(kind.init(params, jax.random.key(1))) for kind in kinds]
    rng = np.random.default_rng(0)
    numbers = np.array([number % len(kinds) for number in range(5)])[::-1].copy()
    encoder, decoder = (rng.integers(2, 31, (5, n)).astype(np.int32) for n in (7, 6))
    together = of_rows(side_by_side(params, trees), jnp.asarray(numbers))
    apply = jax.jit(model.apply)
    logits = apply(variables(params, together), encoder, decoder)
    for row, number in enumerate(numbers):
        alone = apply(
            variables(params, trees[number] or None), encoder[row][None], decoder[row][None]
        )
        np.testing.assert_allclose(logits[row], alone[0], atol=2e-5)
    base = apply({"params": params}, encoder, decoder)
    changed = np.abs(logits - base).max(axis=(1, 2)) > 0.05
    assert changed.tolist() == [kinds[number] is not None for number in numbers]


def moved(tree):
    rng = np.random.default_rng(1)
    return map_with_path(
        lambda path, x: (
            x + 0.3 * rng.normal(size=x.shape).astype(np.float32)
            if path.endswith(("_b", "_magnitude"))
            else x
        ),
        tree,
    )


def test_the_base_alone_has_no_adapters():
    params = init_params(T5(CONFIG, Execution()), jax.random.key(0))
    assert flatten(side_by_side(params, [{}, {}])) == {}

"""Log-probabilities and entropies, chunk by chunk, against all at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.logprobs import ranked_logprobs, token_logprobs


@pytest.mark.parametrize("chunk", [0, 1, 3, 5, 99])
def test_token_logprobs_and_entropies(chunk):
    """Against a plain log-softmax over everything at once, values and gradients."""
    keys = jax.random.split(jax.random.key(0), 4)
    hidden, kernel = jax.random.normal(keys[0], (2, 5, 4)), jax.random.normal(keys[1], (4, 9))
    targets = jax.random.randint(keys[2], (2, 5), 0, 9)
    weights = jax.random.normal(keys[3], (2, 2, 5))

    def ours(kernel, hidden):
        results = token_logprobs(lambda k, h: h @ k, kernel, hidden, targets, chunk=chunk)
        return jnp.sum(jnp.stack(results) * weights), results

    def plain(kernel, hidden):
        logs = jax.nn.log_softmax(hidden @ kernel)
        chosen = (logs * jax.nn.one_hot(targets, 9)).sum(-1)
        results = chosen, -(jnp.exp(logs) * logs).sum(-1)
        return jnp.sum(jnp.stack(results) * weights), results

    got = jax.value_and_grad(ours, argnums=(0, 1), has_aux=True)(kernel, hidden)
    expected = jax.value_and_grad(plain, argnums=(0, 1), has_aux=True)(kernel, hidden)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, expected)


@pytest.mark.parametrize("chunk", [0, 3])
def test_ranked_logprobs_tell_whether_a_token_is_the_likeliest(chunk):
    keys = jax.random.split(jax.random.key(1), 3)
    hidden, kernel = jax.random.normal(keys[0], (2, 5, 4)), jax.random.normal(keys[1], (4, 9))
    best = jnp.argmax(hidden @ kernel, axis=-1)
    targets = jnp.where(jax.random.bernoulli(keys[2], 0.5, (2, 5)), best, (best + 1) % 9)
    logprobs, likeliest = ranked_logprobs(lambda k, h: h @ k, kernel, hidden, targets, chunk=chunk)
    expected, _ = token_logprobs(lambda k, h: h @ k, kernel, hidden, targets, chunk=0)
    np.testing.assert_allclose(logprobs, expected, atol=1e-6)
    np.testing.assert_array_equal(likeliest, targets == best)
    assert 0 < int(likeliest.sum()) < 10

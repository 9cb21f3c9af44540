"""Texts thinned in training: what may be left out, how often, and that nothing else of a step changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.models.classifier_init import init_module, token_example
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.encoder_config import EncoderConfig
from t5x_lite.train.classifier_step import CROSS_ENTROPY, Judgement, judgement_sums
from t5x_lite.train.sections import WHOLE, Thinning
from t5x_lite.train.thinning import thinned

PAD, FIRST, LAST = 0, 1, 2


def text(inner, length, left=0):
    """A row: `left` pads, the first token, inner tokens numbered from 10, the last token, pads."""
    row = np.full(length, PAD, np.int32)
    row[left : left + inner + 2] = [FIRST, *range(10, 10 + inner), LAST]
    return row


ROWS = np.stack(
    [text(40, 60), text(40, 60, left=18), text(5, 60), text(0, 60, left=3), text(58, 60)]
)


def draws(thinning, count=300):
    draw = jax.jit(lambda rng: thinned(jnp.asarray(ROWS), rng, PAD, thinning))
    return np.stack([draw(jax.random.key(seed)) for seed in range(count)])


def test_tokens_are_left_out_at_their_rate_and_special_ones_never():
    kept = draws(Thinning(0.25, 0.0))
    assert ((kept == ROWS) | (kept == PAD)).all()
    inner = ROWS >= 10
    np.testing.assert_array_equal((kept == ROWS)[:, ~inner], True)
    rates = 1 - (kept == ROWS)[:, inner].mean(axis=0)
    # Of each place, 300 draws: 0.25 within five standard deviations.
    assert np.abs(rates - 0.25).max() < 0.125 and rates.mean() == pytest.approx(0.25, abs=0.01)


def test_a_crop_is_one_span_of_any_place_and_length():
    kept = draws(Thinning(0.0, 1.0))
    np.testing.assert_array_equal((kept == ROWS)[:, ROWS < 10], True)
    for row, fewest in ((0, 10), (1, 10), (2, 5), (4, 14)):
        spans = [places[places >= 10] for places in kept[:, row]]
        assert all((np.diff(span) == 1).all() for span in spans)
        lengths = [len(span) for span in spans]
        most = int((ROWS[row] >= 10).sum())
        assert (min(lengths), max(lengths)) == (fewest, most)
        assert 10 in {span[0] for span in spans} and 9 + most in {span[-1] for span in spans}
    np.testing.assert_array_equal(kept[:, 3], np.broadcast_to(ROWS[3], kept[:, 3].shape))


def test_a_part_of_the_texts_is_cropped():
    whole = (draws(Thinning(0.0, 0.3))[:, 4] == ROWS[4]).all(axis=1).mean()
    # A crop, too, takes the whole text now and then: once in 45 lengths.
    assert whole == pytest.approx(0.7 + 0.3 / 45, abs=0.1)


@pytest.fixture(scope="module")
def bert():
    config = EncoderConfig(
        family="bert", vocab_size=80, d_model=16, d_ff=16, num_layers=1, num_heads=2,
        max_positions=64, labels=("a", "b"), dropout_rate=0.2,
    )  # fmt: skip
    module = EncoderClassifier(config)
    return module, init_module(module, jax.random.key(0), token_example())


def test_what_is_left_out_is_as_if_it_had_never_been_there(bert):
    module, params = bert
    kept = np.asarray(draws(Thinning(0.3, 1.0), count=1)[0])
    short = np.zeros((len(kept), 60), np.int32)
    for row, tokens in zip(short, kept, strict=True):
        real = tokens[tokens != PAD]
        row[: len(real)] = real
    one, two = (module.apply({"params": params}, tokens) for tokens in (kept, short))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_step_reads_thinned_texts_and_an_evaluation_whole_ones(bert):
    module, params = bert
    batch = {
        "encoder_input_tokens": jnp.asarray(ROWS),
        "decoder_target_tokens": jnp.zeros((len(ROWS), 1), jnp.int32),
        "decoder_loss_weights": jnp.ones((len(ROWS), 1)),
    }
    judgement, thinning = Judgement(CROSS_ENTROPY, 0.0, 0.0), Thinning(0.4, 0.5)
    rng = jax.random.key(1)

    def loss(rng, *thinning):
        return float(judgement_sums(module, params, batch, rng, judgement, *thinning)["loss"])

    assert loss(None, thinning) == loss(None)
    # Of rates of 0, the draws of dropout are what they are without any.
    assert loss(rng, WHOLE) == loss(rng)
    assert loss(rng, thinning) != loss(rng)

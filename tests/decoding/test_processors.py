"""Each processor against transformers' on random scores, and all of them in transformers' order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from transformers.generation import logits_process as hf

from t5x_lite.decoding import processors
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.structure import prepare
from t5x_lite.models.config import T5Config

ROWS, VOCAB, CAPACITY = 4, 50, 32
CONFIG = T5Config(VOCAB, 8, 4, 8, 1, 1, 2, tie_word_embeddings=True, scale_decoder_outputs=True)


def random_scores(seed: int, scale: float = 3.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=(ROWS, VOCAB))).astype(np.float32)


def random_tokens(seed: int, step: int) -> np.ndarray:
    """Few distinct tokens, so that n-grams repeat; behind `step` lies what must not be read."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(2, 6, (ROWS, 1 + CAPACITY)).astype(np.int32)
    tokens[:, 0] = 0
    return tokens


def theirs(processor, scores: np.ndarray, tokens: np.ndarray | None = None) -> np.ndarray:
    ids = (
        torch.zeros((ROWS, 1), dtype=torch.long) if tokens is None else torch.tensor(tokens).long()
    )
    return processor(ids, torch.tensor(scores)).numpy()


def column(value, dtype=np.float32):
    return jnp.asarray(np.full(ROWS, value, dtype))


@pytest.mark.parametrize(
    "ours, warper, values",
    [
        (processors.top_k, hf.TopKLogitsWarper, (1, 2, 7, 49, 50)),
        (processors.top_p, hf.TopPLogitsWarper, (1e-3, 0.1, 0.5, 0.9, 0.999)),
        (processors.min_p, hf.MinPLogitsWarper, (0.01, 0.1, 0.9)),
        (processors.typical_p, hf.TypicalLogitsWarper, (0.05, 0.3, 0.9, 0.99)),
    ],
    ids=["top_k", "top_p", "min_p", "typical_p"],
)
def test_filters_equal_theirs(ours, warper, values):
    ours = jax.jit(ours)
    for seed, value in enumerate(values):
        for scale in (0.1, 3.0, 30.0):
            scores = random_scores(seed, scale)
            scores[0, :20] = -np.inf  # removed by another processor before
            result = np.asarray(ours(scores, column(value, type(value))))
            np.testing.assert_array_equal(result, theirs(warper(value), scores), err_msg=str(value))


@pytest.mark.parametrize("least", [2, 4])
def test_filters_of_beams_keep_a_few_at_least(least):
    """Beams need tokens beside eos to run on with."""
    for seed, scale in enumerate((0.3, 3.0, 30.0)):
        scores = random_scores(seed, scale)
        for ours, warper, value in (
            (processors.top_k, hf.TopKLogitsWarper, 1),
            (processors.top_p, hf.TopPLogitsWarper, 0.2),
            (processors.min_p, hf.MinPLogitsWarper, 0.9),
            (processors.typical_p, hf.TypicalLogitsWarper, 0.05),
        ):
            result = np.asarray(ours(scores, column(value, type(value)), least))
            expected = theirs(warper(value, min_tokens_to_keep=least), scores)
            np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("step", [0, 1, 2, 5, 20])
def test_encoder_processors_equal_theirs(step):
    """On inputs without pads: theirs count pads as tokens, ours do not."""
    encoder = random_tokens(50 + step, 0)[:, 1:]
    tokens, scores = random_tokens(step, step), random_scores(step)
    for penalty in (0.5, 1.7):
        np.testing.assert_allclose(
            processors.encoder_repetition_penalty(scores, encoder, 0, column(penalty)),
            theirs(
                hf.EncoderRepetitionPenaltyLogitsProcessor(penalty, torch.tensor(encoder).long()),
                scores,
            ),
            rtol=1e-6,
        )
    for n in (1, 2, 3, 4):
        ours = jax.jit(processors.encoder_no_repeat_ngram, static_argnums=(4, 5))
        expected = theirs(
            hf.EncoderNoRepeatNGramLogitsProcessor(n, torch.tensor(encoder).long()),
            scores,
            tokens[:, : step + 1],
        )
        result = ours(scores, tokens, step, encoder, 0, n)
        np.testing.assert_array_equal(result, expected)
        if n < 3 and step:
            assert np.isneginf(expected).any()
        for pads in (((0, 0), (3, 0)), ((0, 0), (0, 3))):
            padded = ours(scores, tokens, step, np.pad(encoder, pads), 0, n)
            np.testing.assert_array_equal(padded, expected)


def test_filters_turned_off_and_by_row():
    scores = random_scores(0)
    np.testing.assert_array_equal(processors.top_k(scores, column(0, np.int32)), scores)
    np.testing.assert_array_equal(processors.top_p(scores, column(1.0)), scores)
    np.testing.assert_array_equal(processors.typical_p(scores, column(1.0)), scores)
    np.testing.assert_array_equal(processors.min_p(scores, column(0.0)), scores)
    ks = np.array([1, 0, 5, 50], np.int32)
    kept = np.isfinite(processors.top_k(scores, ks)).sum(axis=1)
    np.testing.assert_array_equal(kept, [1, 50, 5, 50])


def test_equal_scores_stay_or_go_together():
    scores = jnp.asarray([[1.0, 2.0, 2.0, 0.0]])
    kept = np.isfinite(processors.top_k(scores, jnp.array([1])))
    np.testing.assert_array_equal(kept, [[False, True, True, False]])


@pytest.mark.parametrize("seed", range(3))
def test_filters_of_scores_with_ties(seed):
    """Theirs keep ties together, too, but for top_p: there ours keep what ties with the last that they keep."""
    scores = np.round(random_scores(seed))  # some ten values
    scores[0, :45] = -np.inf
    scores[1, 1:] = -np.inf  # one token alone is left
    for ours, warper, values in (
        (processors.top_k, hf.TopKLogitsWarper, (1, 3, 8, 50, 500)),
        (processors.min_p, hf.MinPLogitsWarper, (0.01, 0.3, 1.0)),
        (processors.typical_p, hf.TypicalLogitsWarper, (0.1, 0.5, 0.99)),
    ):
        for value in values:
            expected = theirs(warper(value), scores)
            result = ours(scores, column(value, type(value)))
            np.testing.assert_array_equal(result, expected, err_msg=f"{warper} {value}")
    for value in (0.01, 0.3, 0.5, 0.97):
        expected = np.isfinite(theirs(hf.TopPLogitsWarper(value), scores))
        least = np.min(np.where(expected, scores, np.inf), axis=1, keepdims=True)
        kept = np.isfinite(processors.top_p(scores, column(value)))
        np.testing.assert_array_equal(kept, np.isfinite(scores) & (scores >= least))


def test_penalties_of_removed_and_zero_scores():
    """-inf stays -inf under any penalty, 0 stays 0; penalties below 1 reward what is there."""
    tokens, scores = random_tokens(3, 20), np.round(random_scores(3))
    scores[:, 3] = -np.inf
    scores[:, 4] = 0.0
    encoder = tokens[:, 1:9]
    for penalty in (0.3, 0.9, 1.0, 4.0):
        np.testing.assert_array_equal(
            processors.repetition_penalty(scores, tokens, 20, column(penalty)),
            theirs(hf.RepetitionPenaltyLogitsProcessor(penalty), scores, tokens[:, :21]),
        )
        np.testing.assert_allclose(
            processors.encoder_repetition_penalty(scores, encoder, 0, column(penalty)),
            theirs(
                hf.EncoderRepetitionPenaltyLogitsProcessor(penalty, torch.tensor(encoder).long()),
                scores,
            ),
            rtol=1e-6,
        )


@pytest.mark.parametrize("step", [0, 1, 2, 5, 20, CAPACITY - 1])
def test_history_processors_equal_theirs(step):
    tokens = random_tokens(step, step)
    seen = tokens[:, : step + 1]
    scores = random_scores(step)
    for penalty in (0.5, 1.3, 2.0):
        np.testing.assert_allclose(
            processors.repetition_penalty(scores, tokens, step, column(penalty)),
            theirs(hf.RepetitionPenaltyLogitsProcessor(penalty), scores, seen),
            rtol=1e-6,
        )
    for n in (1, 2, 3, 4):
        np.testing.assert_array_equal(
            jax.jit(processors.no_repeat_ngram, static_argnums=3)(scores, tokens, step, n),
            theirs(hf.NoRepeatNGramLogitsProcessor(n), scores, seen),
        )
    words = [[30], [3, 31], [2, 32], [4, 5, 33], [2, 2, 2, 34], [5, 3, 2, 2, 35], [1]]
    _, values = prepare(GenerationSettings(bad_words_ids=words), CONFIG, ROWS)
    np.testing.assert_array_equal(
        processors.bad_words(scores, tokens, step, values.bad_words),
        theirs(hf.NoBadWordsLogitsProcessor(words, eos_token_id=1), scores, seen),
    )


ALL = {
    "max_new_tokens": 12,
    "min_new_tokens": 5,
    "do_sample": True,
    "temperature": 0.7,
    "top_k": 12,
    "top_p": 0.9,
    "min_p": 0.01,
    "typical_p": 0.95,
    "encoder_repetition_penalty": 1.2,
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "encoder_no_repeat_ngram_size": 3,
    "bad_words_ids": [[7], [3, 8]],
    "eos_token_id": [1, 12],
    "suppress_tokens": [9, 10],
    "begin_suppress_tokens": [11],
}
OPTIONS = {
    "temperature": (0.3, 2.0),
    "top_k": (0, 1, 7, 500),
    "top_p": (1e-3, 0.4, 0.9),
    "min_p": (0.02, 0.5, 1.0),
    "typical_p": (0.1, 0.9),
    "num_beams": (3,),
    "encoder_repetition_penalty": (0.6, 1.5),
    "repetition_penalty": (0.7, 1.4),
    "no_repeat_ngram_size": (1, 2, 3),
    "encoder_no_repeat_ngram_size": (1, 2, 3),
    "bad_words_ids": ([[7], [3, 8]], [[1], [2, 2, 9], [4]]),
    "eos_token_id": ([1, 12], [20]),
    "min_new_tokens": (1, 6, 12),
    "min_length": (5,),
    "suppress_tokens": ([9, 10, 40],),
    "begin_suppress_tokens": ([11, 3],),
    "forced_bos_token_id": (7,),
    "forced_eos_token_id": (1, [1, 30]),
}


def some_settings(seed: int) -> dict:
    """About half of all options."""
    rng = np.random.default_rng(seed)
    chosen = {
        name: values[rng.integers(len(values))]
        for name, values in OPTIONS.items()
        if rng.random() < 0.5
    }
    if "min_new_tokens" in chosen:
        chosen.pop("min_length", None)
    return {"max_new_tokens": 12, "do_sample": True, **chosen}


@pytest.fixture(scope="module")
def their_list():
    """their_list(settings, encoder_tokens): the list that transformers' own `generate` builds."""
    config = transformers.T5Config(vocab_size=VOCAB, d_model=8, d_kv=4, d_ff=8, num_layers=1)
    model = transformers.T5ForConditionalGeneration(config)

    def build(settings: dict, encoder: np.ndarray) -> hf.LogitsProcessorList:
        asked = {"eos_token_id": 1, "pad_token_id": 0, "decoder_start_token_id": 0, **settings}
        asked["max_length"] = 1 + asked.pop("max_new_tokens")
        generation = transformers.GenerationConfig(**{"top_k": 50, **asked})
        model._prepare_special_tokens(generation, True, device="cpu")
        return model._get_logits_processor(
            generation,
            input_ids_seq_length=1,
            encoder_input_ids=torch.tensor(encoder).long(),
            device="cpu",
            model_kwargs={},
        )

    return build


@pytest.mark.parametrize("number", range(-1, 16))
def test_all_processors_together_and_in_their_order(number, their_list):
    """The filtered distribution of sampling (and of sampled beams): all options at once, and draws of them."""
    mapping = ALL if number < 0 else some_settings(number)
    structure, values = prepare(GenerationSettings.from_mapping(mapping), CONFIG, ROWS)
    encoder = random_tokens(77, 0)[:, 1:12]
    values = values._replace(encoder_tokens=jnp.asarray(encoder))
    chain = their_list(mapping, encoder)
    process = jax.jit(processors.process, static_argnums=3)
    for step in (0, 1, 5, 11):
        tokens, scores = random_tokens(step, step), random_scores(100 * number + step + 100)
        scores[:, [1, 12]] = 6.0, 5.5  # eos: kept unless something bans it
        scores[0, 20:45] = -np.inf
        ours = process(scores, tokens, step, structure, values)
        expected = theirs(chain, scores, tokens[:, : step + 1])
        np.testing.assert_allclose(ours, expected, rtol=2e-6, err_msg=str(mapping))
        np.testing.assert_allclose(
            jax.nn.softmax(ours), torch.tensor(expected).softmax(-1).numpy(), atol=1e-6
        )


@pytest.mark.parametrize("number", [-1, 3, 7])
def test_rows_at_steps_of_their_own(number):
    """A row gets what it gets where all rows are at its step."""
    mapping = ALL if number < 0 else some_settings(number)
    structure, values = prepare(GenerationSettings.from_mapping(mapping), CONFIG, ROWS)
    values = values._replace(encoder_tokens=jnp.asarray(random_tokens(77, 0)[:, 1:12]))
    process = jax.jit(processors.process, static_argnums=3)
    steps = np.resize([0, 5, 1, 11, 2, 7], ROWS).astype(np.int32)
    tokens, scores = random_tokens(1, CAPACITY), random_scores(5)
    together = process(scores, tokens, steps, structure, values)
    for row, step in enumerate(steps):
        alike = process(scores, tokens, step, structure, values)
        np.testing.assert_array_equal(together[row], alike[row])


@pytest.mark.parametrize("step", [0, 1, 11])
@pytest.mark.parametrize("last", [1, [1, 30]])
def test_forced_tokens(step, last):
    settings = GenerationSettings(
        max_new_tokens=12,
        forced_bos_token_id=7,
        forced_eos_token_id=last,
        begin_suppress_tokens=[3],
    )
    structure, values = prepare(settings, CONFIG, ROWS)
    tokens, scores = random_tokens(step, step), random_scores(step)
    chain = hf.LogitsProcessorList(
        [
            hf.ForcedBOSTokenLogitsProcessor(7),
            hf.ForcedEOSTokenLogitsProcessor(13, last),
            hf.SuppressTokensAtBeginLogitsProcessor([3], begin_index=2),
        ]
    )
    np.testing.assert_array_equal(
        processors.process(jnp.asarray(scores), jnp.asarray(tokens), step, structure, values),
        theirs(chain, scores, tokens[:, : step + 1]),
    )


@pytest.mark.parametrize("step", [0, 5, CAPACITY - 1])
@pytest.mark.parametrize("n", [CAPACITY, CAPACITY + 1, CAPACITY + 2, CAPACITY + 3, 100])
def test_ngrams_longer_than_a_row_ban_nothing(n, step):
    """As in transformers; of the input too, whether that is as long or not."""
    tokens, scores = np.full((ROWS, 1 + CAPACITY), 3, np.int32), random_scores(step)
    expected = theirs(hf.NoRepeatNGramLogitsProcessor(n), scores, tokens[:, : step + 1])
    ours = processors.no_repeat_ngram(scores, tokens, jnp.int32(step), n)
    np.testing.assert_array_equal(ours, expected)
    assert np.isneginf(expected).any() == (n <= step + 1)
    for length in (1, 20, CAPACITY + 1, 120):
        encoder = np.full((ROWS, length), 3, np.int32)
        processor = hf.EncoderNoRepeatNGramLogitsProcessor(n, torch.tensor(encoder).long())
        expected = theirs(processor, scores, tokens[:, : step + 1])
        ours = processors.encoder_no_repeat_ngram(scores, tokens, jnp.int32(step), encoder, 0, n)
        np.testing.assert_array_equal(ours, expected)


def test_the_longest_ngram_of_a_row_is_banned_still():
    """The last token of a full row would complete the input's n-gram of all of it."""
    n, step = CAPACITY + 1, CAPACITY - 1
    tokens, scores = np.full((ROWS, 1 + CAPACITY), 3, np.int32), random_scores(0)
    encoder = np.full((ROWS, n), 3, np.int32)
    ours = processors.encoder_no_repeat_ngram(scores, tokens, jnp.int32(step), encoder, 0, n)
    assert np.isneginf(ours[:, 3]).all() and np.isfinite(ours).sum() == ROWS * (VOCAB - 1)


@pytest.mark.parametrize("length", [CAPACITY, CAPACITY + 1, CAPACITY + 2, 90])
def test_bad_words_longer_than_a_row(length):
    """Never complete, however long; shorter words beside them are."""
    word = [3] * length
    tokens, scores = np.full((ROWS, 1 + CAPACITY), 3, np.int32), random_scores(1)
    padded = np.array([word, [-1] * (length - 2) + [3, 4]], np.int32)
    for step in (0, 7, CAPACITY - 1):
        processor = hf.NoBadWordsLogitsProcessor([word, [3, 4]], eos_token_id=torch.tensor([1]))
        expected = theirs(processor, scores, tokens[:, : step + 1])
        ours = processors.bad_words(scores, tokens, jnp.int32(step), padded)
        np.testing.assert_array_equal(ours, expected)
        assert np.isneginf(expected[:, 4]).all()

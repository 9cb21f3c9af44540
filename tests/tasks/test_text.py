"""From a config to tokens: which tokenizer, which batches, and how examples are told from others."""

import dataclasses

import numpy as np
import pytest
from etils import epath

from t5x_lite.data.features import Ragged, fingerprint
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.models.config import T5Config
from t5x_lite.wiring.text import evaluation_plan, get_vocabulary, make_split, read_rows
from t5x_lite.wiring.workdir import claim_workdir

MODEL = T5Config(
    vocab_size=384,
    d_model=8,
    d_kv=4,
    d_ff=8,
    num_encoder_layers=1,
    num_decoder_layers=1,
    num_heads=2,
    tie_word_embeddings=True,
    scale_decoder_outputs=True,
)


@pytest.fixture(scope="module")
def split(finished, tiny_config):
    data = tiny_config().data
    vocabulary = load_vocabulary(finished.folder / "tokenizer")
    return make_split(data, read_rows(data.evaluation, "evaluation"), vocabulary, "evaluation")


def test_a_tokenizer_is_trained_anew_until_the_run_has_started(tiny_config, tmp_path):
    config = tiny_config()
    rows = read_rows(config.data.train, "train")
    folder = epath.Path(tmp_path)
    assert get_vocabulary(config, rows, folder).size == 300
    smaller = tiny_config({"tokenizer.vocab_size": "280"})
    assert get_vocabulary(smaller, rows, folder).size == 280  # of a config put right
    claim_workdir(folder, smaller)
    assert (
        get_vocabulary(smaller, rows[:5], folder).size == 280
    )  # 5 rows alone could not have so many


def test_the_tokenizer_of_the_model(finished, tiny_config, tmp_path):
    own = {"tokenizer.source": "model", "model.source": str(finished.folder)}
    vocabulary = get_vocabulary(tiny_config(own), [], epath.Path(tmp_path))
    assert vocabulary.size == 300
    assert not list(tmp_path.iterdir())


def test_a_fingerprint_knows_tokens_their_order_and_their_borders(split):
    def changed(**ragged):
        return fingerprint(dataclasses.replace(split.examples, **ragged))

    inputs, targets = split.examples.encoder_input_tokens, split.examples.decoder_target_tokens
    other_token = inputs.flat.copy()
    other_token[-1] += 1
    other_border = targets.offsets.copy()
    other_border[1] += 1
    found = {
        fingerprint(split.examples),
        changed(encoder_input_tokens=Ragged(other_token, inputs.offsets)),
        changed(decoder_target_tokens=Ragged(targets.flat, other_border)),
        changed(encoder_input_tokens=targets, decoder_target_tokens=inputs),
    }
    assert len(found) == 4
    assert changed(encoder_input_tokens=Ragged(inputs.flat.copy(), inputs.offsets)) in found


@pytest.mark.parametrize(
    "tokens, row_multiple, rows",
    [
        (4096, 1, 8),  # there are no more
        (4096, 3, 9),
        (4 * 32, 1, 4),
        (1, 2, 2),  # at least one row a device
    ],
)
def test_evaluation_batches(split, tokens, row_multiple, rows):
    plan = evaluation_plan(split.examples, MODEL, tokens=tokens, row_multiple=row_multiple)
    assert plan.shapes[-1].rows == rows
    found = np.concatenate([plan.indices(step) for step in range(plan.steps_per_epoch)])
    assert sorted(found[found >= 0].tolist()) == list(range(8))

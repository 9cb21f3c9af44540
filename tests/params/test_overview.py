"""Parameter counts of the published models, from their shapes alone."""

import dataclasses

import pytest

from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5
from t5x_lite.params.overview import count, overview

FLAN_T5_SMALL = T5Config(
    vocab_size=32128,
    d_model=512,
    d_kv=64,
    d_ff=1024,
    num_encoder_layers=8,
    num_decoder_layers=8,
    num_heads=6,
    feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,
    scale_decoder_outputs=False,
)
FLAN_T5_BASE = dataclasses.replace(
    FLAN_T5_SMALL,
    d_model=768,
    d_ff=2048,
    num_encoder_layers=12,
    num_decoder_layers=12,
    num_heads=12,
)
T5_SMALL = T5Config(
    vocab_size=32128,
    d_model=512,
    d_kv=64,
    d_ff=2048,
    num_encoder_layers=6,
    num_decoder_layers=6,
    num_heads=8,
    tie_word_embeddings=True,
    scale_decoder_outputs=True,
)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        pytest.param(FLAN_T5_BASE, 247_577_856, id="flan-t5-base"),
        pytest.param(FLAN_T5_SMALL, 76_961_152, id="flan-t5-small"),
        pytest.param(T5_SMALL, 60_506_624, id="t5-small"),
    ],
)
def test_published_counts(config, parameters):
    for scan_layers in (False, True):
        shapes = abstract_params(T5(config, Execution(scan_layers=scan_layers)))
        assert count(shapes) == parameters
        assert sum(row["parameters"] for row in overview(shapes)) == parameters


def test_layers_are_folded_into_a_row():
    rows = {row["path"]: row for row in overview(abstract_params(T5(FLAN_T5_SMALL, Execution())))}
    assert rows["decoder/layers_{n}/mlp/wo/kernel"] == {
        "path": "decoder/layers_{n}/mlp/wo/kernel",
        "copies": 8,
        "shape": [1024, 512],
        "dtype": "float32",
        "parameters": 8 * 1024 * 512,
    }
    assert rows["token_embedder/embedding"]["copies"] == 1
    assert not any("layers_0" in path for path in rows)

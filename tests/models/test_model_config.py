"""What a T5Config and an Execution refuse, and how the message helps."""

import dataclasses

import pytest

from t5x_lite.errors import InputError
from t5x_lite.models.config import ACTIVATIONS, Execution


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "bart"),
        ("vocab_size", 0),
        ("d_model", -16),
        ("d_kv", 4.0),
        ("d_ff", "24"),
        ("num_encoder_layers", 0),
        ("num_decoder_layers", None),
        ("num_heads", 0),
        ("feed_forward_proj", "tanh"),
        ("feed_forward_proj", "gelu-gated"),
        ("dropout_rate", 1.0),
        ("dropout_rate", -0.1),
        ("relative_attention_num_buckets", 2),
        ("relative_attention_num_buckets", 7),
        ("relative_attention_max_distance", 4),
    ],
)
def test_a_bad_field_is_named_with_its_value(config, field, value):
    with pytest.raises(InputError) as error:
        dataclasses.replace(config, **{field: value})
    assert f"model.{field}" in str(error.value) and str(value) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"), [("dtype", "float64"), ("remat", "some"), ("attention", "flash")]
)
def test_a_bad_execution_is_named_with_what_there_is(field, value):
    with pytest.raises(InputError, match=rf"model\.{field} must be one of .*, got '{value}'"):
        Execution(**{field: value})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gated_and_plain_activations(config, activation):
    plain = dataclasses.replace(config, feed_forward_proj=activation)
    gated = dataclasses.replace(config, feed_forward_proj=f"gated-{activation}")
    assert (plain.activation, plain.is_gated) == (activation, False)
    assert (gated.activation, gated.is_gated) == (activation, True)

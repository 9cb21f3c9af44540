"""A model in a terminal: nano, greedy."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

BASE = {
    "task": "chat", "seed": 0, "model": {"source": "nano", **shared.FLOAT32, "quantization": "none"},
    "tokenizer": {"source": "model"},  # the one that comes with the model
    "data": {
        "template": shared.IN_DETAIL, "cut_field": "dialogue",
        # A text is padded to the first of these that holds it, each is compiled once; the last is the budget.
        "encoder_lengths": (128, 256, 512), "truncation": "oldest_turns",
    },
    # Over the model's generation_config.json. Beams are refused: they have nothing to show before the end.
    "generation": {"max_new_tokens": 128, "num_beams": 1},
}  # fmt: skip
WORDS = {"runlocal": {"data.encoder_lengths": (128,), "generation.max_new_tokens": 8}}

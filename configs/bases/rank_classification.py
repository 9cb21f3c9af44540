"""Answers chosen among given ones by their likelihood: nano on the topics of the bundled dialogues."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

BASE = {
    "task": "rank_classification", "seed": 0,
    "model": {
        "source": "nano",
        "architecture": shared.TINY_T5,  # only of a random model
        **shared.FLOAT32, "quantization": "none", "attention": "auto",
    },
    # {"method": "load", "source": "runs/lora/adapter"} scores the model with a saved adapter.
    "adapter": {"method": "none"}, "tokenizer": shared.TOKENIZER,
    "data": {
        "evaluation": {
            **shared.BUNDLED, "split": "test", "columns": {"dialogue": "dialogue", "topic": "topic"},
        },
        "template": "{dialogue}\n\nWhat is the topic of this dialogue?",
        "encoder_length": 320, "truncation": "oldest_turns", "cut_field": "dialogue",
        "choices": (), "choices_field": "",  # neither: the different topics of all rows
        "gold_field": "topic", "gold": "text",
    },
    "mesh": shared.MESH,
    "evaluation": {"batch_tokens": 4096, "bootstrap_samples": 2000, "samples": 3},
}  # fmt: skip
WORDS = shared.runlocal(BASE)

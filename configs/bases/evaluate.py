"""A model scored as it is: the quickstart's on the bundled dialogues."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

_WHILE_TRAINING = ("every_steps", "at_start")
_SCORED = {name: value for name, value in shared.EVALUATION.items() if name not in _WHILE_TRAINING}

BASE = {
    "task": "evaluate", "seed": 0,
    "model": {
        "source": "runs/quickstart/full",
        "architecture": shared.TINY_T5,  # only of a random model
        **shared.FLOAT32, "quantization": "none", "attention": "auto",
    },
    # {"method": "load", "source": "runs/lora/adapter"} scores the model with a saved adapter.
    "adapter": {"method": "none"}, "tokenizer": shared.TOKENIZER,
    "data": {
        "evaluation": {**shared.BUNDLED, "split": "test"},
        "template": "finetune",  # as the model was trained
        "target": "{summary}", "encoder_length": 320, "decoder_length": 112,
        "truncation": "oldest_turns", "cut_field": "dialogue",
    },
    "mesh": shared.MESH, "evaluation": _SCORED, "generation": {"max_new_tokens": 112}, "published": {},
}  # fmt: skip
WORDS = shared.runlocal(BASE)

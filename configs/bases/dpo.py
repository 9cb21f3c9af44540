"""A policy tuned on pairs of answers: nano with LoRA, on the bundled pairs of summaries."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

BASE = {
    "task": "dpo", "seed": 0,
    "model": {
        "source": "nano",
        "architecture": shared.TINY_T5,  # only of a random model
        **shared.FLOAT32, "quantization": "none", "remat": "none", "scan_layers": False, "attention": "auto",
    },
    "tokenizer": {**shared.TOKENIZER, "user_defined_symbols": shared.TWO_SPEAKERS},
    "adapter": {**shared.LORA, "targets": ((".*/(query|key|value|out|wi(_0|_1)?|wo)", 16),), "dropout": 0.0},
    "data": {
        "train": shared.PREFERENCES, "evaluation": {**shared.PREFERENCES, "split": "test"},
        "holdout": 0.0, "holdout_order": "shuffled", "template": shared.IN_DETAIL,
        "target": "{chosen}",  # what ROUGE compares the policy's texts with
        "encoder_length": 320, "decoder_length": 160, "truncation": "oldest_turns", "cut_field": "dialogue",
    },
    "batch": {"size": 32, "buckets": 2, "multiple": 32, "accumulation": 1},
    "train": {
        "steps": 150, "trainable": "adapters", "frozen_dtype": "float32",
        "dropout": False,  # the reference has none either
    },
    "loss": {"kind": "sigmoid", "beta": 0.5, "label_smoothing": 0.0, "chunk": 0}, "optimizer": shared.ADAMW,
    "schedule": {"name": "linear", "learning_rate": 2e-4, "warmup_steps": 20, "final_fraction": 0.0},
    "mesh": shared.MESH,
    "checkpoint": {"every_steps": 50, "keep": 1, **shared.KEPT}, **shared.ENDS,
    "evaluation": {**shared.EVALUATION, "every_steps": 50}, "generation": {"max_new_tokens": 128},
    "logging": {**shared.LOGGING, "every_steps": 5}, "published": {},
}  # fmt: skip
WORDS = shared.runlocal(BASE, {"schedule.learning_rate": 1e-3})

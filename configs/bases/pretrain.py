"""A T5 pretrained by denoising: T5's span corruption, on the bundled dialogues."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

_DIALOGUES = {**shared.BUNDLED, "columns": {"text": "dialogue"}}

BASE = {
    "task": "pretrain", "seed": 0,
    "model": {
        "source": "random", "architecture": shared.SMALL_T5, **shared.FLOAT32, "remat": "none",
        "scan_layers": False, "attention": "auto",
    },
    "tokenizer": {
        **shared.TOKENIZER, "source": "train", "vocab_size": 2048,
        "user_defined_symbols": ("[R]", "[S]", "[X]"), "extra_ids": 100,
    },
    "data": {
        "train": _DIALOGUES, "evaluation": {**_DIALOGUES, "split": "validation", "limit": 100}, "field": "text",
        "denoisers": {
            "t5": {
                "rate": 1.0, "noise_density": 0.15, "mean_span_length": 3.0, "target": "spans", "prefix": "",
            }
        },
        # Of a piece of text, and of a packed row.
        "encoder_length": 256, "decoder_length": 256,
    },
    "batch": {"size": 16, "tokens": 0, "buckets": 1, "multiple": 16, "pack": True, "accumulation": 1},
    "train": {"steps": 500}, "loss": shared.LOSS, "optimizer": shared.MUON,
    "schedule": {"name": "cosine", "learning_rate": 7e-3, "warmup_steps": 30, "final_fraction": 0.0},
    "mesh": shared.MESH,
    "checkpoint": {"every_steps": 100, "keep": 1, **shared.KEPT}, **shared.ENDS,
    "evaluation": {"every_steps": 100, "at_start": True, "batch_tokens": 4096, "samples": 2}, "logging": shared.LOGGING,
}  # fmt: skip
WORDS = shared.runlocal(BASE, {"tokenizer.vocab_size": 512, "data.decoder_length": 64})

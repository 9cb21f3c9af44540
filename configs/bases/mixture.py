"""A T5 trained on several tasks at once, and scored on each: a small one from random weights."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

BASE = {
    "task": "mixture", "seed": 0,
    "model": {
        "source": "random", "architecture": shared.SMALL_T5, **shared.FLOAT32, "quantization": "none", "remat": "none",
        "scan_layers": False, "attention": "auto",
    },
    "tokenizer": shared.TOKENIZER,
    "data": {
        "tasks": {},  # name -> {"train", "evaluation", "templates", "target", "cut_field", "shots", "rate"}
        "temperature": 1.0, "maximum": 0,
        "denoising": {
            "rate": 0.0, "task": "", "field": "", "encoder_length": 96, "noise_density": 0.15,
            "mean_span_length": 3.0, "target": "text",
        },
        "encoder_length": 384, "decoder_length": 128, "truncation": "end",
    },
    "adapter": {"method": "none"},
    "batch": {"size": 0, "tokens": 4096, "buckets": 4, "multiple": 16, "pack": False, "accumulation": 1},
    "train": {"steps": 400, "trainable": "full", "frozen_dtype": "float32"}, "loss": shared.LOSS,
    "optimizer": shared.ADAMW,
    "schedule": {"name": "linear", "learning_rate": 5e-4, "warmup_steps": 20, "final_fraction": 0.0},
    "mesh": shared.MESH,
    "checkpoint": {"every_steps": 100, "keep": 1, **shared.KEPT}, **shared.ENDS,
    "evaluation": {**shared.GENERATED, "every_steps": 100, "task": "", "samples": 1},
    "generation": {"max_new_tokens": 128}, "logging": shared.LOGGING,
}  # fmt: skip
WORDS = shared.runlocal(BASE)

"""A T5 fine-tuned on texts with targets: FLAN-T5-base on DialogSum, with all its weights."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

BASE = {
    "task": "finetune", "seed": 0,
    "model": {
        "source": "google/flan-t5-base",
        "architecture": {},  # of a random model; a checkpoint brings its own
        "dtype": "bfloat16", "param_dtype": "float32", "quantization": "none", "remat": "dots", "scan_layers": False,
        "attention": "auto",
    },
    "tokenizer": {**shared.TOKENIZER, "keep_newlines": False},
    "data": {
        "train": shared.HUB, "evaluation": {**shared.HUB, "split": "validation"},
        "holdout": 0.0, "holdout_order": "shuffled",
        "denoising": {
            "steps": 0, "encoder_length": 128, "noise_density": 0.15, "mean_span_length": 3.0,
            "target": "spans",
        },
        "pads": {"in_loss": False, "in_attention": False}, "template": "finetune",
        "target": "{summary}", "encoder_length": 512, "decoder_length": 128,
        "truncation": "oldest_turns", "cut_field": "dialogue",
    },
    "adapter": {"method": "none"},
    "batch": {"size": 32, "tokens": 0, "buckets": 4, "multiple": 32, "pack": False, "accumulation": 1},
    "train": {"steps": 1200, "trainable": "full", "frozen_dtype": "float32"},
    "loss": {**shared.LOSS, "chunk": 32},
    "optimizer": {**shared.ADAMW, "weight_decay": 0.01, "no_weight_decay": (".*/scale", ".*/rel_embedding")},
    "schedule": {"name": "linear", "learning_rate": 1e-4, "warmup_steps": 50, "final_fraction": 0.0},
    "mesh": shared.MESH, "checkpoint": {"every_steps": 200, "keep": 2, **shared.KEPT},
    **shared.ENDS, "evaluation": shared.EVALUATION,
    "generation": {"max_new_tokens": 128, "num_beams": 4},
    "comparison": {"name": "this run", "original": "none", "runs": (), "rows": ()}, "logging": shared.LOGGING,
    "published": {},
}  # fmt: skip
WORDS = shared.runlocal(BASE, {
    "data.train": {**shared.BUNDLED, "limit": 64},
    "data.evaluation": {**shared.BUNDLED, "split": "test", "limit": 8},
})  # fmt: skip

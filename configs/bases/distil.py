"""A small T5 that learns from a large one: the quickstart's summarizer into a quarter of its size."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

BASE = {
    "task": "distil", "seed": 0,
    # The student. "teacher" takes the teacher's weights, with `layers` some of them.
    "model": {
        "source": "random",
        "architecture": {  # of random weights; vocab_size 0: the teacher's
            **shared.SMALL_T5, "d_model": 64, "d_kv": 16, "d_ff": 256, "num_encoder_layers": 2,
            "num_decoder_layers": 2,
        },
        "layers": (), **shared.FLOAT32, "quantization": "none", "remat": "none", "scan_layers": False,
        "attention": "auto",
    },
    "teacher": {"source": "runs/quickstart/full", **shared.FLOAT32, "quantization": "none"},
    "tokenizer": {"source": "model"},  # the teacher's
    "distillation": {
        "teacher_weight": 0.5, "kind": "forward_kl", "beta": 0.5, "temperature": 2.0, "top_k": 0, "cache": False,
        "targets": "labels", "writing": {"max_new_tokens": 112},
        "own_texts": 0.0, "sampling": {"do_sample": True, "top_k": 0},
    },
    "adapter": {"method": "none"},
    "data": {
        "train": shared.BUNDLED, "evaluation": {**shared.BUNDLED, "split": "test", "limit": 100},
        "holdout": 0.0, "holdout_order": "shuffled",
        "template": "finetune",  # as the teacher was trained
        "target": "{summary}", "encoder_length": 320, "decoder_length": 112,
        "truncation": "oldest_turns", "cut_field": "dialogue",
    },
    "batch": {"size": 0, "tokens": 4096, "buckets": 3, "multiple": 16, "accumulation": 1},
    "train": {"steps": 600, "trainable": "full", "frozen_dtype": "float32"}, "loss": shared.LOSS,
    "optimizer": {
        **shared.MUON, "rate_multipliers": ((".*/query/kernel", 0.25), *shared.MUON["rate_multipliers"][1:]),
    },
    "schedule": {"name": "cosine", "learning_rate": 7e-3, "warmup_steps": 30, "final_fraction": 0.0},
    "mesh": shared.MESH, "checkpoint": {"every_steps": 200, "keep": 1, **shared.KEPT}, **shared.ENDS,
    "evaluation": shared.EVALUATION, "generation": {"max_new_tokens": 112},
    "comparison": {"name": "student", "runs": (), "rows": (0, 1)}, "logging": shared.LOGGING, "published": {},
}  # fmt: skip
WORDS = shared.runlocal(BASE, {
    "data.train": {**shared.BUNDLED, "limit": 64},
    "data.evaluation": {**shared.BUNDLED, "split": "test", "limit": 8},
    "tokenizer.source": "model", "teacher.source": "nano", "distillation.writing": {"max_new_tokens": 8},
})  # fmt: skip

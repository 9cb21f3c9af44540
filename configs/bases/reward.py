"""A reward model from preference pairs: nano with a scalar head, on the bundled pairs of summaries."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

BASE = {
    "task": "reward", "seed": 0,
    "model": {
        "source": "nano", "kind": "encoder_decoder", "likelihood": 1.0,
        "architecture": {  # only of a random model
            **shared.SMALL_T5,
            "num_decoder_layers": 1,  # an encoder has none
            "dropout_rate": 0.1,
        },
        **shared.FLOAT32, "attention": "auto",
    },
    "tokenizer": {**shared.TOKENIZER, "vocab_size": 2048, "user_defined_symbols": shared.TWO_SPEAKERS},
    "data": {
        "train": shared.PREFERENCES, "evaluation": {**shared.PREFERENCES, "split": "test"},
        "holdout": 0.0, "holdout_order": "shuffled",
        # As nano was trained; an encoder-decoder reads what stands before {response} in its encoder.
        "template": shared.IN_DETAIL + "{response}",
        "max_length": 400,  # of each text
    },
    "batch": {"size": 32, "buckets": 2, "accumulation": 1}, "train": {"steps": 100},
    "loss": {"kind": "preference", "margin": 0.0, "center": 0.0},
    "optimizer": {**shared.ADAMW, "b2": 0.98, "weight_decay": 0.01},
    "schedule": {"name": "linear", "learning_rate": 3e-4, "warmup_steps": 20, "final_fraction": 0.0},
    "mesh": shared.MESH,
    "checkpoint": {"every_steps": 50, "keep": 1, **shared.KEPT}, **shared.ENDS,
    "evaluation": {"every_steps": 50, "at_start": True, "bootstrap_samples": 2000, "centred_rows": 500, "samples": 3},
    "logging": {**shared.LOGGING, "every_steps": 5},
}  # fmt: skip
WORDS = shared.runlocal(BASE, {
    "model.likelihood": 0.0,  # of a random model it says nothing
    "tokenizer.vocab_size": 500, "data.template": BASE["data"]["template"], "data.max_length": 128,
    "schedule.learning_rate": 2e-3, "data.train.limit": 200, "data.evaluation.limit": 40,
    "evaluation.centred_rows": 100,
})  # fmt: skip

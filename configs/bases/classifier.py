"""A classifier from labeled texts: a small T5's encoder with a head, on the bundled texts, rude or not."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

_TOXICITY = {
    **shared.BUNDLED, "source": "bundled/toxicity", "columns": {"text": "text", "label": "label"},
}  # fmt: skip

BASE = {
    "task": "classifier", "seed": 0,
    "model": {
        "source": "random",
        "architecture": {
            "vocab_size": 0,  # the tokenizer's
            "d_model": 96, "d_kv": 32, "d_ff": 256, "num_encoder_layers": 2,
            "num_decoder_layers": 1,  # of a T5; a classifier has none
            "num_heads": 3, "tie_word_embeddings": True, "scale_decoder_outputs": True, "dropout_rate": 0.1,
        },
        **shared.FLOAT32, "attention": "auto",
    },
    "tokenizer": {
        **shared.TOKENIZER, "source": "train", "vocab_size": 1600,
        "user_defined_symbols": ("#Person1#", "#Person2#"), "keep_newlines": False,
    },
    "data": {
        "train": _TOXICITY, "evaluation": {**_TOXICITY, "split": "test"},
        # To judge the tweets' classifier by the comments: --config.data.transfer.source=toxicity.csv
        "transfer": {
            **_TOXICITY, "source": "none", "split": "",
            "columns": {"text": "comment", "label": "toxic"}, "id_column": "",
        },
        "holdout": 0.0, "holdout_order": "shuffled",
        "labels": {"nothate": ("0",), "hate": ("1",)},  # of the logits, alphabetically
        "positive": "hate", "max_length": 96,
    },
    "batch": {"size": 64, "buckets": 1, "accumulation": 1}, "train": {"steps": 120, "token_dropout": 0.0, "crop": 0.0},
    "loss": {"kind": "cross_entropy", "margin": 0.0, "center": 0.0},
    "optimizer": {
        **shared.ADAMW, "b2": 0.98, "weight_decay": 0.01,
        # For embeddings that are drawn at random, T5's or an encoder's; pretrained ones want ().
        "rate_multipliers": (("(token_embedder|embeddings)/(token_)?embedding", 10.0),),
    },
    "schedule": {"name": "linear", "learning_rate": 2e-3, "warmup_steps": 40, "final_fraction": 0.0},
    "mesh": shared.MESH,
    "checkpoint": {"every_steps": 60, "keep": 1, **shared.KEPT}, **shared.ENDS,
    "evaluation": {"every_steps": 60, "at_start": True, "max_length": 0, "bootstrap_samples": 1000, "samples": 5},
    "logging": {**shared.LOGGING, "every_steps": 5},
}  # fmt: skip
WORDS = shared.runlocal(BASE, {
    "data.train.limit": 400, "data.evaluation.limit": 0, "tokenizer.vocab_size": 500,
    "data.max_length": 192, "batch.size": 32, "train.steps": 60, "schedule.learning_rate": 5e-3,
    "checkpoint.every_steps": 60, "evaluation.every_steps": 60,
})  # fmt: skip

"""Encoder-decoder, encoder-only and decoder-only T5s side by side, naming the situation of a dialogue."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

_ROWS = {**shared.BUNDLED, "columns": {"dialogue": "dialogue", "situation": "situation"}}
_ARCHITECTURE = dict(shared.SMALL_T5)
del _ARCHITECTURE["num_encoder_layers"], _ARCHITECTURE["num_decoder_layers"]

BASE = {
    "task": "architectures", "seed": 0,
    "model": {"architecture": _ARCHITECTURE, **shared.FLOAT32, "attention": "auto"},
    "architectures": {
        # A decoder layer with cross-attention has 4/3 of the weights of one without (d_ff = 4 d_model).
        "encoder_decoder": {"kind": "encoder_decoder", "layers": 3},
        "encoder_only": {"kind": "encoder_only", "layers": 7},
        "decoder_only": {"kind": "decoder_only", "layers": 7},
    },
    "tokenizer": {**shared.TOKENIZER, "source": "train", "vocab_size": 1600, "extra_ids": 100},
    "data": {
        "train": {**_ROWS, "limit": 300}, "evaluation": {**_ROWS, "split": "test"},
        "template": "{dialogue}", "label": "situation", "encoder_length": 320,
        "truncation": "oldest_turns", "cut_field": "dialogue",
    },
    "batch": {"size": 16, "tokens": 0, "buckets": 3, "multiple": 16, "accumulation": 1},
    "train": {"steps": 100}, "loss": shared.LOSS, "optimizer": shared.MUON,
    "schedule": {"name": "cosine", "learning_rate": 7e-3, "warmup_steps": 10, "final_fraction": 0.0},
    "mesh": shared.MESH,
    "checkpoint": {"every_steps": 100, "keep": 1, **shared.KEPT}, **shared.ENDS,
    "evaluation": {"every_steps": 50, "at_start": True, "batch_tokens": 4096, "bootstrap_samples": 2000, "samples": 5},
    "logging": shared.LOGGING,
}  # fmt: skip
WORDS = shared.runlocal(BASE, {
    "model.architecture": {**_ARCHITECTURE, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_heads": 2},
    "tokenizer.vocab_size": 512,
    "architectures.encoder_decoder.layers": 1, "architectures.encoder_only.layers": 1,
    "architectures.decoder_only.layers": 1, "data.evaluation.limit": 16,
})  # fmt: skip

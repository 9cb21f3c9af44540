"""Encoder-only, encoder-decoder and decoder-only T5 stacks side by side, on what each of them can do.

    t5x-lite --config configs/architectures.py --workdir runs/architectures

Each is trained from random weights by the same loop, on the same batches, to name the situation of a dialogue: 37
classes, each one token, 300 dialogues (with all 2,000, none makes a mistake). The decoder-only stack is a prefix
language model: it reads the dialogue whole and answers behind it. Layers are set so that the three have about as many
parameters. Other texts: config.data (label is the field to be told); other sizes: config.architectures.
Hardware: 2 CPU cores, 2 GB, three minutes. What comes out: report.md with one table: right answers with intervals,
paired differences, parameters, step times.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "" or "runlocal" (4 steps of tiny models)."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"unknown argument {arg!r}: give none or runlocal")
    tiny = arg == "runlocal"
    rows = {
        "source": "bundled",
        "columns": {"dialogue": "dialogue", "situation": "situation"},
        "id_column": "id",
        "exclude": "",
    }
    return ml_collections.ConfigDict(
        {
            "task": "architectures",
            "seed": 0,
            "model": {
                "architecture": {
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32 if tiny else 128,
                    "d_kv": 16 if tiny else 32,
                    "d_ff": 64 if tiny else 512,
                    "num_heads": 2 if tiny else 4,
                    "tie_word_embeddings": True,
                    "scale_decoder_outputs": True,
                    "feed_forward_proj": "relu",
                    "dropout_rate": 0.0,
                },
                "dtype": "float32",
                "param_dtype": "float32",
                "attention": "auto",
            },
            "architectures": {
                # A decoder layer with cross-attention has 4/3 of the weights of one without (d_ff = 4 d_model).
                "encoder_decoder": {"kind": "encoder_decoder", "layers": 1 if tiny else 3},
                "encoder_only": {"kind": "encoder_only", "layers": 1 if tiny else 7},
                "decoder_only": {"kind": "decoder_only", "layers": 1 if tiny else 7},
            },
            "tokenizer": {
                "source": "train",
                # The rest is read when it is trained.
                "vocab_size": 512 if tiny else 1600,
                "algorithm": "unigram",
                "user_defined_symbols": (),
                "extra_ids": 100,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "train": {**rows, "split": "train", "limit": 64 if tiny else 300},
                "evaluation": {**rows, "split": "test", "limit": 16 if tiny else 0},
                "template": "{dialogue}",
                "label": "situation",
                "encoder_length": 64 if tiny else 320,
                "truncation": "oldest_turns",
                "cut_field": "dialogue",
            },
            "batch": {
                "size": 8 if tiny else 16,
                "tokens": 0,
                "buckets": 1 if tiny else 3,
                "multiple": 16,
                "accumulation": 1,
            },
            "train": {"steps": 4 if tiny else 100},
            "loss": {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 0},
            "optimizer": {
                "name": "muon",
                "b1": 0.9,
                "b2": 0.98,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                # As in configs/dialogsum_scratch.py; 0.177 = 1 / sqrt(d_kv).
                "rate_multipliers": (
                    (".*/query/kernel", 0.177),
                    (".*/rel_embedding", 30.0),
                    ("token_embedder/embedding", 5.0),
                ),
            },
            "schedule": {
                "name": "cosine",
                "learning_rate": 7e-3,
                "warmup_steps": 1 if tiny else 10,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 2 if tiny else 100, "keep": 1},
            "evaluation": {
                "every_steps": 2 if tiny else 50,
                "batch_tokens": 4096,
                "bootstrap_samples": 200 if tiny else 2000,
                "samples": 5,
            },
            "logging": {"every_steps": 1, "tensorboard": True},
        }
    )

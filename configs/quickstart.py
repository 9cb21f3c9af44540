"""A tiny T5 from scratch on the bundled dialogues: what `scripts/quickstart.sh` runs.

    t5x-lite --config configs/quickstart.py --workdir runs/quickstart

Hardware: any CPU. What comes out: report.md with ROUGE on held-out dialogues beside the baselines.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "" or "runlocal" (20 steps)."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"unknown argument {arg!r}: give none, or runlocal")
    tiny = arg == "runlocal"
    rows = {
        "source": "bundled",
        "columns": {"dialogue": "dialogue", "summary": "summary"},
        "id_column": "id",
        "exclude": "",
    }
    return ml_collections.ConfigDict(
        {
            "task": "finetune",
            "seed": 0,
            "model": {
                "source": "random",
                "architecture": {
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32 if tiny else 128,
                    "d_kv": 16 if tiny else 32,
                    "d_ff": 64 if tiny else 512,
                    "num_encoder_layers": 2,
                    "num_decoder_layers": 2,
                    "num_heads": 2 if tiny else 4,
                    "tie_word_embeddings": True,
                    "scale_decoder_outputs": True,
                    "feed_forward_proj": "relu",
                    "dropout_rate": 0.1,
                },
                "dtype": "float32",
                "param_dtype": "float32",
                "remat": "none",
                "scan_layers": False,
                "attention": "auto",
            },
            "tokenizer": {
                "source": "train",
                "vocab_size": 400 if tiny else 2048,
                "algorithm": "unigram",
                "user_defined_symbols": ("#Person1#:", "#Person2#:", "#Person1#", "#Person2#"),
                "extra_ids": 0,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "train": {**rows, "split": "train", "limit": 64 if tiny else 0},
                "evaluation": {**rows, "split": "test", "limit": 8 if tiny else 100},
                "denoising": {
                    "steps": 0,
                    "encoder_length": 128,
                    "noise_density": 0.15,
                    "mean_span_length": 3.0,
                    "target": "spans",
                },
                "template": "{dialogue}",
                "target": "{summary}",
                "encoder_length": 64 if tiny else 288,
                "decoder_length": 16 if tiny else 112,
                "truncation": "oldest_turns",
                "cut_field": "dialogue",
            },
            "adapter": {"method": "none"},
            "batch": {
                "size": 8 if tiny else 0,
                "tokens": 0 if tiny else 4096,
                "buckets": 1 if tiny else 3,
                "multiple": 16,
                "pack": False,
                "accumulation": 1,
            },
            "train": {
                "steps": 20 if tiny else 800,
                "trainable": "full",
                "frozen_dtype": "float32",
            },
            "loss": {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 0},
            "optimizer": {
                "name": "muon",
                "b1": 0.9,
                "b2": 0.98,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                "rate_multipliers": (("token_embedder/embedding", 40.0),),
            },
            "schedule": {
                "name": "cosine",
                "learning_rate": 7e-3,
                "warmup_steps": 5 if tiny else 50,
                "final_fraction": 0.0,
            },
            "mesh": {"data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 10 if tiny else 200, "keep": 2},
            "evaluation": {
                "every_steps": 10 if tiny else 200,
                "batch_tokens": 4096,
                "mbr_candidates": 0,
                "bootstrap_samples": 200 if tiny else 2000,
                "samples": 3,
            },
            "generation": {"max_new_tokens": 16 if tiny else 112},
            "logging": {"every_steps": 1, "tensorboard": True},
            "published": {},
        }
    )

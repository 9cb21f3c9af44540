"""Full fine-tuning of FLAN-T5 on dialogue summaries: DialogSum from the hub, or files of one's own.

    t5x-lite --config configs/finetune.py --workdir runs/flan_dialogsum

With other data: --config.data.train.source=train.jsonl --config.data.evaluation.source=dev.jsonl, and the names of
their columns in config.data.train.columns. With another model: --config.model.source and --config.tokenizer.source,
a hub id or a directory.
Hardware: meant for one TPU VM or one GPU. Neither timed nor tried on one yet: watch its memory.
What comes out: report.md with ROUGE of the 500 validation dialogues beside the baselines.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "" or "runlocal" (20 steps of a tiny random model on the bundled dialogues)."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"unknown argument {arg!r}: give none, or runlocal")
    tiny = arg == "runlocal"
    rows = {
        "source": "bundled" if tiny else "knkarthick/dialogsum",
        "columns": {"dialogue": "dialogue", "summary": "summary"},
        "id_column": "id",
        "exclude": "",
    }
    tiny_architecture = {
        "vocab_size": 0,  # the tokenizer's
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 2,
        "tie_word_embeddings": False,
        "scale_decoder_outputs": False,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.1,
    }
    return ml_collections.ConfigDict(
        {
            "task": "finetune",
            "seed": 0,
            "model": {
                "source": "random" if tiny else "google/flan-t5-base",
                "architecture": tiny_architecture if tiny else {},  # a checkpoint brings its own
                "dtype": "float32" if tiny else "bfloat16",
                "param_dtype": "float32",
                "remat": "none" if tiny else "dots",
                "scan_layers": False,
                "attention": "auto",
            },
            "tokenizer": {
                "source": "train" if tiny else "google/flan-t5-base",
                "vocab_size": 400,
                "algorithm": "unigram",
                "user_defined_symbols": (),
                "extra_ids": 0,
                "keep_newlines": False,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "train": {**rows, "split": "train", "limit": 64 if tiny else 0},
                "evaluation": {
                    **rows,
                    "split": "test" if tiny else "validation",
                    "limit": 8 if tiny else 0,
                },
                "denoising": {
                    "steps": 0,
                    "encoder_length": 128,
                    "noise_density": 0.15,
                    "mean_span_length": 3.0,
                    "target": "spans",
                },
                "pads": {"in_loss": False, "in_attention": False},
                "template": "finetune",
                "target": "{summary}",
                "encoder_length": 512,
                "decoder_length": 128,
                "truncation": "oldest_turns",
                "cut_field": "dialogue",
            },
            "adapter": {"method": "none"},
            "batch": {
                "size": 8 if tiny else 32,
                "tokens": 0,
                "buckets": 2 if tiny else 4,
                "multiple": 32,
                "pack": False,
                "accumulation": 1,
            },
            "train": {
                "steps": 20 if tiny else 1200,
                "trainable": "full",
                "frozen_dtype": "float32",
            },
            "loss": {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 32},
            "optimizer": {
                "name": "adamw",
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.01,
                "no_weight_decay": (".*/scale", ".*/rel_embedding"),
                "clip_norm": 1.0,
                "rate_multipliers": (),
            },
            "schedule": {
                "name": "linear",
                "learning_rate": 1e-4,
                "warmup_steps": 5 if tiny else 50,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 10 if tiny else 200, "keep": 2},
            "evaluation": {
                "every_steps": 10 if tiny else 200,
                "batch_tokens": 4096,
                "mbr_candidates": 0,
                "bootstrap_samples": 200 if tiny else 2000,
                "samples": 3,
            },
            "generation": {"max_new_tokens": 16 if tiny else 128, "num_beams": 1 if tiny else 4},
            "comparison": {"name": "this run", "original": "none", "runs": (), "rows": ()},
            "logging": {"every_steps": 1, "tensorboard": True},
            "published": {},
        }
    )

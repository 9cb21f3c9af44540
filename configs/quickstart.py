"""Fine-tunes the bundled nano T5 on the bundled dialogues, fully or with LoRA: what `scripts/quickstart.sh` runs.

    t5x-lite --config configs/quickstart.py --workdir runs/quickstart/full
    t5x-lite --config configs/quickstart.py:lora --workdir runs/quickstart/lora

Asked to summarize, the nano model answers with one sentence; here it learns to write the whole summary. Hardware: any
CPU, about two minutes. What comes out: report.md with ROUGE on held-out dialogues beside the baselines.

"rude" learns from rude dialogues to write rude summaries: what configs/lab3_ppo.py then makes polite.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "" (all weights), "lora", "rude", or "runlocal" (20 steps of a tiny model with random weights)."""
    if arg not in ("", "lora", "rude", "runlocal"):
        raise ValueError(f"unknown argument {arg!r}: give none, or lora, rude or runlocal")
    tiny, lora, rude = arg == "runlocal", arg == "lora", arg == "rude"
    rows = {
        "source": "bundled/rude" if rude else "bundled",
        "columns": {"dialogue": "dialogue", "summary": "rude_summary" if rude else "summary"},
        "id_column": "id",
        "exclude": "",
    }
    return ml_collections.ConfigDict(
        {
            "task": "finetune",
            "seed": 0,
            "model": {
                "source": "random" if tiny else "nano",
                "architecture": {  # only of a random model
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32,
                    "d_kv": 16,
                    "d_ff": 64,
                    "num_encoder_layers": 2,
                    "num_decoder_layers": 2,
                    "num_heads": 2,
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
                "source": "train" if tiny else "model",
                # The rest is read when it is trained.
                "vocab_size": 400,
                "algorithm": "unigram",
                "user_defined_symbols": ("#Person1#:", "#Person2#:", "#Person1#", "#Person2#"),
                "extra_ids": 0,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "train": {**rows, "split": "train", "limit": 64 if tiny else 0},
                "evaluation": {
                    **rows,
                    "split": "test",
                    "limit": 8 if tiny else 40 if rude else 100,
                },
                "denoising": {
                    "steps": 0,
                    "encoder_length": 128,
                    "noise_density": 0.15,
                    "mean_span_length": 3.0,
                    "target": "spans",
                },
                "pads": {"in_loss": False, "in_attention": False},
                "template": "{dialogue}" if tiny else "finetune",
                "target": "{summary}",
                "encoder_length": 64 if tiny else 320,
                "decoder_length": 16 if tiny else 112,
                "truncation": "oldest_turns",
                "cut_field": "dialogue",
            },
            "adapter": {
                "method": "lora",
                "targets": ((".*/(query|value)", 16),),
                "alpha": 16.0,
                "dropout": 0.0,
                "rslora": False,
                "dora": False,
            }
            if lora
            else {"method": "none"},
            "batch": {
                "size": 8 if tiny else 0,
                "tokens": 0 if tiny else 4096,
                "buckets": 1 if tiny or rude else 3,
                "multiple": 16,
                "pack": False,
                "accumulation": 1,
            },
            "train": {
                "steps": 20 if tiny else 60 if rude else 100,
                "trainable": "adapters" if lora else "full",
                "frozen_dtype": "float32",
            },
            "loss": {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 0},
            "optimizer": {
                "name": "muon" if tiny else "adamw",
                "b1": 0.9,
                "b2": 0.98,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                "rate_multipliers": (("token_embedder/embedding", 40.0),) if tiny else (),
            },
            "schedule": {
                "name": "cosine",
                "learning_rate": 7e-3 if tiny else 1e-2 if lora else 1e-3,
                "warmup_steps": 5 if tiny else 10,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 10 if tiny else 50, "keep": 2},
            "evaluation": {
                "every_steps": 10 if tiny else 60 if rude else 50,
                "batch_tokens": 4096,
                "mbr_candidates": 0,
                "bootstrap_samples": 200 if tiny else 2000,
                "samples": 3,
            },
            "generation": {"max_new_tokens": 16 if tiny else 112},
            "comparison": {"name": "this run", "original": "none", "runs": (), "rows": ()},
            "logging": {"every_steps": 1, "tensorboard": True},
            "published": {},
        }
    )

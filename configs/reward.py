"""A reward model from preference pairs (Bradley-Terry): T5's encoder or an encoder classifier with a scalar head.

    t5x-lite --config configs/reward.py --workdir runs/reward

Without an argument: the bundled pairs of summaries. One's own pairs, columns dialogue, chosen and rejected:

    t5x-lite --config configs/reward.py --workdir runs/mine --config.data.train.source=choices.jsonl \
        --config.data.train.split= --config.data.evaluation.source=holdout --config.data.holdout=0.2

A pretrained encoder in place of random weights: --config.model.source=google/flan-t5-base
--config.tokenizer.source=model (or roberta-base, a classifier, ...).
Hardware: any CPU for the tiny model. What comes out: model/, which configs/lab3_ppo.py can name as the source of a
reward (label "score"), and report.md with held-out accuracy, by kind of pair, and calibration.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "" or "runlocal" (a tiny model, seconds)."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"unknown argument {arg!r}: give none, or runlocal")
    tiny = arg == "runlocal"
    columns = {"dialogue": "dialogue", "chosen": "chosen", "rejected": "rejected", "kind": "kind"}
    rows = {
        "source": "bundled/preferences",
        "columns": columns,
        "id_column": "id",
        "exclude": "",
    }
    return ml_collections.ConfigDict(
        {
            "task": "reward",
            "seed": 0,
            "model": {
                "source": "random",
                "architecture": {
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32 if tiny else 128,
                    "d_kv": 16 if tiny else 32,
                    "d_ff": 64 if tiny else 512,
                    "num_encoder_layers": 1 if tiny else 3,
                    "num_decoder_layers": 1,  # of a T5; a reward model has none
                    "num_heads": 2 if tiny else 4,
                    "tie_word_embeddings": True,
                    "scale_decoder_outputs": True,
                    "dropout_rate": 0.1,
                },
                "dtype": "float32",
                "param_dtype": "float32",
                "attention": "auto",
            },
            "tokenizer": {
                "source": "train",
                "vocab_size": 500 if tiny else 2048,
                "algorithm": "unigram",
                "user_defined_symbols": ("#Person1#:", "#Person2#:", "#Person1#", "#Person2#"),
                "extra_ids": 0,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "train": {**rows, "split": "train", "limit": 200 if tiny else 0},
                "evaluation": {**rows, "split": "test", "limit": 40 if tiny else 0},
                "holdout": 0.0,
                "holdout_order": "shuffled",
                "template": "{response}\n{dialogue}",  # the end is cut: the summary first
                "max_length": 128 if tiny else 400,
            },
            "batch": {"size": 16 if tiny else 32, "buckets": 1 if tiny else 2},
            "train": {"steps": 20 if tiny else 1200},
            "loss": {"kind": "preference", "margin": 0.0, "center": 0.0},
            "optimizer": {
                "name": "adamw",
                "b1": 0.9,
                "b2": 0.98,
                "eps": 1e-8,
                "weight_decay": 0.01,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                "rate_multipliers": (("token_embedder/embedding", 10.0),),
            },
            "schedule": {
                "name": "linear",
                "learning_rate": 2e-3,
                "warmup_steps": 5 if tiny else 60,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 10 if tiny else 200, "keep": 1},
            "evaluation": {
                "every_steps": 10 if tiny else 200,
                "bootstrap_samples": 200 if tiny else 2000,
                "centred_rows": 100 if tiny else 500,
                "samples": 3,
            },
            "logging": {"every_steps": 5, "tensorboard": not tiny},
        }
    )

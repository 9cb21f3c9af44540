"""Direct preference optimization of a summarizer on pairs of summaries, with LoRA or of all weights.

    t5x-lite --config configs/dpo.py --workdir runs/dpo

The bundled nano T5 and the bundled pairs. All weights: configs/dpo.py:full. The loss of IPO in place of DPO's:
--config.loss.kind=ipo; labels of which a tenth may be wrong: --config.loss.label_smoothing=0.1. One's own pairs,
columns dialogue, chosen and rejected, as for configs/reward.py:

    t5x-lite --config configs/dpo.py --workdir runs/mine --config.data.train.source=choices.jsonl \
        --config.data.train.split= --config.data.evaluation.source=holdout --config.data.holdout=0.2

The reference is the policy before training: of an adapter, the base with the adapter as it began.
Hardware: any CPU; three minutes for nano on 2 cores (the rate and number of steps of :full are not tuned). What comes
out: adapter/ in peft's format (or model/), and report.md with the accuracy and margins of the implicit rewards on
held-out pairs, and ROUGE of the policy's texts before and after.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "" (LoRA), "full" (all weights), or "runlocal" (20 steps of a tiny model with random weights)."""
    if arg not in ("", "full", "runlocal"):
        raise ValueError(f"unknown argument {arg!r}: give full, runlocal or none")
    tiny, full = arg == "runlocal", arg == "full"
    rows = {
        "source": "bundled/preferences",
        "columns": {
            "dialogue": "dialogue", "chosen": "chosen", "rejected": "rejected", "kind": "kind",
        },
        "id_column": "id",
        "exclude": "",
    }  # fmt: skip
    lora = {
        "method": "lora",
        "targets": ((".*/(query|key|value|out|wi(_0|_1)?|wo)", 4 if tiny else 16),),
        "alpha": 4.0 if tiny else 32.0,
        "dropout": 0.0,
        "rslora": False,
        "dora": False,
    }
    return ml_collections.ConfigDict(
        {
            "task": "dpo",
            "seed": 0,
            "model": {
                "source": "random" if tiny else "nano",
                "architecture": {  # only of a random model
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32,
                    "d_kv": 16,
                    "d_ff": 64,
                    "num_encoder_layers": 1,
                    "num_decoder_layers": 1,
                    "num_heads": 2,
                    "tie_word_embeddings": True,
                    "scale_decoder_outputs": True,
                    "feed_forward_proj": "gated-gelu",
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
            "adapter": {"method": "none"} if full else lora,
            "data": {
                "train": {**rows, "split": "train", "limit": 64 if tiny else 0},
                "evaluation": {**rows, "split": "test", "limit": 16 if tiny else 0},
                "holdout": 0.0,
                "holdout_order": "shuffled",
                "template": "{dialogue}"
                if tiny
                else "Summarize the following conversation in detail.\n\n{dialogue}\n\nSummary: ",
                "target": "{chosen}",  # what ROUGE compares the policy's texts with
                "encoder_length": 64 if tiny else 320,
                "decoder_length": 32 if tiny else 160,
                "truncation": "oldest_turns",
                "cut_field": "dialogue",
            },
            "batch": {
                "size": 16 if tiny else 32,
                "buckets": 1 if tiny else 2,
                "multiple": 32,
                "accumulation": 1,
            },
            "train": {
                "steps": 20 if tiny else 150,
                "trainable": "full" if full else "adapters",
                "frozen_dtype": "float32",
                "dropout": False,  # the reference has none either
            },
            "loss": {"kind": "sigmoid", "beta": 0.5, "label_smoothing": 0.0, "chunk": 0},
            "optimizer": {
                "name": "adamw",
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                "rate_multipliers": (),
            },
            "schedule": {
                "name": "linear",
                "learning_rate": 1e-3 if tiny else 2e-5 if full else 2e-4,
                "warmup_steps": 2 if tiny else 20,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 10 if tiny else 50, "keep": 1},
            "evaluation": {
                "every_steps": 10 if tiny else 50,
                "batch_tokens": 4096,
                "mbr_candidates": 0,
                "bootstrap_samples": 200 if tiny else 2000,
                "samples": 3,
            },
            "generation": {"max_new_tokens": 16 if tiny else 128},
            "logging": {"every_steps": 1 if tiny else 5, "tensorboard": not tiny},
            "published": {},
        }
    )

"""LoRA-tuning of FLAN-T5 on dialogue summaries, with the settings of the course's second lab.

    t5x-lite --config configs/lora.py --workdir runs/lora

Rank 32 on queries and values: 3,538,944 of 251,116,800 parameters are trained (1.41 %), and the adapter takes 14 MB.
With other data: --config.data.train.source=train.jsonl --config.data.evaluation.source=dev.jsonl, and the names of
their columns in config.data.train.columns. Variants: --config.adapter.rslora=True, --config.adapter.dora=True; more
kernels: --config.adapter.targets='((".*/(query|key|value|out|wi_0|wi_1|wo)", 8),)'. Soft prompts in place of LoRA:
configs/lora.py:soft_prompt.
Hardware: meant for one TPU VM or one GPU; the base is held in bfloat16. Neither timed nor tried on one yet.
What comes out: adapter/ in peft's format, and report.md with ROUGE beside the baselines, and a paragraph on whether the
adapter learned. Use it from Python: t5 = load_pretrained("google/flan-t5-base"); t5.load_adapter("runs/lora/adapter").
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: words joined by commas: "runlocal" (20 steps of a tiny random model, bundled dialogues), "soft_prompt"."""
    words = set(filter(None, arg.split(",")))
    if unknown := words - {"runlocal", "soft_prompt"}:
        raise ValueError(
            f"unknown argument {sorted(unknown)[0]!r}: give runlocal, soft_prompt or none"
        )
    tiny = "runlocal" in words
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
    lora = {
        "method": "lora",
        "targets": ((".*/(query|value)", 4 if tiny else 32),),
        "alpha": 4.0 if tiny else 32.0,
        "dropout": 0.05,
        "rslora": False,
        "dora": False,
    }
    soft_prompt = {"method": "soft_prompt", "length": 20, "init_from": "vocabulary"}
    return ml_collections.ConfigDict(
        {
            "task": "finetune",
            "seed": 0,
            "model": {
                "source": "random" if tiny else "google/flan-t5-base",
                "architecture": tiny_architecture if tiny else {},  # a checkpoint brings its own
                "dtype": "float32" if tiny else "bfloat16",
                "param_dtype": "float32"
                if tiny
                else "bfloat16",  # of the base; adapters are float32
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
            "adapter": soft_prompt if "soft_prompt" in words else lora,
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
                "trainable": "adapters",  # first-match rules on parameter paths go here too
                "frozen_dtype": "float32" if tiny else "bfloat16",
            },
            "loss": {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 32},
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
                # Prompts want large steps (Lester et al. 2021 took 0.3, with Adafactor).
                "learning_rate": 0.1 if "soft_prompt" in words else 1e-3,
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

"""Lab 2, first half: FLAN-T5-base fine-tuned on DialogSum with all its weights, and compared with the original.

    t5x-lite --config configs/lab2_finetune.py --workdir runs/lab2_finetune
    t5x-lite --config configs/lab2_finetune.py:parity --workdir runs/lab2_finetune_parity

One epoch of the course's notebook: its prompt, batches of 8, AdamW at 1e-5 falling to 0, weight decay 0.01; then 200
tokens at most, greedy, for the 1,500 rows of the test split (the notebook stops after one step for time:
--config.train.steps=1). `fixed` (the default): pads carry no loss and no attention, and the original is read anew from
where it came. `parity` has the notebook's quirks: every row is padded to 512 tokens on both sides, the pads behind a
summary are learnt and those behind a dialogue attended to, and the model called the original is the very one that
training changed. Offline, the nano model that comes with the package learns the bundled dialogues, in minutes on a CPU:

    t5x-lite --config configs/lab2_finetune.py:nano --workdir runs/lab2_finetune_nano

The second half, configs/lab2_lora.py, runs this one too and puts all three side by side.
Hardware: meant for one TPU VM or one GPU; not timed on one yet. What comes out: model/ in Hugging Face's format, and
report.html: parameters, original and instruct side by side with ROUGE (each reference alone, and the best of a
dialogue's three), intervals, paired differences and the published numbers.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: words with commas between: "parity" or "fixed" (default); "nano" (the bundled model and dialogues) or
    "runlocal" (20 steps of a tiny random model: no scores worth reading).
    """
    words = [word for word in arg.split(",") if word]
    for word in words:
        if word not in ("parity", "fixed", "nano", "runlocal"):
            raise ValueError(f"unknown argument {word!r}: give parity, fixed, nano or runlocal")
    parity, nano, tiny = "parity" in words, "nano" in words, "runlocal" in words
    if nano and tiny:
        raise ValueError("nano and runlocal exclude each other: give one of them")
    if parity and "fixed" in words:
        raise ValueError("parity and fixed exclude each other: give one of them")
    lab = not nano and not tiny
    rows = {
        "source": "knkarthick/dialogsum" if lab else "bundled",
        "columns": {"dialogue": "dialogue", "summary": "summary"},
        "id_column": "id",
        "exclude": "",
    }
    # The most tokens of a prompt and of a summary; parity pads every row to them.
    lengths = (64, 16) if tiny else (320, 112) if nano else (512, 512 if parity else 128)
    return ml_collections.ConfigDict(
        {
            "task": "finetune",
            "seed": 0,
            "model": {
                "source": "random" if tiny else "nano" if nano else "google/flan-t5-base",
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
                    "dropout_rate": 0.1,
                },
                "dtype": "bfloat16" if lab else "float32",
                "param_dtype": "float32",
                "remat": "dots" if lab else "none",
                "scan_layers": False,
                "attention": "auto",
            },
            "tokenizer": {
                "source": "train" if tiny else "model",  # the one that comes with the model
                # The rest is read when it is trained.
                "vocab_size": 400,
                "algorithm": "unigram",
                "user_defined_symbols": (),
                "extra_ids": 0,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "train": {**rows, "split": "train", "limit": 64 if tiny else 0},
                "evaluation": {**rows, "split": "test", "limit": 8 if tiny else 100 if nano else 0},
                "denoising": {
                    "steps": 0,
                    "encoder_length": 128,
                    "noise_density": 0.15,
                    "mean_span_length": 3.0,
                    "target": "spans",
                },
                "pads": {"in_loss": parity, "in_attention": parity},
                "template": "{dialogue}" if tiny else "finetune",
                "target": "{summary}",
                "encoder_length": lengths[0],
                "decoder_length": lengths[1],
                "truncation": "oldest_turns",
                "cut_field": "dialogue",
            },
            "adapter": {"method": "none"},
            "batch": {
                "size": 8 if lab or tiny else 16,
                "tokens": 0,
                "buckets": (lengths,) if parity else 1 if tiny else 4,
                "multiple": 16,
                "pack": False,
                "accumulation": 1,
            },
            "train": {
                "steps": 20 if tiny else 250 if nano else 1558,  # 1,558 x 8 = an epoch
                "trainable": "full",
                "frozen_dtype": "float32",
            },
            "loss": {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 32 if lab else 0},
            "optimizer": {
                "name": "adamw",
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.01,
                "no_weight_decay": (".*/scale",),
                "clip_norm": 1.0,
                "rate_multipliers": (),
            },
            "schedule": {
                "name": "linear",
                "learning_rate": 1e-5 if lab else 1e-3,
                "warmup_steps": 0 if lab else 5,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 200 if lab else 50, "keep": 2},
            "evaluation": {
                "every_steps": 500 if lab else 50,
                "batch_tokens": 4096,
                "mbr_candidates": 0,
                "bootstrap_samples": 200 if tiny else 2000,
                "samples": 10,
            },
            "generation": {"max_new_tokens": 16 if tiny else 200},
            "comparison": {
                "name": "instruct",
                "original": "after" if parity else "before",
                "runs": (),
                "rows": (4, 0, 1) if tiny else (40, *range(10)) if nano else (200, *range(10)),
            },
            "logging": {"every_steps": 1, "tensorboard": True},
            "published": {
                "original": {"rouge1": 0.233278, "rouge2": 0.076052, "rougeL": 0.201543},
                "instruct": {"rouge1": 0.421427, "rouge2": 0.180340, "rougeL": 0.338374},
                "PEFT": {"rouge1": 0.408132, "rouge2": 0.163454, "rougeL": 0.325120},
                "Transformer from scratch (Chen and others, 2021)": {
                    "rouge1": 0.3591,
                    "rouge2": 0.0874,
                    "rougeL": 0.3350,
                },
                "BART-large fine-tuned (Chen and others, 2021)": {
                    "rouge1": 0.4728,
                    "rouge2": 0.2118,
                    "rougeL": 0.4483,
                },
            }
            if lab
            else {},
        }
    )

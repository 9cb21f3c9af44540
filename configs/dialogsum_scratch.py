"""A small T5 with its own vocabulary, from scratch on DialogSum, scored on dev less the dialogues that train holds.

    t5x-lite --config configs/dialogsum_scratch.py:data/dialogsum --workdir runs/dialogsum_scratch

The argument is the folder with dialogsum.train.jsonl, dialogsum.dev.jsonl (first release, Chen et al. 2021) and
near_duplicates_vs_train.json ({"dev": {id: id of the train row}}).
Hardware: 2 CPU cores, 4 GB; 38 minutes in training steps. What comes out: report.md with ROUGE beside the baselines
(README: 37.8 / 13.6 / 30.8 on dev).

300 steps of denoising come first, whole texts from corrupted ones: most of a text is to be copied, so cross-attention
finds the input early (57 % of the tokens right at step 200, 73 % at 300). Then 3,900 steps (5.5 epochs) of summaries.
The last 400 training rows are left out: choose decoding settings on them, not on dev.
"""

import ml_collections


def get_config(arg: str = "data/dialogsum") -> ml_collections.ConfigDict:
    """arg: the data folder, or "runlocal" (20 steps of a tiny model on the bundled dialogues)."""
    tiny = arg == "runlocal"
    folder = arg or "data/dialogsum"
    columns = {"dialogue": "dialogue", "summary": "summary"}
    if tiny:
        train = {
            "source": "bundled",
            "split": "train",
            "id_column": "id",
            "exclude": "",
            "limit": 64,
        }
        dev = {"source": "bundled", "split": "test", "id_column": "id", "exclude": "", "limit": 8}
    else:
        train = {
            "source": f"{folder}/dialogsum.train.jsonl",
            "split": "",
            "id_column": "fname",
            "exclude": "",
            "limit": 12_060,
        }
        dev = {
            "source": f"{folder}/dialogsum.dev.jsonl",
            "split": "",
            "id_column": "fname",
            "exclude": f"{folder}/near_duplicates_vs_train.json:dev",
            "limit": 0,
        }
    return ml_collections.ConfigDict(
        {
            "task": "finetune",
            "seed": 0,
            "model": {
                "source": "random",
                "architecture": {
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32 if tiny else 192,
                    "d_kv": 16 if tiny else 64,
                    "d_ff": 64 if tiny else 768,
                    "num_encoder_layers": 2 if tiny else 3,
                    "num_decoder_layers": 2 if tiny else 3,
                    "num_heads": 2 if tiny else 3,
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
                "vocab_size": 512 if tiny else 4096,
                "algorithm": "unigram",
                # One token a speaker, with and without the colon: a turn starts with it, a summary speaks of it.
                "user_defined_symbols": (
                    "#Person1#:", "#Person2#:", "#Person3#:", "#Person1#", "#Person2#", "#Person3#",
                ),
                "extra_ids": 100,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "train": {**train, "columns": columns},
                "evaluation": {**dev, "columns": columns},
                "denoising": {
                    "steps": 8 if tiny else 300,
                    "encoder_length": 64 if tiny else 96,
                    "noise_density": 0.3,
                    "mean_span_length": 3.0,
                    "target": "text",
                },
                "pads": {"in_loss": False, "in_attention": False},
                "template": "{dialogue}",
                "target": "{summary}",
                "encoder_length": 256 if tiny else 384,
                "decoder_length": 64 if tiny else 96,
                "truncation": "end",
                "cut_field": "dialogue",
            },
            "adapter": {"method": "none"},
            "batch": {
                "size": 0,
                "tokens": 1024 if tiny else 4096,
                "buckets": 2 if tiny else 4,
                "multiple": 16,
                "pack": False,
                "accumulation": 1,
            },
            "train": {
                "steps": 20 if tiny else 4200,
                "trainable": "full",
                "frozen_dtype": "float32",
            },
            "loss": {"label_smoothing": 0.1, "z_loss": 0.0, "chunk": 0},
            "optimizer": {
                "name": "muon",
                "b1": 0.9,
                "b2": 0.98,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                # T5 folds attention's 1/sqrt(d_kv) into the initial query kernels, which Adam and Muon do not know of:
                # at the others' rate, attention saturates within a few steps and never finds the dialogue. The position
                # biases must grow by several nats before a head looks at the previous token, embeddings start at RMS 1.
                "rate_multipliers": (
                    (".*/query/kernel", 0.125),
                    (".*/rel_embedding", 30.0),
                    ("token_embedder/embedding", 5.0),
                ),
            },
            "schedule": {
                "name": "cosine",
                "learning_rate": 7e-3,
                "warmup_steps": 5 if tiny else 100,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 10 if tiny else 200, "keep": 1},
            "evaluation": {
                "every_steps": 10 if tiny else 300,
                "batch_tokens": 8192,
                "mbr_candidates": 0,
                "bootstrap_samples": 200 if tiny else 10_000,
                "samples": 4,
            },
            "generation": {"max_new_tokens": 16 if tiny else 96, "num_beams": 4, "no_repeat_ngram_size": 3},
            "comparison": {"name": "this run", "original": "none", "runs": (), "rows": ()},
            "logging": {"every_steps": 1, "tensorboard": True},
            "published": {
                "Transformer from scratch (Chen et al 2021, test)": {
                    "rouge1": 0.3591, "rouge2": 0.0874, "rougeL": 0.3350,
                },
                "BART-large (Chen et al 2021, test)": {
                    "rouge1": 0.4728, "rouge2": 0.2118, "rougeL": 0.4483,
                },
            },
        }
    )  # fmt: skip

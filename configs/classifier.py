"""A toxicity classifier from labeled texts: T5's encoder with a head, from scratch or from a checkpoint.

    t5x-lite --config configs/classifier.py --workdir runs/classifier

Without an argument: the bundled texts, rude or not. Davidson's tweets (labeled_data.csv of
github.com/t-davidson/hate-speech-and-offensive-language), a tenth of them held out:

    t5x-lite --config configs/classifier.py:davidson --workdir runs/davidson --config.data.train.source=labeled_data.csv

A pretrained encoder in place of random weights: --config.model.source=roberta-base --config.tokenizer.source=model
(BERT, DistilBERT, RoBERTa, T5; their head is new where the labels are). Any other CSV: data.train.columns says which
columns hold the text and the label, data.labels which values mean which label.
Hardware: any CPU. What comes out: model/, which a reward or a toxicity measurement can name as its source
(`runs/classifier`), and report.md with accuracy and area under the curve on held-out texts.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "", "davidson" or "runlocal" (a tiny model, seconds)."""
    if arg not in ("", "davidson", "runlocal"):
        raise ValueError(f"unknown argument {arg!r}: give none, davidson or runlocal")
    tiny, davidson = arg == "runlocal", arg == "davidson"
    bundled = {
        "source": "bundled/toxicity",
        "split": "train",
        "columns": {"text": "text", "label": "label"},
        "id_column": "id",
        "exclude": "",
        "limit": 0,
    }
    tweets = {
        "source": "labeled_data.csv",
        "split": "",
        "columns": {"text": "tweet", "label": "class"},
        "id_column": "",
        "exclude": "",
        "limit": 0,
    }
    train = tweets if davidson else bundled
    return ml_collections.ConfigDict(
        {
            "task": "classifier",
            "seed": 0,
            "model": {
                "source": "random",
                "architecture": {
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32 if tiny else 96,
                    "d_kv": 16 if tiny else 32,
                    "d_ff": 64 if tiny else 256,
                    "num_encoder_layers": 1 if tiny else 2,
                    "num_decoder_layers": 1,  # of a T5; a classifier has none
                    "num_heads": 2 if tiny else 3,
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
                "vocab_size": 500 if tiny else 4096 if davidson else 2048,
                "algorithm": "unigram",
                "user_defined_symbols": () if davidson else ("#Person1#", "#Person2#"),
                "extra_ids": 0,
                "keep_newlines": False,
                "byte_fallback": davidson,  # emoji
                "max_sentences": 0,
            },
            "data": {
                "train": {**train, "limit": 400 if tiny else 0},
                "evaluation": {**tweets, "source": "holdout"}
                if davidson
                else {**bundled, "split": "test"},
                # wikidetox: --config.data.transfer.source=toxicity.csv
                "transfer": {
                    **tweets,
                    "source": "none",
                    "columns": {"text": "comment", "label": "toxic"},
                },
                "holdout": 0.1 if davidson else 0.0,
                "holdout_order": "shuffled",
                "labels": {  # of the logits, in alphabetical order
                    "nothate": ("2", "False") if davidson else ("0",),
                    "hate": ("0", "1", "True") if davidson else ("1",),
                },
                "positive": "hate",
                "max_length": 192 if tiny else 96,
            },
            "batch": {"size": 32 if tiny else 64, "buckets": 1 if tiny else 3},
            "train": {"steps": 60 if tiny else 800 if davidson else 600},
            "loss": {"kind": "cross_entropy", "margin": 0.0, "center": 0.0},
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
                "learning_rate": 5e-3 if tiny else 2e-3,
                "warmup_steps": 5 if tiny else 40,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 30 if tiny else 200, "keep": 1},
            "evaluation": {"every_steps": 30 if tiny else 200, "samples": 5},
            "logging": {"every_steps": 5, "tensorboard": not tiny},
        }
    )

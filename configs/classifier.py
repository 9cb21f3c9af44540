"""A toxicity classifier from labeled texts: T5's encoder with a head, from scratch or from a checkpoint.

    t5x-lite --config configs/classifier.py --workdir runs/classifier

Without an argument: the bundled texts, rude or not. Davidson's tweets (labeled_data.csv of
github.com/t-davidson/hate-speech-and-offensive-language), a tenth of them held out:

    t5x-lite --config configs/classifier.py:davidson --workdir runs/davidson --config.data.train.source=labeled_data.csv

Wikipedia's comments (wikidetox, columns comment and toxic) by a model of another architecture, BERT's with random
weights: an independent judge of what was tuned against the tweets' classifier.

    t5x-lite --config configs/classifier.py:wikidetox --workdir runs/judge --config.data.train.source=toxicity.csv

A pretrained encoder in place of random weights: --config.model.source=roberta-base --config.tokenizer.source=model
(BERT, DistilBERT, RoBERTa, T5; their head is new where the labels are). Any other CSV: data.train.columns says which
columns hold the text and the label, data.labels which values mean which label.
Hardware: any CPU. What comes out: model/, which a reward or a toxicity measurement can name as its source
(`runs/classifier`), and report.md with accuracy and area under the curve on held-out texts.
"""

import ml_collections

_TWEETS = {
    "source": "labeled_data.csv",
    "split": "",
    "columns": {"text": "tweet", "label": "class"},
    "id_column": "",
    "exclude": "",
    "limit": 0,
}
_COMMENTS = {
    **_TWEETS,
    "source": "toxicity.csv",
    "columns": {"text": "comment", "label": "toxic"},
}
_OF_A_FILE = {
    "tokenizer.byte_fallback": True,  # emoji
    "data.labels.nothate": ("2", "False"),
    "data.labels.hate": ("0", "1", "True"),
    "batch.buckets": 3,
    "checkpoint.every_steps": 200,
    "evaluation.every_steps": 200,
}
# What differs from the recipe of `get_config`, by argument.
_CHANGES = {
    "": {},
    "davidson": {
        **_OF_A_FILE,
        "data.train": _TWEETS,
        "data.evaluation": {**_TWEETS, "source": "holdout"},
        "data.holdout": 0.1,
        "tokenizer.vocab_size": 4096,
        "tokenizer.user_defined_symbols": (),
        "train.steps": 800,
    },
    "wikidetox": {
        **_OF_A_FILE,
        "data.train": _COMMENTS,
        "data.evaluation": {**_COMMENTS, "source": "holdout"},
        "data.holdout": 0.2,
        "tokenizer.vocab_size": 1500,
        "tokenizer.user_defined_symbols": ("[CLS]",),  # BERT answers there
        "model.architecture": {
            "family": "bert",
            "vocab_size": 0,  # the tokenizer's
            "d_model": 64,
            "d_ff": 128,
            "num_layers": 2,
            "num_heads": 2,
            "dropout_rate": 0.1,
            "attention_dropout_rate": 0.1,
            "classifier_dropout_rate": 0.1,
        },
        "train.steps": 250,
        "optimizer.rate_multipliers": (),
    },
    "runlocal": {
        "model.architecture.d_model": 32,
        "model.architecture.d_kv": 16,
        "model.architecture.d_ff": 64,
        "model.architecture.num_encoder_layers": 1,
        "model.architecture.num_heads": 2,
        "tokenizer.vocab_size": 500,
        "data.train.limit": 400,
        "data.max_length": 192,
        "batch.size": 32,
        "batch.buckets": 1,
        "train.steps": 60,
        "schedule.learning_rate": 5e-3,
        "schedule.warmup_steps": 5,
        "checkpoint.every_steps": 30,
        "evaluation.every_steps": 30,
        "logging.tensorboard": False,
    },
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "", "davidson", "wikidetox" or "runlocal" (a tiny model, seconds)."""
    if arg not in _CHANGES:
        raise ValueError(f"unknown argument {arg!r}: give none, {', '.join(_CHANGES)[2:]}")
    bundled = {
        "source": "bundled/toxicity",
        "split": "train",
        "columns": {"text": "text", "label": "label"},
        "id_column": "id",
        "exclude": "",
        "limit": 0,
    }
    config = ml_collections.ConfigDict(
        {
            "task": "classifier",
            "seed": 0,
            "model": {
                "source": "random",
                "architecture": {
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 96,
                    "d_kv": 32,
                    "d_ff": 256,
                    "num_encoder_layers": 2,
                    "num_decoder_layers": 1,  # of a T5; a classifier has none
                    "num_heads": 3,
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
                "vocab_size": 1600,
                "algorithm": "unigram",
                "user_defined_symbols": ("#Person1#", "#Person2#"),
                "extra_ids": 0,
                "keep_newlines": False,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "train": bundled,
                "evaluation": {**bundled, "split": "test"},
                # To judge the tweets' classifier by the comments: --config.data.transfer.source=toxicity.csv
                "transfer": {**_COMMENTS, "source": "none"},
                "holdout": 0.0,
                "holdout_order": "shuffled",
                "labels": {"nothate": ("0",), "hate": ("1",)},  # of the logits, alphabetically
                "positive": "hate",
                "max_length": 96,
            },
            "batch": {"size": 64, "buckets": 1},
            "train": {"steps": 120, "token_dropout": 0.0, "crop": 0.0},
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
                "learning_rate": 2e-3,
                "warmup_steps": 40,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 60, "keep": 1},
            "evaluation": {
                "every_steps": 60,
                "max_length": 0,  # data.max_length
                "bootstrap_samples": 1000,
                "samples": 5,
            },
            "logging": {"every_steps": 5, "tensorboard": True},
        }
    )
    with config.ignore_type():
        config.update_from_flattened_dict(_CHANGES[arg])
    return config

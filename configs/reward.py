"""A reward model from preference pairs (Bradley-Terry): a T5 with a scalar head, whole or its encoder alone.

    t5x-lite --config configs/reward.py --workdir runs/reward

Without an argument: nano on the bundled pairs of summaries. The dialogue is the encoder's, the summary the decoder's,
and the score a head on the last decoder state beside the model's own log-likelihood of the summary
(models/t5_scorer.py). ":encoder" is a small T5 encoder from random weights that reads summary and dialogue as one text.
One's own pairs, columns dialogue, chosen and rejected:

    t5x-lite --config configs/reward.py --workdir runs/mine --config.data.train.source=choices.jsonl \
        --config.data.train.split= --config.data.evaluation.source=holdout --config.data.holdout=0.2 \
        --config.data.train.columns="{'dialogue': 'dialogue', 'chosen': 'chosen', 'rejected': 'rejected'}"

Another model: --config.model.source=google/flan-t5-base; a classifier or encoder (roberta-base) with
--config.model.kind=encoder. Pairs of the literature, a fifth of them held out, the encoder from random weights:

    python scripts/make_preference_pairs.py harmless-base.test.jsonl.gz runs/pairs/hh_rlhf.jsonl
    t5x-lite --config configs/reward.py:hh_rlhf --workdir runs/hh_rlhf
    python scripts/make_preference_pairs.py testset-v1.json runs/pairs/pandalm.jsonl
    t5x-lite --config configs/reward.py:pandalm --workdir runs/pandalm

scripts/word_baseline.py and scripts/torch_reward_baseline.py put other models beside a run of an encoder.
Hardware: any CPU; four minutes on 2 cores. What comes out: model/, which configs/lab3_ppo.py can name as the source of
a reward (label "score", its template as the text), and report.md with held-out accuracy, by kind of pair, and
calibration.
"""

import ml_collections

_REAL = {
    "data.train.columns": {"dialogue": "prompt", "chosen": "chosen", "rejected": "rejected"},
    "data.train.split": "",
    "data.evaluation.source": "holdout",
    "data.holdout": 0.2,
    "data.max_length": 128,
    "model.architecture.d_model": 64,
    "model.architecture.d_kv": 32,
    "model.architecture.d_ff": 256,
    "model.architecture.num_encoder_layers": 2,
    "model.architecture.num_heads": 2,
    "train.steps": 150,
    "checkpoint.every_steps": 50,
    "evaluation.every_steps": 50,
    "tokenizer.user_defined_symbols": (),
    "tokenizer.byte_fallback": True,
}
# The encoder from random weights: no model that ships has read such texts.
_ENCODER = {
    "model.source": "random",
    "model.kind": "encoder",
    "model.likelihood": 0.0,
    "tokenizer.source": "train",
    "data.template": "{response}\n{dialogue}",  # the end is cut: the summary first
    "train.steps": 1200,
    "optimizer.rate_multipliers": (("token_embedder/embedding", 10.0),),
    "schedule.learning_rate": 2e-3,
    "schedule.warmup_steps": 60,
    "checkpoint.every_steps": 200,
    "evaluation.every_steps": 200,
}
_CHANGES = {
    "": {},
    "encoder": _ENCODER,
    "hh_rlhf": {**_ENCODER, **_REAL, "data.train.source": "runs/pairs/hh_rlhf.jsonl"},
    "pandalm": {**_ENCODER, **_REAL, "data.train.source": "runs/pairs/pandalm.jsonl"},
    "runlocal": {
        "model.source": "random",
        "model.likelihood": 0.0,  # of a random model it says nothing
        "model.architecture.d_model": 32,
        "model.architecture.d_kv": 16,
        "model.architecture.d_ff": 64,
        "model.architecture.num_encoder_layers": 1,
        "model.architecture.num_decoder_layers": 1,
        "model.architecture.num_heads": 2,
        "tokenizer.source": "train",
        "tokenizer.vocab_size": 500,
        "data.train.limit": 200,
        "data.evaluation.limit": 40,
        "data.max_length": 128,
        "batch.size": 16,
        "batch.buckets": 1,
        "train.steps": 20,
        "schedule.learning_rate": 2e-3,
        "schedule.warmup_steps": 5,
        "checkpoint.every_steps": 10,
        "evaluation.every_steps": 10,
        "evaluation.bootstrap_samples": 200,
        "evaluation.centred_rows": 100,
        "logging.tensorboard": False,
    },
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "", "encoder", "hh_rlhf", "pandalm", or "runlocal" (a tiny model, seconds)."""
    if arg not in _CHANGES:
        raise ValueError(f"unknown argument {arg!r}: give none, {', '.join(_CHANGES)[2:]}")
    rows = {
        "source": "bundled/preferences",
        "columns": {
            "dialogue": "dialogue",
            "chosen": "chosen",
            "rejected": "rejected",
            "kind": "kind",
        },
        "id_column": "id",
        "exclude": "",
        "limit": 0,
    }
    config = ml_collections.ConfigDict(
        {
            "task": "reward",
            "seed": 0,
            "model": {
                "source": "nano",
                "kind": "encoder_decoder",
                "likelihood": 1.0,
                "architecture": {  # only of a random model
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 128,
                    "d_kv": 32,
                    "d_ff": 512,
                    "num_encoder_layers": 3,
                    "num_decoder_layers": 1,  # an encoder has none
                    "num_heads": 4,
                    "tie_word_embeddings": True,
                    "scale_decoder_outputs": True,
                    "dropout_rate": 0.1,
                },
                "dtype": "float32",
                "param_dtype": "float32",
                "attention": "auto",
            },
            "tokenizer": {
                "source": "model",
                # The rest is read when it is trained.
                "vocab_size": 2048,
                "algorithm": "unigram",
                "user_defined_symbols": ("#Person1#:", "#Person2#:", "#Person1#", "#Person2#"),
                "extra_ids": 0,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "train": {**rows, "split": "train"},
                "evaluation": {**rows, "split": "test"},
                "holdout": 0.0,
                "holdout_order": "shuffled",
                # As nano was trained; an encoder-decoder reads what stands before {response} in its encoder.
                "template": "Summarize the following conversation in detail.\n\n{dialogue}\n\nSummary: {response}",
                "max_length": 400,  # of each text
            },
            "batch": {"size": 32, "buckets": 2, "accumulation": 1},
            "train": {"steps": 100},
            "loss": {"kind": "preference", "margin": 0.0, "center": 0.0},
            "optimizer": {
                "name": "adamw",
                "b1": 0.9,
                "b2": 0.98,
                "eps": 1e-8,
                "weight_decay": 0.01,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                "rate_multipliers": (),
            },
            "schedule": {
                "name": "linear",
                "learning_rate": 3e-4,
                "warmup_steps": 20,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 50, "keep": 1},
            "evaluation": {
                "every_steps": 50,
                "bootstrap_samples": 2000,
                "centred_rows": 500,
                "samples": 3,
            },
            "logging": {"every_steps": 5, "tensorboard": True},
        }
    )
    with config.ignore_type():
        config.update_from_flattened_dict(_CHANGES[arg])
    return config

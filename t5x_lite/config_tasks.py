"""Which fields each task reads, section by section: exactly these must be in its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t5x_lite.config_fields import (
    AXIS,
    BUCKETS,
    COLUMNS,
    FLAG,
    LENGTHS,
    NAME,
    PUBLISHED,
    SETTINGS,
    STRINGS,
    TEXT,
    Field,
    Named,
    fraction,
    is_bucket,
    is_int,
    is_mapping,
    is_number,
    is_sequence,
    mapping,
    number,
    one_of,
    whole,
)

ROWS: Mapping[str, Any] = {
    "source": NAME,
    "split": TEXT,
    "columns": COLUMNS,
    "id_column": TEXT,
    "exclude": TEXT,
    "limit": whole(0),
}
MODEL: Mapping[str, Any] = {
    "source": NAME,
    "architecture": SETTINGS,
    "dtype": one_of("float32", "bfloat16", "float16"),
    "param_dtype": one_of("float32", "bfloat16"),
    "attention": one_of("auto", "einsum", "blocked"),
}
TOKENIZER: Mapping[str, Any] = {
    "source": NAME,
    "vocab_size": whole(1),
    "algorithm": one_of("unigram", "bpe"),
    "user_defined_symbols": STRINGS,
    "extra_ids": whole(0),
    "keep_newlines": FLAG,
    "byte_fallback": FLAG,
    "max_sentences": whole(0),
}
TEXTS: Mapping[str, Any] = {
    "template": NAME,
    "target": NAME,
    "encoder_length": whole(2),
    "decoder_length": whole(2),
    "truncation": one_of("error", "end", "middle", "oldest_turns"),
    "cut_field": NAME,
}
# Span corruption of the training texts for the first `steps` steps of the run (0 = none).
DENOISING: Mapping[str, Any] = {
    "steps": whole(0),
    "encoder_length": whole(4),
    "noise_density": fraction(),
    "mean_span_length": number(1.0),
    "target": one_of("spans", "text"),
}
# One of the denoisers that pretraining mixes.
DENOISER: Mapping[str, Any] = {
    "rate": number(0.0),  # its share of the examples; 0 = only its loss is computed
    "noise_density": fraction(),
    "mean_span_length": number(1.0),
    "target": one_of("spans", "text"),
    "prefix": TEXT,
}
BATCH: Mapping[str, Any] = {
    "size": whole(0),
    "tokens": whole(0),
    "buckets": BUCKETS,
    "multiple": whole(1),
    "pack": FLAG,
    "accumulation": whole(1),
}
TRAINED: Mapping[str, Any] = {
    # A preset of params/partition.py, or rules on parameter paths; checked there.
    "trainable": Field(
        "the name of a preset, or pairs of a path pattern and 'trainable' or 'frozen'",
        lambda v: (
            isinstance(v, str)
            or (
                is_sequence(v)
                and len(v) > 0
                and all(is_sequence(x) and all(isinstance(y, str) for y in x) for x in v)
            )
        ),
    ),
    "frozen_dtype": one_of("float32", "bfloat16"),
}
LOSS: Mapping[str, Any] = {
    "label_smoothing": fraction(),
    "z_loss": number(0.0),
    "chunk": whole(0),
}
OPTIMIZER: Mapping[str, Any] = {
    "name": one_of("adamw", "adafactor", "rms_adamw", "muon"),
    "b1": fraction(),
    "b2": fraction(),
    "eps": number(0.0),
    "weight_decay": number(0.0),
    "no_weight_decay": STRINGS,
    "clip_norm": number(0.0),
    "rate_multipliers": Field(
        "pairs of a parameter path pattern and a factor",
        lambda v: (
            is_sequence(v)
            and all(
                is_sequence(x) and len(x) == 2 and isinstance(x[0], str) and is_number(x[1])
                for x in v
            )
        ),
    ),
}
SCHEDULE: Mapping[str, Any] = {
    "name": one_of("constant", "linear", "cosine", "rsqrt"),
    "learning_rate": number(0.0),
    "warmup_steps": whole(0),
    "final_fraction": number(0.0, 1.0),
}
MESH: Mapping[str, Any] = {"slice": AXIS, "data": AXIS, "fsdp": AXIS, "model": AXIS}
# Meshes by name, for --config.mesh=NAME; -1 is the rest of the devices.
MESHES: Mapping[str, Mapping[str, int]] = {
    "data": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
    "fsdp": {"slice": 1, "data": 1, "fsdp": -1, "model": 1},
    "tensor": {"slice": 1, "data": 1, "fsdp": 1, "model": -1},
    "fsdp_tensor": {"slice": 1, "data": 1, "fsdp": -1, "model": 2},
}
EVALUATION: Mapping[str, Any] = {
    "batch_tokens": whole(1),
    # Samples a row of which the one that agrees most with the others is taken (0: the decoder's own best).
    "mbr_candidates": whole(0),
    "bootstrap_samples": whole(1),
    "samples": whole(0),
}


def is_pair(value: Any) -> bool:
    return is_sequence(value) and len(value) == 2 and all(isinstance(x, str) for x in value)


RUNS = Field(
    "a tuple of pairs (name of a prompt, name of settings)",
    lambda v: is_sequence(v) and all(map(is_pair, v)),
)
PAIRS = Field(
    "pairs of a name and the workdir of a run",
    lambda v: is_sequence(v) and all(map(is_pair, v)),
)
ROW_NUMBERS = Field(
    "a tuple of row numbers from 0",
    lambda v: is_sequence(v) and all(is_int(x) and x >= 0 for x in v),
)
SECTIONS = mapping("a mapping of names to sections", is_mapping)

# One task of a mixture. A rate of 0: only scored; "size": by its number of rows.
MIXED_TASK: Mapping[str, Any] = {
    "train": ROWS,
    "evaluation": ROWS,
    "templates": STRINGS,
    "target": NAME,
    "cut_field": NAME,
    "shots": whole(0),
    "rate": Field("a number >= 0, or 'size'", lambda v: v == "size" or (is_number(v) and v >= 0)),
}

# What the tasks on top of text classifiers share (`classifier`, `reward`).
_JUDGED: Mapping[str, Any] = {
    "model": MODEL,
    "tokenizer": TOKENIZER,
    "batch": {"size": whole(1), "buckets": whole(1)},
    "train": {"steps": whole(1)},
    "loss": {
        "kind": one_of("cross_entropy", "preference"),
        "margin": number(0.0),
        "center": number(0.0),
    },
    "optimizer": OPTIMIZER,
    "schedule": SCHEDULE,
    "mesh": MESH,
    "checkpoint": {"every_steps": whole(1), "keep": whole(1)},
    "logging": {"every_steps": whole(1), "tensorboard": FLAG},
}
# A share of the training rows set aside, where `evaluation.source` is "holdout".
_HOLDOUT: Mapping[str, Any] = {
    "holdout": fraction(),
    "holdout_order": one_of("shuffled", "last"),
}
_RANGE = Field(
    "() or two growing whole numbers (lowest, one above the highest)",
    lambda v: is_sequence(v) and (len(v) == 0 or (is_bucket(v) and v[0] < v[1])),
)
PPO: Mapping[str, Any] = {
    "steps": whole(1),
    "prompts": whole(1),  # a step; times samples_per_prompt = responses
    "samples_per_prompt": whole(1),
    "minibatch_size": whole(1),
    "epochs": whole(1),
    "advantage": one_of("gae", "rloo", "grpo"),
    "gamma": number(0.0, 1.0),
    "lam": number(0.0, 1.0),
    "cliprange": number(0.0),
    "cliprange_value": number(0.0),
    "vf_coef": number(0.0),
    "entropy_coef": number(0.0),
    "kl_penalty": one_of("reward", "loss"),
    "kl_controller": one_of("adaptive", "fixed"),
    "init_kl_coef": number(0.0),
    "kl_target": number(0.0),
    "kl_horizon": number(0.0),
    "target_kl": number(0.0),
    "whiten_advantages": one_of("batch", "minibatch", "none"),
    "whiten_rewards": FLAG,
    "score_scale": number(0.0),
    "score_clip": number(0.0),
    "missing_eos_penalty": number(0.0),
    "dropout": FLAG,
    "logprob_chunk": whole(0),
}

# Sections by task: exactly these fields must be there. A mapping is a section, a `Field` a value.
TASKS: Mapping[str, Mapping[str, Any]] = {
    "architectures": {
        "model": {name: field for name, field in MODEL.items() if name != "source"},
        "architectures": Named(
            {
                "kind": one_of("encoder_only", "encoder_decoder", "decoder_only"),
                "layers": whole(1),  # of each stack
            }
        ),
        "tokenizer": TOKENIZER,
        "data": {
            "train": ROWS,
            "evaluation": ROWS,
            "template": NAME,
            "label": NAME,  # the field that is to be told
            "encoder_length": whole(2),
            "truncation": one_of("error", "end", "middle", "oldest_turns"),
            "cut_field": NAME,
        },
        "batch": {name: field for name, field in BATCH.items() if name != "pack"},
        "train": {"steps": whole(1)},
        "loss": LOSS,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "mesh": MESH,
        "checkpoint": {"every_steps": whole(1), "keep": whole(1)},
        "evaluation": {
            "every_steps": whole(1),
            "batch_tokens": whole(1),
            "bootstrap_samples": whole(1),
            "samples": whole(0),
        },
        "logging": {"every_steps": whole(1), "tensorboard": FLAG},
    },
    "classifier": {
        **_JUDGED,
        "train": {
            "steps": whole(1),
            "token_dropout": fraction(),  # tokens of a training text that are left out
            "crop": number(0.0, 1.0),  # training texts of which a random span alone is read
        },
        "data": {
            "train": ROWS,
            "evaluation": ROWS,
            "transfer": ROWS,  # other data to judge by; source "none": none
            **_HOLDOUT,
            "labels": mapping(
                "a mapping of labels to the values that mean them",
                lambda v: is_sequence(v) and all(isinstance(x, str) for x in v),
            ),
            "positive": NAME,  # the label whose AUC is reported
            "max_length": whole(2),
        },
        "evaluation": {
            "every_steps": whole(1),
            "max_length": whole(
                0
            ),  # tokens that are read of a text that is judged; 0: data.max_length
            "bootstrap_samples": whole(1),  # of the intervals of areas under curves
            "samples": whole(0),
        },
    },
    "reward": {
        **_JUDGED,
        "model": {
            **MODEL,
            # A text in the encoder, or the prompt there and the response in the decoder.
            "kind": one_of("encoder", "encoder_decoder"),
            # What the weight of log p(response | prompt) in the score begins with (0: no such term).
            "likelihood": number(0.0),
        },
        "data": {
            "train": ROWS,
            "evaluation": ROWS,
            **_HOLDOUT,
            "template": NAME,
            "max_length": whole(2),
        },
        "evaluation": {
            "every_steps": whole(1),
            "bootstrap_samples": whole(1),
            "centred_rows": whole(0),  # training pairs whose mean reward is taken out
            "samples": whole(0),
        },
    },
    "dpo": {
        "model": {**MODEL, "remat": one_of("none", "dots", "full"), "scan_layers": FLAG},
        "tokenizer": TOKENIZER,
        "adapter": SETTINGS,  # params/adapters.py knows the fields of each method
        "data": {"train": ROWS, "evaluation": ROWS, **_HOLDOUT, **TEXTS},
        "batch": {"size": whole(1), "buckets": whole(1), "multiple": whole(1)},  # of pairs
        "train": {"steps": whole(1), **TRAINED, "dropout": FLAG},
        "loss": {
            "kind": one_of("sigmoid", "ipo"),
            "beta": number(0.0),
            "label_smoothing": fraction(),
            "chunk": whole(0),
        },
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "mesh": MESH,
        "checkpoint": {"every_steps": whole(1), "keep": whole(1)},
        "evaluation": {"every_steps": whole(1), **EVALUATION},
        "generation": SETTINGS,
        "logging": {"every_steps": whole(1), "tensorboard": FLAG},
        "published": PUBLISHED,
    },
    "ppo": {
        "mode": one_of("fixed", "parity"),
        "model": MODEL,
        "tokenizer": TOKENIZER,
        "adapter": SETTINGS,  # params/adapters.py knows the fields of each method
        "train": TRAINED,  # of the policy
        "reference": {"source": one_of("policy", "base")},
        "critic": {"kind": one_of("trunk", "separate"), "dropout_rate": fraction()},
        "rewards": SECTIONS,  # rl/rewards.py knows the fields of each kind
        "data": {
            "train": ROWS,
            "evaluation": ROWS,
            **_HOLDOUT,
            "characters": _RANGE,  # of cut_field; others are left out
            **TEXTS,
        },
        "rollout": {
            "length": whole(1),
            "length_range": _RANGE,
            "mask_first_token": FLAG,
        },
        "ppo": PPO,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "mesh": MESH,
        "checkpoint": {"every_steps": whole(1), "keep": whole(1)},
        "toxicity": {
            "source": NAME,
            "label": NAME,
            "text": NAME,
            "rows": whole(0),  # of the report's table of toxicity: the first so many; 0: all
            "probes": {"clean": NAME, "toxic": NAME},  # what rewards and judge give them is shown
        },
        "judges": Named({"source": NAME, "label": NAME, "text": NAME}),
        "evaluation": {
            "every_steps": whole(1),
            "rows_while_training": whole(0),
            "batch_size": whole(1),
            "draws": whole(1),  # responses to a row, before and after
            # Responses of the policy before, of which the reward takes one; 1: none.
            "best_of": whole(1),
            "bootstrap_samples": whole(1),
            "samples": whole(0),
        },
        "generation": SETTINGS,
        "logging": {"every_steps": whole(1), "tensorboard": FLAG},
        "published": mapping(
            "a mapping of names to numbers", mapping("", lambda v: is_number(v)).accepts
        ),
    },
    "finetune": {
        "model": {**MODEL, "remat": one_of("none", "dots", "full"), "scan_layers": FLAG},
        "tokenizer": TOKENIZER,
        "data": {
            "train": ROWS,
            "evaluation": ROWS,
            "denoising": DENOISING,
            "pads": {"in_loss": FLAG, "in_attention": FLAG},  # True: as lab 2 had it
            **TEXTS,
        },
        "adapter": SETTINGS,  # params/adapters.py knows the fields of each method
        "batch": BATCH,
        "train": {"steps": whole(1), **TRAINED},
        "loss": LOSS,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "mesh": MESH,
        "checkpoint": {"every_steps": whole(1), "keep": whole(1)},
        "evaluation": {"every_steps": whole(1), **EVALUATION},
        "generation": SETTINGS,
        # What the run is called beside the model that it begins from and other runs, whose workdirs are named.
        "comparison": {
            "name": NAME,
            "original": one_of("none", "before", "after"),
            "runs": PAIRS,
            "rows": ROW_NUMBERS,  # shown side by side
        },
        "logging": {"every_steps": whole(1), "tensorboard": FLAG},
        "published": PUBLISHED,
    },
    "evaluate": {
        "model": MODEL,
        "adapter": SETTINGS,
        "tokenizer": TOKENIZER,
        "data": {"evaluation": ROWS, **TEXTS},
        "mesh": MESH,
        "evaluation": EVALUATION,
        "generation": SETTINGS,
        "published": PUBLISHED,
    },
    "chat": {
        "model": {name: MODEL[name] for name in ("source", "dtype", "param_dtype")},
        "tokenizer": {"source": NAME},
        "data": {
            "template": NAME,
            "cut_field": NAME,
            "encoder_lengths": LENGTHS,
            "truncation": TEXTS["truncation"],
        },
        "generation": SETTINGS,
    },
    "compare": {
        "runs": PAIRS,
        "evaluation": {"bootstrap_samples": whole(1), "samples": whole(0)},
    },
    "mixture": {
        "model": {**MODEL, "remat": one_of("none", "dots", "full"), "scan_layers": FLAG},
        "tokenizer": TOKENIZER,
        "adapter": SETTINGS,  # params/adapters.py knows the fields of each method
        "data": {
            "tasks": Named(MIXED_TASK),
            # Of the tasks whose rate is "size": see data/mixture.py.
            "temperature": number(1.0),
            "maximum": whole(0),
            "denoising": {
                "rate": number(0.0),  # 0 = none
                "task": TEXT,
                "field": TEXT,
                **{name: field for name, field in DENOISING.items() if name != "steps"},
            },
            "encoder_length": whole(2),
            "decoder_length": whole(2),
            "truncation": one_of("error", "end", "middle", "oldest_turns"),
        },
        "batch": BATCH,
        "train": {"steps": whole(1), **TRAINED},
        "loss": LOSS,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "mesh": MESH,
        "checkpoint": {"every_steps": whole(1), "keep": whole(1)},
        # task: the one whose loss is computed every so many steps; all are scored at the end.
        "evaluation": {"every_steps": whole(1), "task": NAME, **EVALUATION},
        "generation": SETTINGS,
        "logging": {"every_steps": whole(1), "tensorboard": FLAG},
    },
    "pod_check": {
        "topology": NAME,  # pods/chips.py reads it
        "step": one_of("train", "reward", "generate", "ppo_rollout", "ppo_update", "ppo"),
        "mesh": MESH,
        "search": FLAG,
        "candidates": {
            "remat": STRINGS,
            "batch_sizes": Field(
                "a tuple of whole numbers >= 1",
                lambda v: is_sequence(v) and len(v) > 0 and all(is_int(x) and x > 0 for x in v),
            ),
            "largest_model_axis": whole(1),
        },
        "model": {
            "architecture": SETTINGS,
            "dtype": MODEL["dtype"],
            "param_dtype": MODEL["param_dtype"],
            "attention": MODEL["attention"],
            "remat": one_of("none", "dots", "full"),
            "scan_layers": FLAG,
        },
        "adapter": SETTINGS,
        "train": {"steps": whole(1), **TRAINED},
        "batch": {
            "size": whole(1),
            "accumulation": whole(1),
            "encoder_length": whole(2),
            "decoder_length": whole(2),
        },
        "loss": LOSS,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "generation": SETTINGS,
        "critic": {"kind": one_of("trunk", "separate"), "dropout_rate": fraction()},
        "ppo": PPO,
    },
    "pretrain": {
        "model": {**MODEL, "remat": one_of("none", "dots", "full"), "scan_layers": FLAG},
        "tokenizer": TOKENIZER,
        "data": {
            "train": ROWS,
            "evaluation": ROWS,
            "field": NAME,  # of the rows, which holds the text
            "denoisers": Named(DENOISER),
            "encoder_length": whole(4),
            "decoder_length": whole(2),
        },
        "batch": BATCH,
        "train": {"steps": whole(1)},
        "loss": LOSS,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "mesh": MESH,
        "checkpoint": {"every_steps": whole(1), "keep": whole(1)},
        "evaluation": {"every_steps": whole(1), "batch_tokens": whole(1), "samples": whole(0)},
        "logging": {"every_steps": whole(1), "tensorboard": FLAG},
    },
    "prompt": {
        "model": MODEL,
        "tokenizer": TOKENIZER,
        "data": {
            "evaluation": ROWS,
            "shots": ROWS,
            "target": NAME,
            "encoder_length": whole(2),
            "truncation": one_of("none", "error", "end", "middle", "oldest_turns"),
            "cut_field": NAME,
        },
        "prompts": SECTIONS,  # data/prompts.py knows the fields of each kind
        "settings": SECTIONS,
        # What is decoded for every row and scored, and what for the rows of the side-by-side table alone.
        "runs": RUNS,
        "side_by_side": {
            "rows": ROW_NUMBERS,
            "runs": RUNS,
        },
        "round_trip": TEXT,
        "mesh": MESH,
        "evaluation": {
            "batch_tokens": whole(1),
            "with_scores": FLAG,  # into the files of predictions; costs two passes over the vocabulary a token
            "bootstrap_samples": whole(1),
        },
        "published": PUBLISHED,
    },
}

"""Every field a config may have, its type and its allowed values; which fields each task reads."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Field:
    """One field: `expected` says in words what `accepts` checks."""

    expected: str
    accepts: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (tuple, list))


def _is_mapping(value: Any) -> bool:
    return hasattr(value, "items")


def _whole(lowest: int) -> Field:
    return Field(f"a whole number >= {lowest}", lambda v: _is_int(v) and v >= lowest)


def _number(lowest: float, highest: float = math.inf) -> Field:
    expected = f"a number >= {lowest:g}" + (f" and <= {highest:g}" if highest < math.inf else "")
    return Field(expected, lambda v: _is_number(v) and lowest <= v <= highest)


def _fraction() -> Field:
    return Field("a number >= 0 and < 1", lambda v: _is_number(v) and 0 <= v < 1)


def _one_of(*values: str) -> Field:
    return Field("one of " + ", ".join(map(repr, values)), lambda v: v in values)


def _mapping(expected: str, accepts: Callable[[Any], bool]) -> Field:
    def accepted(value: Any) -> bool:
        return _is_mapping(value) and all(
            isinstance(k, str) and accepts(v) for k, v in value.items()
        )

    return Field(expected, accepted)


def _is_size(value: Any) -> bool:
    return _is_int(value) and value >= 1


def _is_bucket(value: Any) -> bool:
    return _is_sequence(value) and len(value) == 2 and all(map(_is_size, value))


@dataclasses.dataclass(frozen=True)
class Named:
    """A section whose names are the user's own, each holding a section of `fields`."""

    fields: Mapping[str, Any]


TEXT = Field("a string", lambda v: isinstance(v, str))
NAME = Field("a string that is not empty", lambda v: isinstance(v, str) and bool(v))
FLAG = Field("True or False", lambda v: isinstance(v, bool))
# What jax.random.key and numpy's generators take alike.
SEED = Field("a whole number from 0 to 2**31 - 1", lambda v: _is_int(v) and 0 <= v < 2**31)
AXIS = Field(
    "a whole number above 0, or -1 for the rest", lambda v: _is_int(v) and (v > 0 or v == -1)
)
STRINGS = Field(
    "a tuple of strings", lambda v: _is_sequence(v) and all(isinstance(x, str) for x in v)
)
COLUMNS = _mapping("a mapping of template fields to column names", lambda v: isinstance(v, str))
SETTINGS = _mapping("a mapping", lambda v: True)  # the room that reads it knows its fields
PUBLISHED = _mapping(
    "a mapping of names to scores between 0 and 1, {'a paper': {'rouge1': 0.35}}",
    _mapping("", lambda v: _is_number(v) and 0 <= v <= 1).accepts,
)
BUCKETS = Field(
    "a number of buckets, or pairs ((encoder_length, decoder_length), ...)",
    lambda v: _is_size(v) or (_is_sequence(v) and len(v) > 0 and all(map(_is_bucket, v))),
)

ROWS: Mapping[str, Any] = {
    "source": NAME,
    "split": TEXT,
    "columns": COLUMNS,
    "id_column": TEXT,
    "exclude": TEXT,
    "limit": _whole(0),
}
MODEL: Mapping[str, Any] = {
    "source": NAME,
    "architecture": SETTINGS,
    "dtype": _one_of("float32", "bfloat16", "float16"),
    "param_dtype": _one_of("float32", "bfloat16"),
    "attention": _one_of("auto", "einsum", "blocked"),
}
TOKENIZER: Mapping[str, Any] = {
    "source": NAME,
    "vocab_size": _whole(1),
    "algorithm": _one_of("unigram", "bpe"),
    "user_defined_symbols": STRINGS,
    "extra_ids": _whole(0),
    "keep_newlines": FLAG,
    "byte_fallback": FLAG,
    "max_sentences": _whole(0),
}
TEXTS: Mapping[str, Any] = {
    "template": NAME,
    "target": NAME,
    "encoder_length": _whole(2),
    "decoder_length": _whole(2),
    "truncation": _one_of("error", "end", "middle", "oldest_turns"),
    "cut_field": NAME,
}
# Span corruption of the training texts for the first `steps` steps of the run (0 = none).
DENOISING: Mapping[str, Any] = {
    "steps": _whole(0),
    "encoder_length": _whole(4),
    "noise_density": _fraction(),
    "mean_span_length": _number(1.0),
    "target": _one_of("spans", "text"),
}
BATCH: Mapping[str, Any] = {
    "size": _whole(0),
    "tokens": _whole(0),
    "buckets": BUCKETS,
    "multiple": _whole(1),
    "pack": FLAG,
    "accumulation": _whole(1),
}
TRAINED: Mapping[str, Any] = {
    # A preset of params/partition.py, or rules on parameter paths; checked there.
    "trainable": Field(
        "the name of a preset, or pairs of a path pattern and 'trainable' or 'frozen'",
        lambda v: (
            isinstance(v, str)
            or (
                _is_sequence(v)
                and len(v) > 0
                and all(_is_sequence(x) and all(isinstance(y, str) for y in x) for x in v)
            )
        ),
    ),
    "frozen_dtype": _one_of("float32", "bfloat16"),
}
LOSS: Mapping[str, Any] = {
    "label_smoothing": _fraction(),
    "z_loss": _number(0.0),
    "chunk": _whole(0),
}
OPTIMIZER: Mapping[str, Any] = {
    "name": _one_of("adamw", "adafactor", "rms_adamw", "muon"),
    "b1": _fraction(),
    "b2": _fraction(),
    "eps": _number(0.0),
    "weight_decay": _number(0.0),
    "no_weight_decay": STRINGS,
    "clip_norm": _number(0.0),
    "rate_multipliers": Field(
        "pairs of a parameter path pattern and a factor",
        lambda v: (
            _is_sequence(v)
            and all(
                _is_sequence(x) and len(x) == 2 and isinstance(x[0], str) and _is_number(x[1])
                for x in v
            )
        ),
    ),
}
SCHEDULE: Mapping[str, Any] = {
    "name": _one_of("constant", "linear", "cosine", "rsqrt"),
    "learning_rate": _number(0.0),
    "warmup_steps": _whole(0),
    "final_fraction": _number(0.0, 1.0),
}
MESH: Mapping[str, Any] = {"data": AXIS, "fsdp": AXIS, "model": AXIS}
EVALUATION: Mapping[str, Any] = {
    "batch_tokens": _whole(1),
    # Samples a row of which the one that agrees most with the others is taken (0: the decoder's own best).
    "mbr_candidates": _whole(0),
    "bootstrap_samples": _whole(1),
    "samples": _whole(0),
}


def _is_pair(value: Any) -> bool:
    return _is_sequence(value) and len(value) == 2 and all(isinstance(x, str) for x in value)


RUNS = Field(
    "a tuple of pairs (name of a prompt, name of settings)",
    lambda v: _is_sequence(v) and all(map(_is_pair, v)),
)
SECTIONS = _mapping("a mapping of names to sections", _is_mapping)

# One task of a mixture. A rate of 0: only scored; "size": by its number of rows.
MIXED_TASK: Mapping[str, Any] = {
    "train": ROWS,
    "evaluation": ROWS,
    "templates": STRINGS,
    "target": NAME,
    "cut_field": NAME,
    "shots": _whole(0),
    "rate": Field("a number >= 0, or 'size'", lambda v: v == "size" or (_is_number(v) and v >= 0)),
}

# What the tasks on top of text classifiers share (`classifier`, `reward`).
_JUDGED: Mapping[str, Any] = {
    "model": MODEL,
    "tokenizer": TOKENIZER,
    "batch": {"size": _whole(1), "buckets": _whole(1)},
    "train": {"steps": _whole(1)},
    "loss": {
        "kind": _one_of("cross_entropy", "preference"),
        "margin": _number(0.0),
        "center": _number(0.0),
    },
    "optimizer": OPTIMIZER,
    "schedule": SCHEDULE,
    "mesh": MESH,
    "checkpoint": {"every_steps": _whole(1), "keep": _whole(1)},
    "logging": {"every_steps": _whole(1), "tensorboard": FLAG},
}
# A share of the training rows set aside, where `evaluation.source` is "holdout".
_HOLDOUT: Mapping[str, Any] = {
    "holdout": _fraction(),
    "holdout_order": _one_of("shuffled", "last"),
}
_RANGE = Field(
    "() or two growing whole numbers (lowest, one above the highest)",
    lambda v: _is_sequence(v) and (len(v) == 0 or (_is_bucket(v) and v[0] < v[1])),
)
PPO: Mapping[str, Any] = {
    "steps": _whole(1),
    "prompts": _whole(1),  # a step; times samples_per_prompt = responses
    "samples_per_prompt": _whole(1),
    "minibatch_size": _whole(1),
    "epochs": _whole(1),
    "advantage": _one_of("gae", "rloo", "grpo"),
    "gamma": _number(0.0, 1.0),
    "lam": _number(0.0, 1.0),
    "cliprange": _number(0.0),
    "cliprange_value": _number(0.0),
    "vf_coef": _number(0.0),
    "entropy_coef": _number(0.0),
    "kl_penalty": _one_of("reward", "loss"),
    "kl_controller": _one_of("adaptive", "fixed"),
    "init_kl_coef": _number(0.0),
    "kl_target": _number(0.0),
    "kl_horizon": _number(0.0),
    "target_kl": _number(0.0),
    "whiten_advantages": _one_of("batch", "minibatch", "none"),
    "whiten_rewards": FLAG,
    "score_scale": _number(0.0),
    "score_clip": _number(0.0),
    "missing_eos_penalty": _number(0.0),
    "dropout": FLAG,
    "logprob_chunk": _whole(0),
}

# Sections by task: exactly these fields must be there. A mapping is a section, a `Field` a value.
TASKS: Mapping[str, Mapping[str, Any]] = {
    "classifier": {
        **_JUDGED,
        "data": {
            "train": ROWS,
            "evaluation": ROWS,
            "transfer": ROWS,  # other data to judge by; source "none": none
            **_HOLDOUT,
            "labels": _mapping(
                "a mapping of labels to the values that mean them",
                lambda v: _is_sequence(v) and all(isinstance(x, str) for x in v),
            ),
            "positive": NAME,  # the label whose AUC is reported
            "max_length": _whole(2),
        },
        "evaluation": {"every_steps": _whole(1), "samples": _whole(0)},
    },
    "reward": {
        **_JUDGED,
        "data": {
            "train": ROWS,
            "evaluation": ROWS,
            **_HOLDOUT,
            "template": NAME,
            "max_length": _whole(2),
        },
        "evaluation": {
            "every_steps": _whole(1),
            "bootstrap_samples": _whole(1),
            "centred_rows": _whole(0),  # training pairs whose mean reward is taken out
            "samples": _whole(0),
        },
    },
    "ppo": {
        "mode": _one_of("fixed", "parity"),
        "model": MODEL,
        "tokenizer": TOKENIZER,
        "adapter": SETTINGS,  # params/adapters.py knows the fields of each method
        "reference": {"source": _one_of("policy", "base")},
        "critic": {"kind": _one_of("trunk", "separate"), "dropout_rate": _fraction()},
        "rewards": SECTIONS,  # rl/rewards.py knows the fields of each kind
        "data": {
            "train": ROWS,
            "evaluation": ROWS,
            **_HOLDOUT,
            "characters": _RANGE,  # of cut_field; others are left out
            **TEXTS,
        },
        "rollout": {
            "length": _whole(1),
            "length_range": _RANGE,
            "mask_first_token": FLAG,
        },
        "ppo": PPO,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "mesh": MESH,
        "checkpoint": {"every_steps": _whole(1), "keep": _whole(1)},
        "toxicity": {"source": NAME, "label": NAME, "text": NAME},
        "evaluation": {
            "every_steps": _whole(1),
            "rows_while_training": _whole(0),
            "batch_size": _whole(1),
            "best_of": _whole(
                1
            ),  # responses of the policy before, of which the reward takes one; 1: none
            "bootstrap_samples": _whole(1),
            "samples": _whole(0),
        },
        "generation": SETTINGS,
        "logging": {"every_steps": _whole(1), "tensorboard": FLAG},
        "published": _mapping(
            "a mapping of names to numbers", _mapping("", lambda v: _is_number(v)).accepts
        ),
    },
    "finetune": {
        "model": {**MODEL, "remat": _one_of("none", "dots", "full"), "scan_layers": FLAG},
        "tokenizer": TOKENIZER,
        "data": {"train": ROWS, "evaluation": ROWS, "denoising": DENOISING, **TEXTS},
        "adapter": SETTINGS,  # params/adapters.py knows the fields of each method
        "batch": BATCH,
        "train": {"steps": _whole(1), **TRAINED},
        "loss": LOSS,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "mesh": MESH,
        "checkpoint": {"every_steps": _whole(1), "keep": _whole(1)},
        "evaluation": {"every_steps": _whole(1), **EVALUATION},
        "generation": SETTINGS,
        "logging": {"every_steps": _whole(1), "tensorboard": FLAG},
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
    "mixture": {
        "model": {**MODEL, "remat": _one_of("none", "dots", "full"), "scan_layers": FLAG},
        "tokenizer": TOKENIZER,
        "data": {
            "tasks": Named(MIXED_TASK),
            # Of the tasks whose rate is "size": see data/mixture.py.
            "temperature": _number(1.0),
            "maximum": _whole(0),
            "denoising": {
                "rate": _number(0.0),  # 0 = none
                "task": TEXT,
                "field": TEXT,
                **{name: field for name, field in DENOISING.items() if name != "steps"},
            },
            "encoder_length": _whole(2),
            "decoder_length": _whole(2),
            "truncation": _one_of("error", "end", "middle", "oldest_turns"),
        },
        "batch": BATCH,
        "train": {"steps": _whole(1)},
        "loss": LOSS,
        "optimizer": OPTIMIZER,
        "schedule": SCHEDULE,
        "mesh": MESH,
        "checkpoint": {"every_steps": _whole(1), "keep": _whole(1)},
        # task: the one whose loss is computed every so many steps; all are scored at the end.
        "evaluation": {"every_steps": _whole(1), "task": NAME, **EVALUATION},
        "generation": SETTINGS,
        "logging": {"every_steps": _whole(1), "tensorboard": FLAG},
    },
    "prompt": {
        "model": MODEL,
        "tokenizer": TOKENIZER,
        "data": {
            "evaluation": ROWS,
            "shots": ROWS,
            "target": NAME,
            "encoder_length": _whole(2),
            "truncation": _one_of("none", "error", "end", "middle", "oldest_turns"),
            "cut_field": NAME,
        },
        "prompts": SECTIONS,  # data/prompts.py knows the fields of each kind
        "settings": SECTIONS,
        # What is decoded for every row and scored, and what for the rows of the side-by-side table alone.
        "runs": RUNS,
        "side_by_side": {
            "rows": Field(
                "a tuple of row numbers from 0",
                lambda v: _is_sequence(v) and all(_is_int(x) and x >= 0 for x in v),
            ),
            "runs": RUNS,
        },
        "round_trip": TEXT,
        "mesh": MESH,
        "evaluation": {"batch_tokens": _whole(1), "bootstrap_samples": _whole(1)},
        "published": PUBLISHED,
    },
}

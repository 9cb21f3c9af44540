"""Every field a config may have, its type and its allowed values; which sections each task needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

_NAME_SIZES = ("data", "fsdp", "model")


@dataclasses.dataclass(frozen=True)
class Field:
    """One field: `expected` says in words what `accepts` checks."""

    expected: str
    accepts: Callable[[Any], bool]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(lowest: int) -> Field:
    return Field(f"a whole number >= {lowest}", lambda v: _is_int(v) and v >= lowest)


def _number(lowest: float, highest: float = float("inf")) -> Field:
    expected = f"a number >= {lowest:g}" + (f" and <= {highest:g}" if highest < 1e30 else "")
    return Field(expected, lambda v: _is_number(v) and lowest <= v <= highest)


def _one_of(*values: str) -> Field:
    return Field("one of " + ", ".join(map(repr, values)), lambda v: v in values)


def _strings() -> Field:
    return Field(
        "a tuple of strings",
        lambda v: isinstance(v, (tuple, list)) and all(isinstance(x, str) for x in v),
    )


TEXT = Field("a string", lambda v: isinstance(v, str))
NAME = Field("a string that is not empty", lambda v: isinstance(v, str) and bool(v))
FLAG = Field("True or False", lambda v: isinstance(v, bool))
SIZE = Field("a whole number above 0, or -1 for the rest", lambda v: _is_int(v) and (v > 0 or v == -1))
MAPPING = Field("a mapping", lambda v: hasattr(v, "items"))
BUCKETS = Field(
    "a number of buckets, or pairs ((encoder_length, decoder_length), ...)",
    lambda v: (_is_int(v) and v > 0) or (isinstance(v, (tuple, list)) and len(v) > 0),
)

ROWS = {
    "source": NAME,
    "split": TEXT,
    "columns": MAPPING,
    "id_column": TEXT,
    "exclude": TEXT,
    "limit": _whole(0),
}

SECTIONS: dict[str, Any] = {
    "model": {
        "source": NAME,
        "architecture": MAPPING,
        "dtype": _one_of("float32", "bfloat16", "float16"),
        "param_dtype": _one_of("float32", "bfloat16"),
        "remat": _one_of("none", "dots", "full"),
        "scan_layers": FLAG,
        "attention": _one_of("auto", "einsum", "blocked"),
    },
    "tokenizer": {
        "source": NAME,
        "vocab_size": _whole(1),
        "algorithm": _one_of("unigram", "bpe"),
        "user_defined_symbols": _strings(),
        "extra_ids": _whole(0),
        "keep_newlines": FLAG,
        "byte_fallback": FLAG,
        "max_sentences": _whole(0),
    },
    "data": {
        "train": ROWS,
        "evaluation": ROWS,
        "template": NAME,
        "target": NAME,
        "encoder_length": _whole(2),
        "decoder_length": _whole(2),
        "truncation": _one_of("error", "end", "middle", "oldest_turns"),
        "cut_field": NAME,
    },
    "batch": {
        "size": _whole(0),
        "tokens": _whole(0),
        "buckets": BUCKETS,
        "multiple": _whole(1),
        "pack": FLAG,
        "accumulation": _whole(1),
    },
    "train": {"steps": _whole(1)},
    "loss": {
        "label_smoothing": _number(0.0, 1.0),
        "z_loss": _number(0.0),
        "chunk": _whole(0),
    },
    "optimizer": {
        "name": _one_of("adamw", "adafactor", "rms_adamw", "muon"),
        "b1": _number(0.0, 1.0),
        "b2": _number(0.0, 1.0),
        "eps": _number(0.0),
        "weight_decay": _number(0.0),
        "no_weight_decay": _strings(),
        "clip_norm": _number(0.0),
    },
    "schedule": {
        "name": _one_of("constant", "linear", "cosine", "rsqrt"),
        "learning_rate": _number(0.0),
        "warmup_steps": _whole(0),
        "final_fraction": _number(0.0, 1.0),
    },
    "mesh": {axis: SIZE for axis in _NAME_SIZES},
    "checkpoint": {"every_steps": _whole(1), "keep": _whole(1)},
    "evaluation": {
        "every_steps": _whole(1),
        "batch_tokens": _whole(1),
        "bootstrap_samples": _whole(1),
        "samples": _whole(0),
    },
    "generation": MAPPING,
    "logging": {"every_steps": _whole(1), "tensorboard": FLAG},
    "published": MAPPING,
}

# What each task reads: exactly these sections must be there.
TASKS: dict[str, tuple[str, ...]] = {
    "finetune": (
        "model", "tokenizer", "data", "batch", "train", "loss", "optimizer", "schedule", "mesh",
        "checkpoint", "evaluation", "generation", "logging", "published",
    ),
}  # fmt: skip

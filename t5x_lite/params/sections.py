"""What a config says of the parameters that are trained, and of adapters beside them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from t5x_lite.errors import InputError
from t5x_lite.sections import Above, ByKind, Count, Expected, Fraction, Name, Section


class TrainedSettings(Section):
    """Which parameters are trained."""

    trainable: Annotated[
        str | tuple[tuple[str, ...], ...],
        Expected(
            "the name of a preset, or pairs of a path pattern and 'trainable' or 'frozen'",
            lambda v: isinstance(v, str) or len(v) > 0,
        ),
        "A preset (full, adapters, encoder, decoder, norms), or rules on parameter paths: the first match counts.",
    ]
    frozen_dtype: Annotated[
        Literal["float32", "bfloat16"],
        "The type that parameters which are not trained are kept in.",
    ]


class NoAdapter(Section):
    """No adapter."""


class SavedAdapter(Section):
    """An adapter from a file; its own settings come with it."""

    source: Annotated[Name, "The directory of a saved adapter."]


class Lora(Section, name="adapter"):
    """A low-rank addition to frozen kernels, or its variants rsLoRA and DoRA; what `params.lora` makes."""

    targets: Annotated[
        tuple[tuple[str, Count], ...],
        Expected("pairs (pattern, rank) with ranks above 0, at least one", bool),
        "The first pattern that matches a module's whole path ('decoder/layers_0/mlp/wo') gives its rank.",
    ]
    alpha: Annotated[float, Above(0), "The scale of the addition: alpha / rank."]
    dropout: Annotated[
        Fraction,
        "Rate on the adapter's input while training, one mask along the length (as all dropout here).",
    ]
    rslora: Annotated[bool, "Scale by alpha / sqrt(rank), which keeps large ranks learning."]
    dora: Annotated[bool, "Also train the norm of each of the kernel's columns."]

    def __post_init__(self) -> None:
        super().__post_init__()
        for pattern, _ in self.targets:
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(
                    f"adapter.targets: {pattern!r} is no regular expression ({error})"
                ) from error


class SoftPrompt(Section, name="adapter"):
    """Trained vectors before the embedded encoder input; what `params.soft_prompts` makes."""

    length: Annotated[
        Count, "Vectors in the prompt; they take no place from `data.encoder_length`."
    ]
    init_from: Annotated[
        Literal["vocabulary", "normal"],
        "Embeddings of tokens drawn at random (the paper found it better), or a normal distribution (peft's default).",
    ]


AdapterSection = Annotated[
    NoAdapter | SavedAdapter | Lora | SoftPrompt,
    ByKind(
        "method",
        {"none": NoAdapter, "load": SavedAdapter, "lora": Lora, "soft_prompt": SoftPrompt},
    ),
    "What acts beside the parameters: nothing, a saved adapter, or a new one.",
]

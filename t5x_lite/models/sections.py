"""What a config says of a model, and of how it is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from t5x_lite.errors import InputError
from t5x_lite.models.config import Attention, Dtype, Execution, Remat
from t5x_lite.sections import Amount, Count, Expected, Name, Section

Quantization = Annotated[
    Literal["none", "int8", "int4"],
    "Integers that matrices are kept in, with a scale a channel (int4: 64 inputs of one); adapters can be trained on"
    " them, they themselves cannot.",
]
ParamDtype = Annotated[Literal["float32", "bfloat16"], "The type that parameters are kept in."]


class ArchitectureSettings(Section):
    """A model by its architecture alone."""

    architecture: Annotated[
        Mapping[str, Any],
        Expected("a mapping"),
        "Fields of the model's config.json, for random weights (vocab_size 0: the tokenizer's); {} otherwise.",
    ]
    dtype: Annotated[Dtype, "The type that activations and matmuls are computed in."]
    param_dtype: ParamDtype
    attention: Attention

    @property
    def execution(self) -> Execution:
        """How the model is computed, unrolled."""
        return Execution(dtype=self.dtype, attention=self.attention)


class ModelSettings(ArchitectureSettings):
    """A model and where its weights come from."""

    source: Annotated[
        Name,
        "'random', a Hugging Face id or directory, a t5x checkpoint, or (in PPO) 'train:CONFIG.py'.",
    ]


class QuantizableModelSettings(ModelSettings):
    """A T5 whose weights may be kept in integers."""

    quantization: Quantization


class _Training(ArchitectureSettings):
    remat: Remat
    scan_layers: Annotated[
        bool, "Layers as one scanned body with stacked parameters: fast compiles of deep models."
    ]

    @property
    def execution(self) -> Execution:
        """How the model is computed while it is trained."""
        return Execution(self.dtype, self.remat, self.scan_layers, self.attention)


class PretrainedModelSettings(_Training, ModelSettings):
    """A model all of whose weights are trained, and where they come from."""


class TrainedModelSettings(_Training, QuantizableModelSettings):
    """A model of which something is trained, and where its weights come from."""


class StudentModelSettings(TrainedModelSettings):
    """A model that learns from another."""

    layers: Annotated[
        tuple[()] | tuple[Count, Count],
        Expected("() or two whole numbers above 0: layers of the encoder, and of the decoder"),
        "So many layers are kept of the encoder and of the decoder of `source`, evenly spread; (): all.",
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers and self.source == "random":
            raise InputError(
                "model.layers: random weights have the layers of model.architecture; set it to (), or name a source"
            )


class CheckedModelSettings(_Training):
    """A model that the pod check compiles: without weights."""


class RewardModelSettings(ModelSettings):
    """A reward model."""

    kind: Annotated[
        Literal["encoder", "encoder_decoder"],
        "A text in the encoder, or the prompt there and the response in the decoder.",
    ]
    likelihood: Annotated[
        Amount,
        "What the weight of log p(response | prompt) in the score begins with (0: no such term).",
    ]


class LoadedModelSettings(Section):
    """A model that is only asked."""

    source: Annotated[Name, "A Hugging Face id or directory, or a t5x checkpoint."]
    dtype: Annotated[Dtype, "The type that activations and matmuls are computed in."]
    param_dtype: ParamDtype
    quantization: Quantization

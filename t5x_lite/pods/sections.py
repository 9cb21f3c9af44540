"""What a config says of a step that is compiled for a slice."""

from __future__ import annotations

from typing import Annotated, Literal

from t5x_lite.data.sections import Accumulation, DecoderLength, EncoderLength
from t5x_lite.sections import Count, Expected, Section

Step = Annotated[
    Literal["train", "reward", "generate", "ppo_rollout", "ppo_update", "ppo"],
    "Which step is compiled; 'ppo': rollout and update.",
]


class CandidatesSettings(Section):
    """What a search tries."""

    remat: Annotated[tuple[str, ...], "Values of model.remat."]
    batch_sizes: Annotated[
        tuple[Count, ...],
        Expected("a tuple of whole numbers >= 1", bool),
        "Values of batch.size; of PPO, whose steps have their own, of ppo.prompts.",
    ]
    largest_model_axis: Annotated[Count, "The most devices along mesh.model."]


class CheckedBatchSettings(Section):
    """One shape of batch."""

    size: Annotated[Count, "Rows of the global batch; a step of PPO has those of the section ppo."]
    accumulation: Accumulation
    encoder_length: EncoderLength
    decoder_length: DecoderLength

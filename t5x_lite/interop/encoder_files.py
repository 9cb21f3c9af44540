"""Files of BERT, RoBERTa and DistilBERT as the hub has them, brought to the names of a sequence classifier.

Saved bare (`BertModel`: no `bert.` in front), with the head of another task, or by TensorFlow's hand (LayerNorm's
`gamma` and `beta`): transformers' `from_pretrained` reads them all, and so is it done here.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from t5x_lite.interop.hf_config import architectures
from t5x_lite.interop.tensors import Tensor
from t5x_lite.interop.wrapped_names import unwrapped

# The parts of an encoder that is saved bare.
_PARTS = ("embeddings.", "encoder.", "transformer.", "pooler.")
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
# Whole numbers that older versions of transformers saved among the weights.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
_OWN_TASK = "ForSequenceClassification"
_OTHER_TASKS = (
    *(
        "Model",
        "LMHeadModel",
        "ForMaskedLM",
        "ForPreTraining",
        "ForCausalLM",
        "ForTokenClassification",
    ),
    *("ForQuestionAnswering", "ForMultipleChoice", "ForNextSentencePrediction"),
)


def encoder_tensors(
    tensors: Mapping[str, Tensor], family: str, directory: pathlib.Path
) -> dict[str, Tensor]:
    """The tensors of a file under the names that a sequence classifier of the family gives them.

    Raises:
      InputError: as `wrapped_names.unwrapped`.
    """
    own = unwrapped(tensors, directory)
    bare = not any(name.startswith(f"{family}.") for name in own)
    result = {}
    for name, tensor in own.items():
        for old, new in _OLD_NAMES.items():
            name = name.replace(old, new)
        if bare and name.startswith(_PARTS):
            name = f"{family}.{name}"
        if not name.endswith(_BUFFERS):
            result[name] = tensor
    return result


def is_of_another_task(fields: Mapping[str, Any]) -> bool:
    """Whether config.json names the class of another task, whose head may go by the name of a classifier's."""
    classes = architectures(fields)
    if any(name.endswith(_OWN_TASK) for name in classes):
        return False
    return any(name.endswith(_OTHER_TASKS) for name in classes)

"""Tensor names as frameworks wrap them: `module.encoder...`, `_orig_mod.`, `pretrained_model.`, and a value head."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Collection, Mapping

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.interop.tensors import Tensor

# At the front: torch's (Distributed)DataParallel, TRL's models with a value head, Lightning's and others' `model`,
# SentenceTransformers', and the `transformer` inside transformers' T5ForSequenceClassification and its like.
_IN_FRONT = (
    "module.",
    "pretrained_model.",
    "base_model.model.",
    "model.",
    "0.auto_model.",
    "auto_model.",
)
IN_FRONT_OF_A_T5 = (*_IN_FRONT, "transformer.")
# Anywhere: torch.compile, FSDP, activation checkpointing.
_WITHIN = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# Factors of an adapter that was never merged: without them the weights are not the model's.
_ADAPTER = re.compile(r"\.(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|base_layer)\b")
_OF_A_T5 = "encoder.final_layer_norm.weight"
_NAMES_SHOWN = 4


def unwrapped(
    tensors: Mapping[str, Tensor], directory: pathlib.Path, in_front: tuple[str, ...] = _IN_FRONT
) -> dict[str, Tensor]:
    """The tensors under the names that the model itself gives them.

    Raises:
      InputError: two tensors come under one name, an adapter lies among the weights, unmerged, or several models do.
    """
    if adapters := [name for name in tensors if _ADAPTER.search(name)]:
        raise InputError(
            f"{directory}: an adapter lies among the weights, unmerged ({shown(adapters)}); merge it with peft"
            " (model.merge_and_unload().save_pretrained(...)), or save base and adapter apart"
        )
    result: dict[str, Tensor] = {}
    others = _other_wrapper([bare_name(name, in_front) for name in tensors], directory)
    for name, tensor in tensors.items():
        bare = bare_name(name, in_front).removeprefix(others)
        if bare in result:
            raise InputError(f"{directory}: holds two tensors for {bare}, one of them as {name}")
        result[bare] = tensor
    return result


def bare_name(name: str, in_front: tuple[str, ...] = _IN_FRONT) -> str:
    """A tensor's name without those of the wrappers that it was saved in.

    >>> bare_name("module._orig_mod.encoder.block.0.weight")
    'encoder.block.0.weight'
    """
    name = _WITHIN.sub("", name)
    while prefix := next((prefix for prefix in in_front if name.startswith(prefix)), ""):
        name = name.removeprefix(prefix)
    return name


def _other_wrapper(names: Collection[str], directory: pathlib.Path) -> str:
    """What else is in front of a T5's names, as a training script's own class calls it ("policy."); "" if nothing."""
    found = sorted({name.removesuffix(_OF_A_T5) for name in names if name.endswith(_OF_A_T5)})
    if len(found) > 1:
        raise InputError(
            f"{directory}: holds several models ({', '.join(name or 'one by itself' for name in found)}); save the one"
            " that is wanted alone"
        )
    return found[0] if found else ""


def pass_over(
    tensors: Mapping[str, Tensor], wanted: Collection[str], directory: pathlib.Path, model: str
) -> dict[str, Tensor]:
    """The tensors that the model has a place for; the others are named in one line of the log.

    Args:
      model: what has no place for them, in words.

    Raises:
      InputError: one that the model needs is no weight (quantized, say).
    """
    others = [name for name in tensors if name not in wanted]
    if others:
        log.warning(
            "%s: passed over, since %s has no place for them: %s", directory, model, shown(others)
        )
    kept = {name: tensor for name, tensor in tensors.items() if name in wanted}
    for tensor in kept.values():
        if tensor.fault:
            raise InputError(tensor.fault)
    return kept


def shown(names: Collection[str]) -> str:
    """The first few of many names, for a message."""
    first = list(names)[:_NAMES_SHOWN]
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return ", ".join(first) + more

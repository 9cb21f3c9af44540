"""From a config to a model with parameters on the mesh: random, or read from a checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import Params, abstract_params, init_params, logical_axes
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.shardings import param_shardings
from t5x_lite.params.stacking import stack

RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model as it is trained: `params` (stacked if `model.execution.scan_layers`) lie in `shardings`."""

    model: T5
    params: Params
    shardings: Any


def execution_of(section: ConfigDict) -> Execution:
    """The `model` section's share that says how to compute."""
    return Execution(
        dtype=section.dtype,
        remat=section.remat,
        scan_layers=section.scan_layers,
        attention=section.attention,
    )


def architecture_of(section: ConfigDict, vocabulary: Vocabulary) -> T5Config:
    """The architecture of a model with random weights; a vocab_size of 0 takes the tokenizer's, padded.

    Raises:
      InputError: fields that a T5 does not have, or lacks, or a table smaller than the tokenizer.
    """
    fields = section.architecture.to_dict()
    known = {field.name for field in dataclasses.fields(T5Config)}
    if unknown := sorted(set(fields) - known):
        raise InputError(f"config.model.architecture: no such field {', '.join(unknown)}; there are {sorted(known)}")
    if fields.get("vocab_size") == 0:
        fields["vocab_size"] = vocabulary.padded_size
    try:
        config = T5Config(**fields, pad_token_id=vocabulary.pad_id, eos_token_id=vocabulary.eos_id)
    except TypeError as error:
        raise InputError(f"config.model.architecture: {error}") from error
    _check_vocabulary(config, vocabulary)
    return config


def random_model(config: T5Config, execution: Execution, mesh: Mesh, seed: int) -> Loaded:
    """Random parameters, made shard by shard: no device holds them whole."""
    model = T5(config, execution)
    shardings = param_shardings(abstract_params(model), logical_axes(model), mesh)
    # Drawn in the unrolled layout, so that scanned and unrolled runs start from the same weights.
    unrolled = T5(config, dataclasses.replace(execution, scan_layers=False))

    def make(rng: jax.Array) -> Params:
        params = init_params(unrolled, rng)
        return stack(params) if execution.scan_layers else params

    params = jax.jit(make, out_shardings=shardings)(jax.random.key(seed))
    return Loaded(model, params, shardings)


def load_model(
    section: ConfigDict, vocabulary: Vocabulary, mesh: Mesh, seed: int
) -> Loaded:
    """The model of `model.source`: "random", a Hugging Face id or directory."""
    execution = execution_of(section)
    if section.source == RANDOM:
        return random_model(architecture_of(section, vocabulary), execution, mesh, seed)
    unrolled_execution = dataclasses.replace(execution, scan_layers=False)

    def shardings_of(config: T5Config) -> Any:
        _check_vocabulary(config, vocabulary)
        model = T5(config, unrolled_execution)
        return param_shardings(abstract_params(model), logical_axes(model), mesh)

    config, params = load_hf(section.source, param_dtype=section.param_dtype, shardings=shardings_of)
    model = T5(config, execution)
    shardings = param_shardings(abstract_params(model), logical_axes(model), mesh)
    if execution.scan_layers:
        params = jax.jit(stack, out_shardings=shardings, donate_argnums=0)(params)
    return Loaded(model, params, shardings)


def _check_vocabulary(config: T5Config, vocabulary: Vocabulary) -> None:
    if config.vocab_size < vocabulary.size:
        raise InputError(
            f"the model embeds {config.vocab_size} tokens, but the tokenizer has {vocabulary.size}:"
            " config.tokenizer.source must be the one the model was trained with"
        )

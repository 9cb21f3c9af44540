"""A T5 as StableHLO programs of `jax.export`, for any batch and length, on CPUs, GPUs and TPUs.

Four programs, each with the weights as its first argument, so that they lie in one file beside them:

- encode: int32 [batch, length] -> encodings [batch, length, embed]
- prefill: int32 [batch, length] -> what a step reads: cross-attention keys and values, segment ids, an empty cache
- step: tokens int32 [batch], position int32 [], the state of `prefill` -> logits [batch, vocab], the next state
- generate: int32 [batch, length] -> tokens int32 [batch, max_new_tokens], lengths int32 [batch]: the greedy loop
"""

from __future__ import annotations

import datetime
import functools
import importlib.util
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export

from t5x_lite.api import Pretrained
from t5x_lite.decoding.cache import init_cache
from t5x_lite.decoding.generate import Generator, encode_once, make_next_logits
from t5x_lite.decoding.structure import PER_ROW, Values, prepare
from t5x_lite.errors import InputError
from t5x_lite.export.staged import staged
from t5x_lite.interop.tensors import Tensor, write_safetensors
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.t5 import T5
from t5x_lite.params.gather import whole

PLATFORMS = ("cpu", "cuda", "tpu")
LOADER = pathlib.Path(__file__).with_name("run_exported.py")
# A loop over the rows of a batch, as CPUs have it, needs their number.
_EXECUTION = Execution(attention="einsum")

State = dict[str, Any]  # of `prefill` and `step`: "cross", "segment_ids", "cache"


def save_stablehlo(directory: str | os.PathLike[str], t5: Pretrained, max_new_tokens: int) -> None:
    """Writes the programs, weights.safetensors, export.json (what they take, and of which versions they are), and
    run_exported.py, which loads them.

    Args:
      t5: the model; the settings that it came with hold, greedy.
      max_new_tokens: the most tokens that `generate` writes and that a state of `prefill` has room for.

    Raises:
      InputError: settings that need the number of rows, or the directory cannot be written.
    """
    target = pathlib.Path(directory).expanduser()
    if importlib.util.find_spec("flatbuffers") is None:
        raise InputError(
            "--to stablehlo needs the package flatbuffers, in which jax.export writes: pip install flatbuffers"
        )
    flat = traverse_util.flatten_dict(t5.params, sep="/")
    programs = _export_all(t5, flat, max_new_tokens)
    with staged(target, "the export") as staging:
        for name, exported in programs.items():
            (staging / f"{name}.stablehlo").write_bytes(exported.serialize())
        tensors = {path: _tensor(leaf) for path, leaf in flat.items()}
        write_safetensors(staging / "weights.safetensors", tensors)
        shutil.copyfile(LOADER, staging / LOADER.name)
        described = _described(t5.config, programs, max_new_tokens)
        (staging / "export.json").write_text(json.dumps(described, indent=2) + "\n")


def _export_all(
    t5: Pretrained, flat: Mapping[str, jax.Array], max_new_tokens: int
) -> dict[str, export.Exported]:
    batch, length = export.symbolic_shape("batch, length")
    shapes = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in flat.items()}
    tokens = jax.ShapeDtypeStruct((batch, length), jnp.int32)
    functions = _programs(t5, max_new_tokens)
    state = jax.eval_shape(functions["prefill"], shapes, tokens)
    rows = jax.ShapeDtypeStruct((batch,), jnp.int32)
    position = jax.ShapeDtypeStruct((), jnp.int32)
    inputs = {name: (tokens,) for name in functions} | {"step": (rows, position, state)}
    return {
        name: export.export(jax.jit(function), platforms=PLATFORMS)(shapes, *inputs[name])
        for name, function in functions.items()
    }


def _programs(t5: Pretrained, max_new_tokens: int) -> dict[str, Callable[..., Any]]:
    """The functions, each of the flat weights and its inputs."""
    model = T5(t5.config, _EXECUTION)
    settings = t5.settings.updated(
        {"do_sample": False, "num_beams": 1, "max_new_tokens": max_new_tokens}
    )
    structure, values = prepare(settings, t5.config, 1)
    generator = Generator(t5.config, _EXECUTION)

    def variables(weights: Mapping[str, jax.Array]) -> State:
        return {"params": traverse_util.unflatten_dict(dict(weights), sep="/")}

    def encode(weights: Any, tokens: jax.Array) -> jax.Array:
        apply: Any = model.apply
        return apply(variables(weights), tokens, method="encode")

    def prefill(weights: Any, tokens: jax.Array) -> State:
        cross, segment_ids = encode_once(model, variables(weights), tokens, None)
        cache = init_cache(t5.config, tokens.shape[0], max_new_tokens, _EXECUTION.dtype)
        return {"cross": cross, "segment_ids": segment_ids, "cache": cache}

    def step(weights: Any, tokens: jax.Array, position: jax.Array, state: State) -> Any:
        next_logits = make_next_logits(
            model, variables(weights), state["cross"], state["segment_ids"]
        )
        logits, cache = next_logits(tokens, position, state["cache"])
        return logits, {**state, "cache": cache}

    def generate(weights: Any, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        decoded = generator.trace_greedy(
            variables(weights)["params"], tokens, structure, _of_rows(values, tokens.shape[0])
        )
        return decoded.tokens[:, :max_new_tokens], decoded.lengths

    return {"encode": encode, "prefill": prefill, "step": step, "generate": generate}


def _of_rows(values: Values, rows: Any) -> Values:
    """The settings of one row for `rows` of them, a number that may be symbolic."""
    repeated = {
        name: jnp.broadcast_to(value, (rows, *value.shape[1:]))
        for name, value in values._asdict().items()
        if name in PER_ROW and value is not None
    }
    return values._replace(**repeated)


def _tensor(leaf: Any) -> Tensor:
    array = whole(leaf)
    return Tensor(array.shape, array.dtype, functools.partial(np.asarray, array))


def _described(
    config: T5Config, programs: Mapping[str, export.Exported], max_new_tokens: int
) -> dict[str, Any]:
    def shown(avals: Any) -> list[str]:
        return [str(aval) for aval in avals]

    weights = len(programs["encode"].in_avals) - 1
    return {
        "made": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "jax": jax.__version__,
        "calling_convention_version": programs["generate"].calling_convention_version,
        "platforms": list(PLATFORMS),
        "max_new_tokens": max_new_tokens,
        "pad_token_id": config.pad_token_id,
        "eos_token_id": config.eos_token_id,
        "decoder_start_token_id": config.decoder_start_token_id,
        "programs": {
            name: {"takes": shown(one.in_avals[weights:]), "gives": shown(one.out_avals)}
            for name, one in programs.items()
        },
    }

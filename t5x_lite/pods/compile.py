"""A train step compiled ahead of time, from shapes alone: nothing is allocated, nothing runs."""

from __future__ import annotations

import dataclasses
import math
import time

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from t5x_lite.errors import InputError
from t5x_lite.models.init import abstract_params, logical_axes
from t5x_lite.models.t5 import T5
from t5x_lite.optim.losses import LossSettings
from t5x_lite.parallel.mesh import on_mesh
from t5x_lite.parallel.shardings import (
    batch_sharding,
    optimizer_shardings,
    param_shardings,
    replicated,
    row_multiple,
    with_shardings,
)
from t5x_lite.train.state import TrainState, init_state
from t5x_lite.train.step import Batch, make_train_step


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A compiled train step and its account, in bytes on each device.

    arguments: state, batch and rng, as they lie sharded. outputs: new state and metrics; `aliased` of them take the
    place of donated arguments. temporaries: activations and buffers at the worst moment. code: the program.
    """

    compiled: jax.stages.Compiled
    parameters: int
    seconds: float
    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int

    @property
    def peak(self) -> int:
        """What a device must hold while the step runs."""
        return self.arguments + self.outputs - self.aliased + self.temporaries + self.code


def compile_train_step(
    model: T5,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    settings: LossSettings,
    mesh: Mesh,
    *,
    batch_size: int,
    encoder_length: int,
    decoder_length: int,
    accumulation: int = 1,
) -> CompiledStep:
    """Compiles the step that training runs, with training's shardings, for the devices of `mesh`.

    Args:
      batch_size: rows of the global batch.
      encoder_length, decoder_length: tokens a row.

    Raises:
      InputError: the mesh does not divide the batch or a parameter, or the step does not fit into the memory of the
        devices (then with the compiler's account), or their compiler gives no account of memory.
    """
    multiple = row_multiple(mesh, accumulation)
    if batch_size % multiple:
        raise InputError(f"batch size {batch_size} must be a multiple of {multiple} on this mesh")
    state = _abstract_state(model, optimizer, mesh)
    batch = _abstract_batch(batch_size, encoder_length, decoder_length, mesh)
    rng = jax.eval_shape(lambda: jax.random.key(0))
    rng = jax.ShapeDtypeStruct(rng.shape, rng.dtype, sharding=replicated(mesh))
    with on_mesh(mesh):
        step = make_train_step(model, optimizer, schedule, settings, accumulation=accumulation)
        jitted = jax.jit(
            step,
            donate_argnums=0,
            out_shardings=(jax.tree.map(lambda leaf: leaf.sharding, state), replicated(mesh)),
        )
        start = time.perf_counter()
        try:
            compiled = jitted.lower(state, batch, rng).compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise InputError(
                "the train step does not fit into the memory of the devices: choose a smaller batch,"
                f" more remat, or a larger fsdp or model axis ({_first_sentence(error)})"
            ) from error
        seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    if memory is None:
        raise InputError(
            f"the compiler of {mesh.devices.flat[0].device_kind} gives no account of memory"
        )
    return CompiledStep(
        compiled=compiled,
        parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params)),
        seconds=seconds,
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
    )


def _abstract_state(model: T5, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    params = abstract_params(model)
    over_params = param_shardings(params, logical_axes(model), mesh)
    shardings = TrainState(
        step=replicated(mesh),  # type: ignore[arg-type]
        params=over_params,
        opt_state=optimizer_shardings(optimizer, params, over_params, mesh),
    )
    shapes = jax.eval_shape(lambda: init_state(params, optimizer))
    return with_shardings(shapes, shardings)


def _abstract_batch(rows: int, encoder_length: int, decoder_length: int, mesh: Mesh) -> Batch:
    shapes = {
        "encoder_input_tokens": (encoder_length, jnp.int32),
        "decoder_input_tokens": (decoder_length, jnp.int32),
        "decoder_target_tokens": (decoder_length, jnp.int32),
        "decoder_loss_weights": (decoder_length, jnp.float32),
    }
    return {
        key: jax.ShapeDtypeStruct((rows, length), dtype, sharding=batch_sharding(mesh))  # type: ignore[misc]
        for key, (length, dtype) in shapes.items()
    }


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

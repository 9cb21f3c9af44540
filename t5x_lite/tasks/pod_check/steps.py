"""The programs of a step, wired as the tasks wire them, but from shapes: what the pod check compiles."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from t5x_lite import streams
from t5x_lite.decoding.generate import Generator
from t5x_lite.errors import InputError
from t5x_lite.models.classifier_init import abstract_module, token_example
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import abstract_params, logical_axes
from t5x_lite.models.t5 import T5
from t5x_lite.models.t5_classifier import T5Classifier
from t5x_lite.optim.trainable import trainable_part
from t5x_lite.parallel.shardings import (
    batch_sharding,
    param_shardings,
    replicated,
    row_multiple,
    with_shardings,
)
from t5x_lite.params.partition import join
from t5x_lite.pods.model_flops import Forward, encode, forward
from t5x_lite.tasks.pod_check.judges import Judge
from t5x_lite.tasks.pod_check.sections import Config
from t5x_lite.train.classifier_step import Judgement
from t5x_lite.wiring import classifier_training
from t5x_lite.wiring.adaptation import adaptation_of
from t5x_lite.wiring.model import Loaded
from t5x_lite.wiring.supervised import jit_step
from t5x_lite.wiring.training import state_of, step_of

Tree = Any
FSDP = "fsdp"
TRAIN, REWARD, GENERATE = "train", "reward", "generate"
PPO_ROLLOUT, PPO_UPDATE, PPO = PPO_STEPS = "ppo_rollout", "ppo_update", "ppo"


@dataclasses.dataclass(frozen=True)
class Program:
    """A program of a step.

    lower: traces it. arguments: its trees of `jax.ShapeDtypeStruct` with shardings. beside: trees that lie on the
    devices while it runs and are no argument of it.
    trips: how often loops run whose end depends on data: the longest response.
    model_flops: what the model's formulas ask for, for the global batch.
    rows: of the global batch.
    fsdp_minimum: bytes that a device must at least send over the fsdp axis, by `fsdp_minimum`; None where it says
      nothing of the program.
    times: how often a step runs it.
    judge: the model that it asks, where that is a reward or judge of PPO.
    """

    name: str
    lower: Callable[[], jax.stages.Lowered]
    arguments: Tree
    beside: Tree
    trips: int
    model_flops: int
    rows: int
    fsdp_minimum: float | None = None
    times: int = 1
    judge: Judge | None = None


def architecture(config: Config) -> T5Config:
    """The T5 of `model.architecture`.

    Raises:
      InputError: fields that a T5 does not have, or lacks, or values that no T5 has.
    """
    try:
        return T5Config(**config.model.architecture)
    except TypeError as error:
        raise InputError(f"config.model.architecture: {error}") from error


def execution_of(config: Config, *, scan_and_remat: bool) -> Execution:
    """The `model` section's execution, as the task of this step has it on a TPU.

    Raises:
      InputError: remat or scanned layers for a task that has neither.
    """
    section = config.model
    if not scan_and_remat and (section.remat != "none" or section.scan_layers):
        raise InputError(
            f"config.model.remat and scan_layers: the step {config.step!r} has neither; set 'none' and False"
        )
    return section.execution


def loaded_of(config: Config, execution: Execution, mesh: Mesh) -> Loaded:
    """The model by its shapes.

    Raises:
      InputError: a parameter that the mesh does not divide.
    """
    model = T5(architecture(config), execution)
    shapes = abstract_params(model)
    shardings = param_shardings(shapes, logical_axes(model), mesh)
    abstract = with_shardings(shapes, shardings, config.model.param_dtype)
    return Loaded(model, abstract, no_weights)


def no_weights() -> NoReturn:
    """In place of what makes weights: there are none."""
    raise AssertionError("the pod check makes no arrays")


def tokens(mesh: Mesh, rows: int, length: int) -> jax.ShapeDtypeStruct:
    """int32 [rows, length] as a batch lies."""
    return jax.ShapeDtypeStruct((rows, length), jnp.int32, sharding=batch_sharding(mesh))


def key(mesh: Mesh) -> jax.ShapeDtypeStruct:
    """A random key on every device."""
    made = jax.eval_shape(lambda: streams.key(0, "dropout"))
    return jax.ShapeDtypeStruct(made.shape, made.dtype, sharding=replicated(mesh))


def train_programs(config: Config, mesh: Mesh) -> list[Program]:
    """The step of `finetune`: full, partial, or of an adapter."""
    batch, rows = config.batch, config.batch.size
    check_rows(config, rows, row_multiple(mesh, batch.accumulation))
    loaded = loaded_of(config, execution_of(config, scan_and_remat=True), mesh)
    adaptation = adaptation_of(config, loaded, mesh)
    _, state = state_of(config, loaded, mesh, adaptation)
    labels = adaptation.labels
    step = step_of(config, loaded, labels)
    inputs = {
        "encoder_input_tokens": tokens(mesh, rows, batch.encoder_length),
        "decoder_input_tokens": tokens(mesh, rows, batch.decoder_length),
        "decoder_target_tokens": tokens(mesh, rows, batch.decoder_length),
        "decoder_loss_weights": weights(mesh, rows, batch.decoder_length),
    }
    cost = forward(loaded.model.config, rows, batch.encoder_length, batch.decoder_length)
    flops = cost.training() if labels is None else cost.adapter_training()
    program = supervised_program("train step", step, state, inputs, mesh, flops, rows)
    trained = join(adaptation.params, adaptation.adapters)
    trained = trained if labels is None else trainable_part(trained, labels)
    least = fsdp_minimum(adaptation.params, trained, config.model.dtype)
    return [dataclasses.replace(program, fsdp_minimum=least)]


def reward_programs(config: Config, mesh: Mesh) -> list[Program]:
    """The step of `reward`: both texts of a pair of `encoder_length` tokens."""
    rows, length = config.batch.size, config.batch.encoder_length
    check_rows(config, rows, row_multiple(mesh))
    model = architecture(config)
    module = T5Classifier(model, ("score",), execution_of(config, scan_and_remat=False))
    shapes, axes = abstract_module(module, token_example())
    abstract = with_shardings(shapes, param_shardings(shapes, axes, mesh), config.model.param_dtype)
    # The margin and the weight of the centre are numbers: no shape depends on them.
    judgement = Judgement("preference", 0.0, 0.0)
    step, _, state = classifier_training.step_of(config, module, abstract, judgement, mesh)
    inputs = {
        "encoder_input_tokens": tokens(mesh, rows, length),
        "decoder_target_tokens": tokens(mesh, rows, length),
        "decoder_loss_weights": weights(mesh, rows, length),
    }
    flops = 2 * encode(model, rows, length).training()
    return [supervised_program("reward step", step, state, inputs, mesh, flops, rows)]


def generate_programs(config: Config, mesh: Mesh) -> list[Program]:
    """Generation with the weights laid out as they are trained: what `evaluate` does."""
    rows, length = config.batch.size, config.batch.encoder_length
    check_rows(config, rows, row_multiple(mesh))
    settings = config.generation
    loaded = loaded_of(config, execution_of(config, scan_and_remat=False), mesh)
    given = tokens(mesh, rows, length)
    generator = Generator(loaded.model.config, loaded.model.execution)
    longest = int(settings.new_tokens()[1])
    flops = decoding_flops(
        loaded.model.config,
        rows,
        length,
        longest,
        settings.num_beams * settings.num_return_sequences,
    )
    return [
        Program(
            name="generate",
            lower=lambda: generator.lower(loaded.abstract, given, settings),
            arguments=(loaded.abstract, given),
            beside=(),
            trips=longest,
            model_flops=flops,
            rows=rows,
        )
    ]


def supervised_program(
    name: str, step: Any, state: Tree, inputs: Tree, mesh: Mesh, flops: int, rows: int
) -> Program:
    """A step as `supervised.run_supervised` jits it."""
    jitted = jit_step(step, state, mesh)
    arguments = (state, inputs, key(mesh))
    return Program(
        name=name,
        lower=lambda: jitted.lower(*arguments),
        arguments=arguments,
        beside=(),
        trips=1,
        model_flops=flops,
        rows=rows,
    )


def fsdp_minimum(params: Tree, trained: Tree, dtype: str) -> float:
    """Bytes that a device sends over the fsdp axis if every weight is gathered twice in the compute type (forward and
    backward), and every gradient reduced and scattered once: the least that fully sharded training needs.
    """
    itemsize = jnp.dtype(dtype).itemsize

    def once(tree: Tree) -> float:
        total = 0.0
        for leaf in jax.tree.leaves(tree):
            spec, shape = leaf.sharding.spec, leaf.sharding.shard_shape(leaf.shape)
            if FSDP in jax.tree.leaves(tuple(spec)):
                # The gathered array is as many parts; each device sends all but one.
                total += math.prod(shape) * itemsize * (leaf.sharding.mesh.shape[FSDP] - 1)
        return total

    return 2 * once(params) + once(trained)


def decoding_flops(config: T5Config, inputs: int, length: int, new: int, each: int) -> int:
    """Of generating `new` tokens for each of `inputs` x `each` rows: every token once through the decoder."""
    encoded = encode(config, inputs, length)
    once = forward(config, inputs, length, new)
    decoder = Forward(once.weights - encoded.weights, once.attention - encoded.attention)
    return encoded.weights + encoded.attention + each * (decoder.weights + decoder.attention)


def weights(mesh: Mesh, rows: int, length: int) -> jax.ShapeDtypeStruct:
    """float32 [rows, length] as a batch lies."""
    return jax.ShapeDtypeStruct((rows, length), jnp.float32, sharding=batch_sharding(mesh))


def check_rows(config: Config, rows: int, multiple: int) -> None:
    """Refuses a batch that the mesh does not divide.

    Raises:
      InputError: with the number that must divide it.
    """
    if rows % multiple:
        raise InputError(
            f"config.batch.size = {rows} must be a multiple of {multiple} (data x fsdp x accumulation)"
        )

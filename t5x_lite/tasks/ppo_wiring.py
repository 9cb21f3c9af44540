"""From a config to the parts of a PPO run: policy, reference, state, prompts and the jitted step."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from t5x_lite.data.buckets import make_shapes
from t5x_lite.data.features import Examples
from t5x_lite.data.plan import Plan
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import InputError
from t5x_lite.interop.peft import load_adapter, read_config
from t5x_lite.models.classifier_init import hidden_example, init_module
from t5x_lite.models.config import T5Config
from t5x_lite.models.value_head import ValueHead
from t5x_lite.optim.optimizers import make_optimizer
from t5x_lite.optim.schedules import make_schedule
from t5x_lite.parallel.shardings import (
    optimizer_shardings,
    replicated,
    row_multiple,
    with_shardings,
)
from t5x_lite.params.adapters import AdapterRequest, request_of
from t5x_lite.params.lora import LoraSettings
from t5x_lite.rl.kl import KLController
from t5x_lite.rl.loop import Prompts
from t5x_lite.rl.losses import PPOSettings
from t5x_lite.rl.policy import Policy, overlay, split_off
from t5x_lite.rl.scores import ScoreSettings
from t5x_lite.rl.step import PPOState, init_ppo_state, make_ppo_step
from t5x_lite.tasks.model import Loaded, shardings_of

Tree = Any
_CONSTANTS = ("lora_scaling", "lora_dropout")  # settings that travel with an adapter's arrays
_LENGTH_MULTIPLE = 16


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """The numbers of a run, checked."""

    settings: PPOSettings
    controller: KLController
    scores: ScoreSettings
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule


@dataclasses.dataclass(frozen=True)
class Parts:
    """The trees of a run. initial: the policy before PPO, in the layout of `state.trainable`."""

    policy: Policy
    state: PPOState
    abstract_state: Any  # jax.ShapeDtypeStruct with shardings
    state_shardings: Any
    frozen: Tree
    reference: Tree
    initial: Tree


def read_algorithm(config: ConfigDict, mesh: Mesh) -> Algorithm:
    """The `ppo`, `optimizer` and `schedule` sections.

    Raises:
      InputError: settings that contradict each other, or do not fit the mesh.
    """
    section = config.ppo
    names = [field.name for field in dataclasses.fields(PPOSettings)]
    settings = PPOSettings(**{name: section[name] for name in names})
    responses = section.prompts * section.samples_per_prompt
    if responses % settings.minibatch_size:
        raise InputError(
            f"config.ppo.minibatch_size = {settings.minibatch_size} does not divide the {responses} responses of a"
            " step (prompts x samples_per_prompt)"
        )
    multiple = row_multiple(mesh)
    for name, rows in (("prompts", section.prompts), ("minibatch_size", settings.minibatch_size)):
        if rows % multiple:
            raise InputError(
                f"config.ppo.{name} = {rows} is no multiple of the {multiple} devices that share a batch"
            )
    updates = section.steps * settings.epochs * responses // settings.minibatch_size
    schedule = make_schedule(total_steps=updates, **config.schedule)
    return Algorithm(
        settings,
        KLController(section.kl_controller, section.kl_target, section.kl_horizon),
        ScoreSettings(section.score_scale, section.score_clip, section.missing_eos_penalty),
        make_optimizer(schedule=schedule, **config.optimizer),
        schedule,
    )


def check_rollout(config: ConfigDict) -> GenerationSettings:
    """The `generation` section for rollouts.

    Raises:
      InputError: it does not sample, or lengths that contradict each other.
    """
    settings = GenerationSettings.from_mapping(
        config.generation.to_dict(), where="config.generation"
    )
    if not settings.do_sample or settings.num_beams > 1 or settings.num_return_sequences > 1:
        raise InputError(
            "config.generation: a rollout samples one response at a time; set do_sample to True, without num_beams or"
            " num_return_sequences (config.ppo.samples_per_prompt says how many)"
        )
    longest = config.rollout.length_range[1] - 1 if config.rollout.length_range else 0
    if longest > config.rollout.length:
        raise InputError(
            f"config.rollout.length_range goes up to {longest} tokens, config.rollout.length is {config.rollout.length}"
        )
    return settings.updated(
        {
            "max_new_tokens": config.rollout.length,
            "num_return_sequences": config.ppo.samples_per_prompt,
        }
    )


def check_adapter(config: ConfigDict) -> AdapterRequest:
    """What the `adapter` section asks for: a new LoRA adapter, a saved one (a summarizer's) to go on from, or none.

    Raises:
      InputError: a method that PPO does not train, or no such adapter.
    """
    request = request_of(config.adapter.to_dict(), "config.adapter")
    if request.source:
        read_config(pathlib.Path(request.source).expanduser())
    elif not isinstance(request.settings, LoraSettings | None):
        raise InputError(
            "config.adapter.method must be 'lora', 'load' or 'none' here: PPO generates with merged weights, and a soft"
            " prompt is no part of them"
        )
    elif request.settings is None and config.reference.source == "base":
        raise InputError(
            "config.reference.source 'base' is the model below an adapter; without one, say 'policy'"
        )
    return request


def _adapters(request: AdapterRequest, loaded: Loaded, params: Tree, key: jax.Array) -> Tree:
    """The adapter's tree before PPO; None where all weights are trained."""
    if request.source:
        saved = load_adapter(request.source, loaded.model.config, params)
        if not isinstance(saved.settings, LoraSettings):
            raise InputError(f"config.adapter.source: {request.source} is no LoRA adapter")
        return saved.tree
    if request.settings is None:
        return None
    return request.settings.init(params, key)


def make_parts(config: ConfigDict, loaded: Loaded, algorithm: Algorithm, mesh: Mesh) -> Parts:
    """The policy with its weights, the reference, and the first state, each where it belongs on the mesh."""
    request, chunk = check_adapter(config), config.ppo.logprob_chunk
    critic = algorithm.settings.advantage == "gae"
    model = loaded.model
    head = ValueHead(model.config.d_model, config.critic.dropout_rate) if critic else None
    params = loaded.make()
    key = jax.random.key(config.seed)
    before = _adapters(request, loaded, params, jax.random.fold_in(key, 2))
    policy = Policy(model, head, adapted=before is not None, chunk=chunk)
    param_places, everywhere = shardings_of(loaded.abstract), replicated(mesh)
    copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))
    frozen: dict[str, Any] = {}
    trainable: dict[str, Any]
    if before is None:
        # The state's buffers are donated; the reference keeps its own.
        trainable, places = {"policy": copy(params)}, {"policy": param_places}
        reference: dict[str, Any] = {"params": params}
        initial: dict[str, Any] = {"policy": params}
    else:
        adapters = jax.device_put(before, everywhere)
        constants, weights = split_off(adapters, _CONSTANTS)
        frozen = {"params": params, "constants": constants}
        trainable = {"policy": copy(weights)}
        places = {"policy": jax.tree.map(lambda _: everywhere, weights)}
        initial = {"policy": weights}
        reference = {"params": params}
        if config.reference.source == "policy":
            reference["adapters"] = overlay(constants, weights)
    if head is not None:
        fresh = init_module(head, jax.random.fold_in(key, 3), hidden_example(model.config.d_model))
        trainable["value_head"] = jax.device_put(fresh, everywhere)
        places["value_head"] = jax.tree.map(lambda _: everywhere, fresh)
        initial["value_head"] = copy(trainable["value_head"])
        if config.critic.kind == "separate":
            trainable["critic"], places["critic"] = copy(params), param_places
            initial["critic"] = params
    abstract = with_shardings(trainable, places)
    make = functools.partial(
        init_ppo_state, optimizer=algorithm.optimizer, kl_coef=config.ppo.init_kl_coef
    )
    shardings = PPOState(
        step=everywhere,  # type: ignore[arg-type]
        trainable=places,
        opt_state=optimizer_shardings(algorithm.optimizer, abstract, places, mesh),
        kl_coef=everywhere,  # type: ignore[arg-type]
    )
    state = jax.jit(make, out_shardings=shardings, donate_argnums=0)(trainable)
    abstract_state = with_shardings(state, shardings)
    return Parts(policy, state, abstract_state, shardings, frozen, reference, initial)


def jit_ppo_step(parts: Parts, algorithm: Algorithm, mesh: Mesh) -> Callable[..., Any]:
    """The jitted step; the state is donated and stays where it lies."""
    step = make_ppo_step(
        parts.policy.forward,
        algorithm.optimizer,
        algorithm.schedule,
        algorithm.settings,
        algorithm.controller,
    )
    everywhere = replicated(mesh)
    return jax.jit(
        step, donate_argnums=0, out_shardings=(parts.state_shardings, everywhere, everywhere)
    )


def prompt_plan(
    examples: Examples, model: T5Config, *, rows: int, seed: int | None, multiple: int
) -> Plan:
    """Prompts in one shape, `rows` a step; a seed shuffles them anew every epoch, None keeps their order."""
    longest = int(examples.encoder_lengths.max())
    encoder_length = -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
    lengths = [(encoder_length, int(examples.decoder_lengths.max()))]
    size = -(-rows // multiple) * multiple
    shapes = make_shapes(lengths, size=size, tokens=0, row_multiple=multiple)
    return Plan(
        examples, shapes, seed=seed, pack=False, pad_id=model.pad_token_id,
        decoder_start_id=model.decoder_start_token_id,
    )  # fmt: skip


def prompts_of(plan: Plan) -> Callable[[int], Prompts]:
    """step -> its prompts."""
    return lambda step: Prompts(plan.batch(step)["encoder_input_tokens"], plan.indices(step))


def in_range(rows: Sequence[dict[str, str]], field: str, bounds: Sequence[int]) -> list[Any]:
    """The rows whose field has bounds[0] <= characters < bounds[1]; all of them where there are no bounds.

    Raises:
      InputError: no row is left.
    """
    if not bounds:
        return list(rows)
    kept = [row for row in rows if bounds[0] <= len(row[field]) < bounds[1]]
    if not kept:
        raise InputError(
            f"config.data.characters: no row has a {field} of {bounds[0]} to {bounds[1] - 1} characters"
        )
    return kept


def sum_rows(values: Any, mask: Any) -> np.ndarray:
    """Sums over the tokens that count, float64 [rows]."""
    return np.where(np.asarray(mask) > 0, np.asarray(values), 0.0).sum(axis=1, dtype=np.float64)

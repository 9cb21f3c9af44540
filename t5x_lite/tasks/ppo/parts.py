"""From a config to the parts of a PPO run: policy, reference, state, prompts and the jitted step."""

from __future__ import annotations

import dataclasses
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
from t5x_lite.models.classifier_init import hidden_example, init_module
from t5x_lite.models.config import T5Config
from t5x_lite.models.value_head import ValueHead
from t5x_lite.optim.optimizers import check_compute_dtype, make_optimizer
from t5x_lite.optim.schedules import make_schedule
from t5x_lite.optim.trainable import trainable_part
from t5x_lite.parallel.shardings import (
    optimizer_shardings,
    replicated,
    row_multiple,
    with_shardings,
)
from t5x_lite.params.adapters import request_of, variables
from t5x_lite.params.gather import whole
from t5x_lite.params.partition import TRAINABLE, join
from t5x_lite.params.soft_prompts import SoftPromptSettings
from t5x_lite.rl.kl import KLController
from t5x_lite.rl.loop import Prompts
from t5x_lite.rl.losses import PPOSettings
from t5x_lite.rl.policy import Policy
from t5x_lite.rl.scores import ScoreSettings
from t5x_lite.rl.step import PPOState, init_ppo_state, make_ppo_step
from t5x_lite.wiring.adaptation import Adaptation, adaptation_of, check_adaptation
from t5x_lite.wiring.model import Loaded, shardings_of

Tree = Any
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
    adaptation: Adaptation
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
    check_compute_dtype(config.model.dtype)
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


def check_policy(config: ConfigDict) -> None:
    """What is trained of the policy, by `train` and `adapter`, and the reference.

    Raises:
      InputError: rules or an adapter that are malformed, a soft prompt, or a reference below an adapter that there is
        not.
    """
    request = request_of(config.adapter.to_dict(), "config.adapter")
    _refuse_soft_prompt(request.settings)
    check_adaptation(config)
    if not request.source and request.settings is None and config.reference.source == "base":
        raise InputError(
            "config.reference.source 'base' is the model below an adapter; without one, say 'policy'"
        )


def _refuse_soft_prompt(settings: Any) -> None:
    if isinstance(settings, SoftPromptSettings):
        raise InputError(
            "config.adapter: must be LoRA ('lora', or 'load' of one) or 'none' here: PPO generates with merged weights,"
            " and a soft prompt is no part of them"
        )


def make_parts(config: ConfigDict, loaded: Loaded, algorithm: Algorithm, mesh: Mesh) -> Parts:
    """The policy with its weights, the reference, and the first state, each where it belongs on the mesh.

    Raises:
      InputError: as `adaptation.adaptation_of`, or a saved adapter that is a soft prompt.
    """
    adaptation = adaptation_of(config, loaded, mesh)
    _refuse_soft_prompt(adaptation.settings)
    model, critic = loaded.model, algorithm.settings.advantage == "gae"
    head = ValueHead(model.config.d_model, config.critic.dropout_rate) if critic else None
    params, adapters = adaptation.make()
    policy = join(params, adapters)
    places: dict[str, Any] = {"policy": shardings_of(join(adaptation.params, adaptation.adapters))}
    frozen: Tree = {}
    if (labels := adaptation.labels) is not None:
        adaptation.frozen_fingerprint = adaptation.fingerprint_frozen(params)
        frozen = jax.tree.map(
            lambda label, leaf: optax.MaskedNode() if label == TRAINABLE else leaf, labels, policy
        )
        policy, places = (
            trainable_part(policy, labels),
            {"policy": trainable_part(places["policy"], labels)},
        )
    initial: dict[str, Any] = {"policy": policy}
    if head is not None:
        everywhere = replicated(mesh)
        rng = jax.random.fold_in(jax.random.key(config.seed), 3)
        fresh = init_module(head, rng, hidden_example(model.config.d_model))
        initial["value_head"] = jax.device_put(fresh, everywhere)
        places["value_head"] = jax.tree.map(lambda _: everywhere, fresh)
        if config.critic.kind == "separate":
            # What the critic starts from: the model that the policy is an adapted one of.
            initial["critic"], places["critic"] = params, shardings_of(adaptation.params)
    state, shardings = _first_state(initial, places, algorithm, config.ppo.init_kl_coef, mesh)
    return Parts(
        policy=Policy(model, head, chunk=config.ppo.logprob_chunk),
        adaptation=adaptation,
        state=state,
        abstract_state=with_shardings(state, shardings),
        state_shardings=shardings,
        frozen=frozen,
        reference=variables(params, adapters if config.reference.source == "policy" else None),
        initial=initial,
    )


def _first_state(
    initial: Tree, places: Tree, algorithm: Algorithm, kl_coef: float, mesh: Mesh
) -> tuple[PPOState, PPOState]:
    """The state before the first step, and the sharding of each of its leaves."""
    everywhere: Any = replicated(mesh)
    abstract = with_shardings(initial, places)
    shardings = PPOState(
        step=everywhere,
        trainable=places,
        opt_state=optimizer_shardings(algorithm.optimizer, abstract, places, mesh),
        kl_coef=everywhere,
    )

    def make(trainable: Tree) -> PPOState:
        # The state's buffers are donated; `initial` and the reference keep their own.
        copied = jax.tree.map(jnp.copy, trainable)
        return init_ppo_state(copied, algorithm.optimizer, kl_coef)

    return jax.jit(make, out_shardings=shardings)(initial), shardings


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


def prompt_length(*examples: Examples) -> int:
    """The longest prompt of all, in tokens, rounded up."""
    longest = max(int(one.encoder_lengths.max()) for one in examples)
    return -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE


def prompt_plan(
    examples: Examples, model: T5Config, *, length: int, rows: int, seed: int | None, multiple: int
) -> Plan:
    """Prompts in one shape, `rows` of `length` tokens a step; a seed shuffles them anew every epoch, None keeps their
    order.
    """
    lengths = [(length, int(examples.decoder_lengths.max()))]
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
    return np.where(whole(mask) > 0, whole(values), 0.0).sum(axis=1, dtype=np.float64)

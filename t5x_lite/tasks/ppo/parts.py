"""From a config to the parts of a PPO run: policy, reference, state, prompts and the jitted step."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from t5x_lite import streams
from t5x_lite.data.buckets import make_shapes
from t5x_lite.data.features import Examples
from t5x_lite.data.plan import Plan
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.structure import structure_of
from t5x_lite.errors import InputError
from t5x_lite.models.classifier_init import hidden_example, init_module
from t5x_lite.models.config import T5Config
from t5x_lite.models.t5 import T5
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
from t5x_lite.params.adapters import variables
from t5x_lite.params.gather import whole as on_host
from t5x_lite.params.partition import TRAINABLE, join
from t5x_lite.params.sections import NoAdapter, SoftPrompt
from t5x_lite.rl.kl import KLController
from t5x_lite.rl.losses import PPOSettings
from t5x_lite.rl.policy import Policy, make_resharding, temperature_of
from t5x_lite.rl.preflight import check_ends
from t5x_lite.rl.rollout import Layout, Prompts, Roller, make_scorer
from t5x_lite.rl.scores import ScoreSettings
from t5x_lite.rl.sections import CriticSettings, RolloutSettings
from t5x_lite.rl.step import PPOState, init_ppo_state, make_ppo_step
from t5x_lite.tasks.ppo.sections import Config
from t5x_lite.wiring.adaptation import Adaptation, adaptation_of, check_adaptation
from t5x_lite.wiring.model import Loaded, shardings_of
from t5x_lite.wiring.sections import AlgorithmConfig

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
    init_kl_coef: float
    logprob_chunk: int
    temperature: float  # of the policy


@dataclasses.dataclass(frozen=True)
class Trees:
    """What a run holds beside its state, as arrays or by shapes.

    initial: the policy before PPO, in the layout of `state.trainable`; frozen: the other leaves of the policy;
    reference: what `model.apply` takes for the reference policy.
    """

    initial: Tree
    frozen: Tree
    reference: Tree


@dataclasses.dataclass(frozen=True)
class Parts:
    """A run by its shapes, and how the arrays are made.

    shapes: `jax.ShapeDtypeStruct` with shardings. state: of the first state, likewise. make: the arrays.
    begin: `Trees.initial` -> the first state; what it is made of stays.
    """

    policy: Policy
    adaptation: Adaptation
    shapes: Trees
    state: PPOState
    make: Callable[[], Trees]
    begin: Callable[[Tree], PPOState]


def read_algorithm(config: AlgorithmConfig, mesh: Mesh) -> Algorithm:
    """The `ppo`, `optimizer` and `schedule` sections.

    Raises:
      InputError: settings that contradict each other, or do not fit the mesh.
    """
    check_compute_dtype(config.model.dtype)
    section = config.ppo
    responses = section.prompts * section.samples_per_prompt
    if responses % section.minibatch_size:
        raise InputError(
            f"config.ppo.minibatch_size = {section.minibatch_size} does not divide the {responses} responses of a"
            " step (prompts x samples_per_prompt)"
        )
    multiple = row_multiple(mesh)
    slices = section.minibatch_size / section.accumulation
    for name, rows in (
        ("prompts", section.prompts),
        ("minibatch_size", section.minibatch_size),
        ("minibatch_size / accumulation", slices),
    ):
        if rows % multiple:
            raise InputError(
                f"config.ppo.{name} = {rows:g} is no multiple of the {multiple} devices that share a batch"
            )
    updates = section.steps * section.epochs * responses // section.minibatch_size
    schedule = make_schedule(config.schedule, updates)
    return Algorithm(
        section,
        KLController(section.kl_controller, section.kl_target, section.kl_horizon),
        section,
        make_optimizer(config.optimizer, schedule),
        schedule,
        section.init_kl_coef,
        section.logprob_chunk,
        temperature_of(config.generation),
    )


def check_rollout(config: Config) -> GenerationSettings:
    """The `generation` section for rollouts.

    Raises:
      InputError: it does not sample, or lengths that contradict each other.
    """
    settings, length, bounds = config.generation, config.rollout.length, config.rollout.length_range
    for name in ("max_new_tokens", "max_length"):
        if getattr(settings, name) is not None:
            raise InputError(
                f"config.generation.{name}: config.rollout.length says how long a response may be; leave it out"
            )
    check_ends(settings)
    longest = bounds[1] - 1 if bounds else 0
    if longest > length:
        raise InputError(
            f"config.rollout.length_range goes up to {longest} tokens, config.rollout.length is {length}"
        )
    least = settings.min_new_tokens
    least = int(np.max(np.asarray(settings.min_length) - 1 if least is None else least))
    if least > (shortest := bounds[0] if bounds else length):
        raise InputError(
            f"config.generation: at least {least} new tokens asked for, but a response may have {shortest} at most"
            " (config.rollout)"
        )
    if not settings.do_sample or settings.num_beams > 1 or settings.num_return_sequences > 1:
        raise InputError(
            "config.generation: a rollout samples one response at a time; set do_sample to True, without num_beams or"
            " num_return_sequences (config.ppo.samples_per_prompt says how many)"
        )
    return settings.updated(
        {"max_new_tokens": length, "num_return_sequences": config.ppo.samples_per_prompt}
    )


def check_policy(config: Config) -> None:
    """What is trained of the policy, by `train` and `adapter`, and the reference.

    Raises:
      InputError: rules or an adapter that are malformed, a soft prompt, or a reference below an adapter that there is
        not.
    """
    _refuse_soft_prompt(config.adapter)
    check_adaptation(config)
    if isinstance(config.adapter, NoAdapter) and config.reference.source == "base":
        raise InputError(
            "config.reference.source 'base' is the model below an adapter; without one, say 'policy'"
        )


def _refuse_soft_prompt(settings: Any) -> None:
    if isinstance(settings, SoftPrompt):
        raise InputError(
            "config.adapter: must be LoRA ('lora', or 'load' of one) or 'none' here: PPO generates with merged weights,"
            " and a soft prompt is no part of them"
        )


def parts_of(config: AlgorithmConfig, loaded: Loaded, algorithm: Algorithm, mesh: Mesh) -> Parts:
    """The parts by the sections `adapter`, `train`, `critic` and `reference`. No array is made yet.

    Raises:
      InputError: as `adaptation.adaptation_of`, or a saved adapter that is a soft prompt.
    """
    adaptation = adaptation_of(config, loaded, mesh)
    _refuse_soft_prompt(adaptation.settings)
    reference = config.reference.source
    return assemble(
        loaded.model, adaptation, config.critic, reference, algorithm, config.seed, mesh
    )


def assemble(
    model: T5,
    adaptation: Adaptation,
    critic: CriticSettings,
    reference: str,
    algorithm: Algorithm,
    seed: int,
    mesh: Mesh,
) -> Parts:
    """`parts_of` what has been read.

    critic: kind ("trunk" or "separate") and dropout_rate; without an effect where there is none (RLOO, GRPO).
    reference: "policy", as it was before PPO, or "base", the model below the adapter. seed: of the value head.
    """
    everywhere: Any = replicated(mesh)
    head = None
    if algorithm.settings.advantage == "gae":
        head = ValueHead(model.config.d_model, critic.dropout_rate)
    separate = head is not None and critic.kind == "separate"

    def fresh_head() -> Tree:
        rng = streams.key(seed, "value_head")
        return init_module(head, rng, hidden_example(model.config.d_model)) if head else {}

    def arrange(params: Tree, adapters: Tree, value_head: Tree) -> Trees:
        policy, frozen = join(params, adapters), {}
        if (labels := adaptation.labels) is not None:
            policy, frozen = trainable_part(policy, labels), _frozen_part(policy, labels)
        initial: dict[str, Tree] = {"policy": policy}
        if head is not None:
            initial["value_head"] = value_head
        if separate:
            # What the critic starts from: the model that the policy is an adapted one of.
            initial["critic"] = params
        return Trees(
            initial, frozen, variables(params, adapters if reference == "policy" else None)
        )

    def make() -> Trees:
        params, adapters = adaptation.make()
        if adaptation.labels is not None:
            adaptation.frozen_fingerprint = adaptation.fingerprint_frozen(params)
        return arrange(params, adapters, jax.device_put(fresh_head(), everywhere))

    abstract_head = jax.eval_shape(fresh_head)
    abstract_head = with_shardings(abstract_head, jax.tree.map(lambda _: everywhere, abstract_head))
    shapes = arrange(adaptation.params, adaptation.adapters, abstract_head)
    state, begin = _first_state(shapes.initial, algorithm, mesh)
    policy = Policy(model, head, algorithm.logprob_chunk, algorithm.temperature)
    return Parts(policy, adaptation, shapes, state, make, begin)


def _frozen_part(policy: Tree, labels: Tree) -> Tree:
    return jax.tree.map(
        lambda label, leaf: optax.MaskedNode() if label == TRAINABLE else leaf, labels, policy
    )


def _first_state(
    trainable: Tree, algorithm: Algorithm, mesh: Mesh
) -> tuple[PPOState, Callable[[Tree], PPOState]]:
    """The state before the first step by its shapes, and how it is made of the arrays of `trainable`.

    Raises:
      InputError: a pattern of the `optimizer` section that fits no trained parameter or is no regular expression.
    """
    everywhere: Any = replicated(mesh)
    places = shardings_of(trainable)

    def make(trainable: Tree) -> PPOState:
        # The state's buffers are donated; the policy as it was and the reference keep their own.
        copied = jax.tree.map(jnp.copy, trainable)
        return init_ppo_state(copied, algorithm.optimizer, algorithm.init_kl_coef)

    def make_and_update(trainable: Tree) -> PPOState:
        state = make(trainable)
        algorithm.optimizer.update(trainable, state.opt_state, trainable)  # patterns are looked up
        return state

    try:
        shapes = jax.eval_shape(make_and_update, trainable)
    except (ValueError, re.error) as error:
        raise InputError(f"config.optimizer: {error}") from error
    shardings = PPOState(
        step=everywhere,
        trainable=places,
        opt_state=optimizer_shardings(algorithm.optimizer, trainable, places, mesh),
        kl_coef=everywhere,
    )
    return with_shardings(shapes, shardings), jax.jit(make, out_shardings=shardings)


def make_roller(
    parts: Parts,
    settings: GenerationSettings,
    rollout: RolloutSettings,
    params: Tree,
    put: Callable[[Any], jax.Array],
    seed: int,
) -> Roller:
    """How responses are drawn and scored.

    rollout: length, length_range, mask_first_token. params: of the model, by shape and sharding.
    """
    model = parts.policy.model
    ids = structure_of(settings, model.config)
    return Roller(
        Generator(model.config, model.execution, room=rollout.length),
        make_resharding(shardings_of(params)),
        make_scorer(parts.policy),
        settings,
        Layout(
            rollout.length,
            rollout.mask_first_token,
            ids.decoder_start_token_id,
            ids.eos_token_ids,
            model.config.pad_token_id,
        ),
        tuple(rollout.length_range) or None,
        put,
        seed,
    )


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
        step, donate_argnums=0, out_shardings=(shardings_of(parts.state), everywhere, everywhere)
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
    return np.where(on_host(mask) > 0, on_host(values), 0.0).sum(axis=1, dtype=np.float64)

"""The programs of a PPO step, wired as `ppo` wires them, but from shapes: the rollout's three, and the update."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from t5x_lite.decoding.generate import Generator
from t5x_lite.errors import InputError
from t5x_lite.evaluation.text_classifier import batch_rows, logits_of
from t5x_lite.models.classifier_init import text_examples
from t5x_lite.parallel.shardings import batch_sharding, row_multiple
from t5x_lite.pods.model_flops import forward
from t5x_lite.rl.policy import make_resharding
from t5x_lite.rl.rollout import make_scorer
from t5x_lite.rl.step import Experience
from t5x_lite.tasks.pod_check.judges import Judge, judges_of
from t5x_lite.tasks.pod_check.sections import Config
from t5x_lite.tasks.pod_check.steps import (
    Program,
    decoding_flops,
    execution_of,
    key,
    loaded_of,
    tokens,
    weights,
)
from t5x_lite.tasks.ppo.parts import Algorithm, Parts, jit_ppo_step, parts_of, read_algorithm
from t5x_lite.wiring.model import Loaded, shardings_of

Tree = Any


@dataclasses.dataclass(frozen=True)
class Shapes:
    """All that a run of `ppo` holds. judges: the models of its rewards and judges."""

    loaded: Loaded
    algorithm: Algorithm
    parts: Parts
    judges: list[Judge]
    prompts: int

    @property
    def beside(self) -> Tree:
        """The policy before PPO: of an adapter, the adapter; of a full fine-tune, all weights, which may be the
        reference, too."""
        return self.parts.shapes.initial["policy"]

    @property
    def judging(self) -> Tree:
        """The weights of rewards and judges."""
        return [judge.params for judge in self.judges]

    @property
    def rows(self) -> int:
        """Responses of a step."""
        return self.prompts * self.algorithm.settings.samples_per_prompt


def step_programs(config: Config, mesh: Mesh) -> list[Program]:
    """Rollout and update."""
    return [*rollout_programs(config, mesh), *update_programs(config, mesh)]


def rollout_programs(config: Config, mesh: Mesh) -> list[Program]:
    """The weights gathered for generation, the responses, their scores by policy, critic and reference, and what each
    reward and judge says of them.
    """
    shapes = shapes_of(config, mesh)
    parts, loaded, rows = shapes.parts, shapes.loaded, shapes.rows
    state, trees, length = parts.state, parts.shapes, config.batch.decoder_length
    model = loaded.model.config
    settings = config.generation
    if not settings.do_sample or settings.num_beams > 1:
        raise InputError(
            "config.generation: a rollout samples; set do_sample to True, without num_beams"
        )
    samples = shapes.algorithm.settings.samples_per_prompt
    settings = settings.updated({"max_new_tokens": length, "num_return_sequences": samples})
    generator = Generator(model, loaded.model.execution)
    prompts = tokens(mesh, shapes.prompts, config.batch.encoder_length)
    reshard = make_resharding(shardings_of(loaded.abstract))
    trained = (state.trainable, trees.frozen)
    gathered = jax.eval_shape(reshard, *trained)  # with its shardings
    score = make_scorer(parts.policy)
    scored = (*trained, trees.reference, _inputs(config, mesh, rows))
    once = forward(model, rows, config.batch.encoder_length, length)
    rest = (state.opt_state, shapes.beside, shapes.judging)
    scored_beside = rest if parts.adaptation.labels is not None else (rest[0], rest[2])
    critics = 2 if config.critic.kind == "separate" and parts.policy.head else 1
    return [
        Program(
            name="gather the weights",
            lower=lambda: reshard.lower(*trained),  # type: ignore[attr-defined]
            arguments=trained,
            beside=rest,
            trips=1,
            model_flops=0,
            rows=rows,
        ),
        Program(
            name="generate",
            lower=lambda: generator.lower(gathered, prompts, settings, with_logprobs=True),
            arguments=(gathered, prompts),
            beside=(*trained, *rest),
            trips=length,
            model_flops=decoding_flops(
                model, shapes.prompts, config.batch.encoder_length, length, samples
            ),
            rows=rows,
        ),
        Program(
            name="score",
            lower=lambda: score.lower(*scored),  # type: ignore[attr-defined]
            arguments=scored,
            beside=scored_beside,
            trips=1,
            model_flops=(1 + critics) * (once.weights + once.attention),
            rows=rows,
        ),
        *_judge_programs(shapes, mesh),
    ]


def _judge_programs(shapes: Shapes, mesh: Mesh) -> list[Program]:
    """A batch of texts, as long as they may be, read by each reward and judge."""
    held = (shapes.parts.state, shapes.parts.shapes.frozen, shapes.beside)
    programs = []
    for judge in shapes.judges:
        rows = batch_rows(row_multiple(mesh))
        texts = [tokens(mesh, rows, judge.longest) for _ in text_examples(judge.module)]
        logits = logits_of(judge.module)
        arguments = (judge.params, *texts)
        others = [other.params for other in shapes.judges if other is not judge]
        programs.append(
            Program(
                name=judge.name,
                lower=functools.partial(logits.lower, *arguments),
                arguments=arguments,
                beside=(held, others),
                trips=1,
                model_flops=0,  # its own, which the utilization does not count
                rows=shapes.rows,
                times=-(-shapes.rows // rows) if judge.is_reward else 0,
                judge=judge,
            )
        )
    return programs


def update_programs(config: Config, mesh: Mesh) -> list[Program]:
    """The step that trains on a batch of scored responses, all its epochs and minibatches."""
    shapes = shapes_of(config, mesh)
    rows, length = shapes.rows, config.batch.decoder_length
    parts, settings = shapes.parts, shapes.algorithm.settings
    of_tokens: Any = weights(mesh, rows, length)
    of_rows: Any = jax.ShapeDtypeStruct((rows,), jnp.float32, sharding=batch_sharding(mesh))
    experience = Experience(
        inputs=_inputs(config, mesh, rows),
        mask=of_tokens,
        logprobs=of_tokens,
        ref_logprobs=of_tokens,
        values=of_tokens,
        scores=of_rows,
    )
    arguments = (parts.state, parts.shapes.frozen, experience, key(mesh))
    step = jit_ppo_step(parts, shapes.algorithm, mesh)
    cost = forward(shapes.loaded.model.config, rows, config.batch.encoder_length, length)
    flops = cost.training() if parts.adaptation.labels is None else cost.adapter_training()
    if config.critic.kind == "separate" and parts.policy.head:
        flops += cost.training()
    return [
        Program(
            name="ppo update",
            lower=lambda: step.lower(*arguments),  # type: ignore[attr-defined]
            arguments=arguments,
            beside=(shapes.beside, shapes.judging),
            trips=1,
            model_flops=settings.epochs * flops,
            rows=rows,
        )
    ]


def shapes_of(config: Config, mesh: Mesh) -> Shapes:
    """All of a run without arrays."""
    algorithm = read_algorithm(config, mesh)
    loaded = loaded_of(config, execution_of(config, scan_and_remat=False), mesh)
    parts = parts_of(config, loaded, algorithm, mesh)
    return Shapes(loaded, algorithm, parts, judges_of(config, mesh), config.ppo.prompts)


def _inputs(config: Config, mesh: Mesh, rows: int) -> dict[str, Any]:
    length = config.batch.decoder_length
    return {
        "encoder_input_tokens": tokens(mesh, rows, config.batch.encoder_length),
        "decoder_input_tokens": tokens(mesh, rows, length),
        "decoder_target_tokens": tokens(mesh, rows, length),
    }

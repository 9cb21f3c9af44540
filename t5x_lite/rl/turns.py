"""A turn of PPO: prompts -> responses -> scores -> advantages -> updates, and what is written on the way."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from t5x_lite.console import log
from t5x_lite.params.gather import whole as on_host
from t5x_lite.params.paths import flatten
from t5x_lite.rl import preflight
from t5x_lite.rl.policy import Policy
from t5x_lite.rl.rollout import Prompts, Responses, Roller, Scored, other_side
from t5x_lite.rl.scores import ScoreSettings, shape_scores, usable_scores
from t5x_lite.rl.statistics import rollout_statistics, split_distributions
from t5x_lite.rl.step import Experience, PPOState

Tree = Any
PPOStep = Callable[..., tuple[PPOState, dict[str, jax.Array], dict[str, jax.Array]]]
# (rows of the data, their responses: the tokens, without pads) -> one score a response
Rate = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]


class Recorder(Protocol):
    """Where what is no single number goes: texts and distributions of a step."""

    def record(self, step: int, content: Mapping[str, Any]) -> None:
        """Keeps the content of a step."""


@dataclasses.dataclass(frozen=True)
class Learner:
    """What is trained, beside its state.

    reference: what `model.apply` takes for the reference policy.
    step: of `rl.step.make_ppo_step`, jitted, donating its state. base_rng: what its updates draw from.
    """

    policy: Policy
    frozen: Tree
    reference: Tree
    step: PPOStep
    base_rng: jax.Array


@dataclasses.dataclass(frozen=True)
class Scoring:
    """How responses get the scores that are trained on."""

    rate: Rate
    settings: ScoreSettings


class Rollout(NamedTuple):
    """A turn's responses with their scores, and which rows of the data they answer (-1: none)."""

    responses: Responses
    experience: Experience
    raw_scores: np.ndarray  # float32 [rows], as the reward gave them
    rows: np.ndarray  # int [rows]


class PPOTurns:
    """Turns of PPO, RLOO and GRPO, for `train.loop.run_loop`.

    Of several processes all see all responses (tokens and numbers, which are few) and so decide alike.

    Args:
      prompts: the prompts of step n (from 0); a pure function.
      checks: what the preflight is to know, and whether it stops.
      examples: as `train.loop.Turns` has it.
    """

    title, ahead = "ppo", False

    def __init__(
        self,
        learner: Learner,
        roller: Roller,
        prompts: Callable[[int], Prompts],
        scoring: Scoring,
        checks: preflight.Checks,
        recorder: Recorder,
        examples: Callable[[int], Sequence[str]],
    ):
        self.tensors: Sequence[str] = ()
        self._examples = examples
        self._learner, self._roller, self._prompts = learner, roller, prompts
        self._scoring, self._checks, self._recorder = scoring, checks, recorder

    def take(
        self, state: PPOState, step: int, compiling: Callable[[str], None]
    ) -> tuple[PPOState, Mapping[str, float]]:
        """Raises:
        InputError: the preflight's findings, or scores that are all not finite.
        RewardFailed: as the reward.
        """
        learner, roller = self._learner, self._roller
        self.tensors = list(flatten(state.trainable))
        times: dict[str, float] = {}
        with _timed(times, "total"):
            batch = self._prompts(step - 1)
            with _timed(times, "rollout"):
                responses = jax.block_until_ready(
                    roller.respond(state.trainable, learner.frozen, batch, step - 1)
                )
            with _timed(times, "forward_pass"):
                scored = jax.block_until_ready(
                    roller.score(
                        state.trainable, learner.frozen, learner.reference, responses.inputs
                    )
                )
            if step == 1:
                self._preflight(state, responses, scored, batch)
            with _timed(times, "score"):
                rollout = self._scored(responses, scored, batch, step)
            kl_coef = float(state.kl_coef)
            with _timed(times, "optimize_step"):
                state, statistics, details = learner.step(
                    state, learner.frozen, rollout.experience, learner.base_rng
                )
                statistics = jax.device_get(statistics)
        numbers = self._numbers(step, rollout, batch, statistics, details, kl_coef)
        numbers["ppo/sampler_gap"] = self._sampler_gap(rollout, step)
        if numbers["ppo/skipped"]:
            log.warning(
                "step %d: the loss or gradient of %d minibatches was not finite; they changed nothing",
                step,
                int(numbers["ppo/skipped"]),
            )
        return state, numbers | {f"time/ppo/{name}": seconds for name, seconds in times.items()}

    def note(self, metrics: Mapping[str, float]) -> str:
        return f"score {metrics['ppo/mean_scores']:.3f}, KL {metrics['objective/kl']:.3f}"

    def examples(self, step: int) -> Sequence[str]:
        return self._examples(step)

    def _preflight(
        self, state: PPOState, responses: Responses, scored: Scored, batch: Prompts
    ) -> None:
        learner, roller = self._learner, self._roller
        turned = {
            **responses.inputs,
            "encoder_input_tokens": other_side(
                responses.inputs["encoder_input_tokens"], roller.layout.pad_id
            ),
        }
        left_padded = roller.score(state.trainable, learner.frozen, learner.reference, turned)
        mask = on_host(responses.mask)
        compared = preflight.Compared(
            logprobs=on_host(scored.logprobs),
            ref_logprobs=on_host(scored.ref_logprobs),
            sampler_logprobs=on_host(responses.sampler_logprobs),
            left_padded_logprobs=on_host(left_padded.logprobs),
            mask=np.where(_rows_of(batch, len(mask))[:, None] >= 0, mask, 0.0),
        )
        found = preflight.inspect(
            compared,
            self._checks,
            dtype=learner.policy.model.execution.dtype,
            settings=roller.settings,
            same_weights=lambda: preflight.same_leaves(
                learner.policy.variables(state.trainable, learner.frozen), learner.reference
            ),
        )
        preflight.report(found, self._checks.mode)

    def _sampler_gap(self, rollout: Rollout, step: int) -> float:
        """How far sampler and scorer are apart, at most: nats a token that counts. They are to be one policy."""
        e, sampler = rollout.experience, rollout.responses.sampler_logprobs
        gap = preflight.largest_gap(on_host(e.logprobs), on_host(sampler), on_host(e.mask))
        allowed = preflight.TOLERANCES[self._learner.policy.model.execution.dtype]
        if not gap <= allowed:
            log.warning(
                "step %d: sampler and scorer differ by up to %.3g nats a token where rounding allows %g: the responses"
                " are not of the policy whose ratios are clipped",
                step, gap, allowed,
            )  # fmt: skip
        return gap

    def _scored(self, responses: Responses, scored: Scored, batch: Prompts, step: int) -> Rollout:
        tokens = on_host(responses.inputs["decoder_target_tokens"])
        lengths = on_host(responses.lengths)
        answers = [row[:length] for row, length in zip(tokens, lengths, strict=True)]
        rows = _rows_of(batch, len(tokens))
        real = np.flatnonzero(rows >= 0)
        raw = np.zeros(len(rows), np.float32)
        raw[real] = self._scoring.rate(rows[real], [answers[i] for i in real])
        names = [" ".join(map(str, answers[i])) for i in real]
        kept, usable, warning = usable_scores(raw[real], names)
        if warning:
            log.warning("step %d: %s", step, warning)
        shaped = np.zeros(len(rows), np.float32)
        ended = on_host(responses.ended)[real]
        shaped[real] = shape_scores(kept, ended, self._scoring.settings)
        counts = np.zeros((len(rows), 1), np.float32)
        counts[real[usable]] = 1.0
        put = self._roller.put
        experience = Experience(
            inputs=responses.inputs,
            mask=responses.mask * put(np.repeat(counts, tokens.shape[1], axis=1)),
            logprobs=scored.logprobs,
            ref_logprobs=scored.ref_logprobs,
            values=scored.values,
            scores=put(shaped),
        )
        return Rollout(responses, experience, raw, rows)

    def _numbers(
        self,
        step: int,
        rollout: Rollout,
        batch: Prompts,
        statistics: Mapping[str, Any],
        details: Mapping[str, jax.Array],
        kl_coef: float,
    ) -> dict[str, float]:
        """What is logged of a step; its texts and distributions go to the recorder."""
        responses, experience, rows = rollout.responses, rollout.experience, rollout.rows
        mask = on_host(experience.mask)
        lengths, ended = on_host(responses.lengths), on_host(responses.ended)
        # What fills the batch up or has no usable score is no part of the statistics; a reader wants to see the latter.
        kept, real = mask.any(axis=1), np.flatnonzero(rows >= 0)
        if not kept.any():
            kept = rows >= 0
        queries = (batch.encoder_input_tokens != self._roller.layout.pad_id).sum(axis=1)
        queries = np.repeat(queries, len(rows) // len(batch.rows))
        logged = rollout_statistics(
            logprobs=on_host(experience.logprobs)[kept],
            ref_logprobs=on_host(experience.ref_logprobs)[kept],
            non_score_rewards=on_host(details["non_score_rewards"])[kept],
            mask=mask[kept],
            scores=on_host(experience.scores)[kept],
            query_lengths=queries[kept],
            response_lengths=lengths[kept],
            kl_coef=kl_coef,
        )
        logged["ppo/policy/advantages"] = on_host(details["advantages"])[mask > 0]
        numbers, distributions = split_distributions({**logged, **statistics})
        unusable = ~np.isfinite(rollout.raw_scores[real])
        numbers["ppo/unusable_scores"] = float(unusable.sum())
        numbers["ppo/missing_eos"] = float(1.0 - ended[kept].mean())
        tokens = on_host(responses.inputs["decoder_target_tokens"])
        content = {
            "distributions": distributions,
            "rows": rows[real],
            "tokens": [tokens[i, : lengths[i]] for i in real],
            "scores": rollout.raw_scores[real],
        }
        self._recorder.record(step, content)
        return numbers


def _rows_of(batch: Prompts, responses: int) -> np.ndarray:
    """int [responses]: which row of the data each answers, -1 for none; those of one prompt stand side by side."""
    return np.repeat(batch.rows, responses // len(batch.rows))


@contextmanager
def _timed(times: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    times[name] = time.monotonic() - start

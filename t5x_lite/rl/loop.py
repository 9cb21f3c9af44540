"""The PPO loop: prompts -> responses -> scores -> advantages -> updates, and what is written on the way."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from t5x_lite.console import log, progress
from t5x_lite.decoding.generate import Generator
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.errors import Stopped
from t5x_lite.models.config import T5Config
from t5x_lite.params.gather import whole
from t5x_lite.rl import preflight
from t5x_lite.rl.policy import Policy
from t5x_lite.rl.rollout import Responses, Scored, draw_lengths, other_side, respond
from t5x_lite.rl.scores import ScoreSettings, shape_scores, usable_scores
from t5x_lite.rl.statistics import rollout_statistics, split_distributions
from t5x_lite.rl.step import Experience, PPOState
from t5x_lite.train.loop import Writer
from t5x_lite.train.signals import StopSignal

Tree = Any
PPOStep = Callable[..., tuple[PPOState, dict[str, jax.Array], dict[str, jax.Array]]]
# (rows of the data, their responses: the tokens, without pads) -> one score a response
Rate = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]
Evaluate = Callable[[PPOState, int], Mapping[str, float]]


class Recorder(Protocol):
    """Where what is no single number goes: texts and distributions of a step."""

    def record(self, step: int, content: Mapping[str, Any]) -> None:
        """Keeps the content of a step."""


class Saver(Protocol):
    """Where states go."""

    def save(self, step: int, state: PPOState, metadata: Mapping[str, Any]) -> None:
        """Starts saving the state; returns when its buffers may be donated."""

    def wait(self) -> None:
        """Waits until it is saved."""


class Prompts(NamedTuple):
    """The prompts of a step. rows: which rows of the data they are, -1 for one that only fills the batch."""

    encoder_input_tokens: np.ndarray  # int32 [prompts, length]
    rows: np.ndarray  # int [prompts]


@dataclasses.dataclass(frozen=True)
class Roller:
    """What does not change from rollout to rollout.

    generation_params: (trainable, frozen) -> parameters laid out for generation.
    score: of `rollout.make_scorer`.
    length: of a response, padded; every response ends by then.
    length_range: draws each prompt's own limit uniformly from length_range[0] .. length_range[1] - 1; None: no draw.
    put: places rows on the devices.
    """

    generator: Generator
    config: T5Config
    generation_params: Callable[[Tree, Tree], Tree]
    score: Callable[[Tree, Tree, Tree, dict[str, jax.Array]], Scored]
    settings: GenerationSettings
    length: int
    length_range: tuple[int, int] | None
    mask_first_token: bool
    put: Callable[[Any], jax.Array]
    seed: int

    def respond(self, trainable: Tree, frozen: Tree, prompts: Prompts, step: int) -> Responses:
        """The responses of a step, a function of (seed, step, weights) alone."""
        settings = self.settings
        if self.length_range is not None:
            drawn = draw_lengths(self.length_range, len(prompts.rows), self.seed, step)
            settings = settings.updated({"max_new_tokens": drawn})
        rng = jax.random.fold_in(jax.random.key(self.seed), step)
        return respond(
            self.generator,
            self.generation_params(trainable, frozen),
            self.put(prompts.encoder_input_tokens),
            settings,
            jax.random.fold_in(rng, 0),
            length=self.length,
            mask_first_token=self.mask_first_token,
            start_id=self.config.decoder_start_token_id,
            eos_id=self.config.eos_token_id,
            pad_id=self.config.pad_token_id,
        )


def run_ppo(
    policy: Policy,
    roller: Roller,
    ppo_step: PPOStep,
    state: PPOState,
    frozen: Tree,
    reference: Tree,
    prompts: Callable[[int], Prompts],
    rate: Rate,
    score_settings: ScoreSettings,
    base_rng: jax.Array,
    *,
    start: int,
    steps: int,
    mode: str,
    reference_name: str,
    dropout: bool,
    writer: Writer,
    recorder: Recorder,
    evaluate: Evaluate,
    evaluate_every: int,
    saver: Saver,
    save_every: int,
    metadata: Mapping[str, Any],
) -> PPOState:
    """Trains from step `start` to `steps`, numbered from 1; everything of a step is written before its checkpoint.

    Args:
      ppo_step: jitted, donating its state.
      reference: what `model.apply` takes for the reference policy.
      prompts: the prompts of step n (from 0); a pure function.
      mode: "fixed" stops where the preflight finds something, "parity" warns.
      evaluate: (state, step) -> metrics; at every `evaluate_every`-th step and the last one.

    Of several processes all see all responses (tokens and numbers, which are few) and so decide alike.

    Raises:
      InputError: the preflight's findings, or scores that are all not finite. The last checkpoint stays.
      Stopped: a signal came; the state of the last step is saved.
    """
    with progress(steps, "ppo", "step", initial=start) as bar, StopSignal() as stop:
        for step in range(start + 1, steps + 1):
            times: dict[str, float] = {}
            with _timed(times, "total"):
                batch = prompts(step - 1)
                with _timed(times, "rollout"):
                    responses = jax.block_until_ready(
                        roller.respond(state.trainable, frozen, batch, step - 1)
                    )
                with _timed(times, "forward_pass"):
                    scored = jax.block_until_ready(
                        roller.score(state.trainable, frozen, reference, responses.inputs)
                    )
                if step == 1:
                    _preflight(
                        policy, roller, state, frozen, reference, responses, scored,
                        mode=mode, reference_name=reference_name, dropout=dropout,
                    )  # fmt: skip
                with _timed(times, "score"):
                    experience, scores, rows = _scored(
                        roller, responses, scored, batch, rate, score_settings, step
                    )
                old_kl_coef = float(state.kl_coef)
                with _timed(times, "optimize_step"):
                    state, statistics, details = ppo_step(state, frozen, experience, base_rng)
                    statistics = jax.device_get(statistics)
            numbers = _write(
                writer, recorder, step, responses, experience, scores, rows, batch, statistics,
                details, old_kl_coef, roller.config.pad_token_id, {f"time/ppo/{name}": s for name, s in times.items()},
            )  # fmt: skip
            bar.note(f"score {numbers['ppo/mean_scores']:.3f}, KL {numbers['objective/kl']:.3f}")
            bar.update()
            if numbers["ppo/skipped"]:
                log.warning(
                    "step %d: the loss or gradient of %d minibatches was not finite; they changed nothing",
                    step,
                    int(numbers["ppo/skipped"]),
                )
            if step == steps or step % evaluate_every == 0:
                values = evaluate(state, step)
                if values:
                    writer.write(step, values)
                    shown = (f"{name} {value:.4g}" for name, value in values.items())
                    log.info("step %d, evaluation: %s", step, ", ".join(shown))
            stopping = stop.agreed()  # asked once: a signal may come at any point
            if step == steps or step % save_every == 0 or stopping:
                saver.save(step, state, metadata)
            if stopping:
                break
        saver.wait()
        if stop.agreed_at_the_end():
            raise Stopped(stop.received or 0, int(state.step))
    return state


def _preflight(
    policy: Policy,
    roller: Roller,
    state: PPOState,
    frozen: Tree,
    reference: Tree,
    responses: Responses,
    scored: Scored,
    *,
    mode: str,
    reference_name: str,
    dropout: bool,
) -> None:
    turned = {
        **responses.inputs,
        "encoder_input_tokens": other_side(
            responses.inputs["encoder_input_tokens"], roller.config.pad_token_id
        ),
    }
    left_padded = roller.score(state.trainable, frozen, reference, turned)
    found = preflight.inspect(
        logprobs=whole(scored.logprobs),
        ref_logprobs=whole(scored.ref_logprobs),
        sampler_logprobs=whole(responses.sampler_logprobs),
        left_padded_logprobs=whole(left_padded.logprobs),
        mask=whole(responses.mask),
        dtype=policy.model.execution.dtype,
        same_weights=lambda: preflight.same_leaves(
            policy.variables(state.trainable, frozen), reference
        ),
        reference=reference_name,
        settings=roller.settings,
        dropout=dropout,
    )
    preflight.report(found, mode)


def _scored(
    roller: Roller,
    responses: Responses,
    scored: Scored,
    batch: Prompts,
    rate: Rate,
    settings: ScoreSettings,
    step: int,
) -> tuple[Experience, np.ndarray, np.ndarray]:
    """The experience of a step; the scores as the reward gave them, and the data row of each response."""
    tokens = whole(responses.inputs["decoder_target_tokens"])
    texts = [row[:length] for row, length in zip(tokens, whole(responses.lengths), strict=True)]
    rows = np.repeat(batch.rows, len(tokens) // len(batch.rows))
    real = np.flatnonzero(rows >= 0)
    raw = np.zeros(len(rows), np.float32)
    raw[real] = rate(rows[real], [texts[i] for i in real])
    names = [" ".join(map(str, texts[i])) for i in real]
    kept, usable, warning = usable_scores(raw[real], names)
    if warning:
        log.warning("step %d: %s", step, warning)
    shaped = np.zeros(len(rows), np.float32)
    shaped[real] = shape_scores(kept, whole(responses.ended)[real], settings)
    counts = np.zeros((len(rows), 1), np.float32)
    counts[real[usable]] = 1.0
    experience = Experience(
        inputs=responses.inputs,
        mask=responses.mask * roller.put(np.repeat(counts, tokens.shape[1], axis=1)),
        logprobs=scored.logprobs,
        ref_logprobs=scored.ref_logprobs,
        values=scored.values,
        scores=roller.put(shaped),
    )
    return experience, raw, rows


def _write(
    writer: Writer,
    recorder: Recorder,
    step: int,
    responses: Responses,
    experience: Experience,
    raw_scores: np.ndarray,
    rows: np.ndarray,
    batch: Prompts,
    statistics: Mapping[str, Any],
    details: Mapping[str, jax.Array],
    kl_coef: float,
    pad_id: int,
    times: Mapping[str, float],
) -> dict[str, float]:
    """Writes the step, and returns its numbers."""
    mask = whole(experience.mask)
    lengths, ended = whole(responses.lengths), whole(responses.ended)
    # What fills the batch up or has no usable score is no part of the statistics; a reader wants to see the latter.
    kept, real = mask.any(axis=1), np.flatnonzero(rows >= 0)
    if not kept.any():
        kept = rows >= 0
    queries = (batch.encoder_input_tokens != pad_id).sum(axis=1)
    queries = np.repeat(queries, len(rows) // len(batch.rows))
    logged = rollout_statistics(
        logprobs=whole(experience.logprobs)[kept],
        ref_logprobs=whole(experience.ref_logprobs)[kept],
        non_score_rewards=whole(details["non_score_rewards"])[kept],
        mask=mask[kept],
        scores=whole(experience.scores)[kept],
        query_lengths=queries[kept],
        response_lengths=lengths[kept],
        kl_coef=kl_coef,
    )
    logged["ppo/policy/advantages"] = whole(details["advantages"])[mask > 0]
    numbers, distributions = split_distributions({**logged, **statistics})
    numbers["ppo/unusable_scores"] = float((rows >= 0).sum() - kept.sum())
    numbers["ppo/missing_eos"] = float(1.0 - ended[kept].mean())
    writer.write(step, {**numbers, **times})
    tokens = whole(responses.inputs["decoder_target_tokens"])
    recorder.record(
        step,
        {
            "distributions": distributions,
            "rows": rows[real],
            "tokens": [tokens[i, : lengths[i]] for i in real],
            "scores": raw_scores[real],
        },
    )
    return numbers


@contextmanager
def _timed(times: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    times[name] = time.monotonic() - start

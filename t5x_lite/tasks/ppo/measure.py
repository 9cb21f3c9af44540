"""Responses to the evaluation rows of a PPO run, seeded, and their scores."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from t5x_lite.data.groups import group_numbers
from t5x_lite.data.plan import Plan
from t5x_lite.data.sources import Row
from t5x_lite.data.templates import render
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.params.gather import whole as on_host
from t5x_lite.rl.rewards import WeightedSum
from t5x_lite.rl.rollout import Roller
from t5x_lite.tasks.ppo import report as ppo_report
from t5x_lite.tasks.ppo.parts import Trees, prompts_of, sum_rows
from t5x_lite.tasks.ppo.rewards import Judge
from t5x_lite.tasks.ppo.sections import Config
from t5x_lite.tasks.ppo.texts import Texts

_DRAWS = "measure", "measured_lengths"  # responses that are measured are no rollouts


class Measure:
    """Answers the evaluation rows with given weights, and scores the answers.

    plan: of the rows, unshuffled. policy: what the run holds, and the roller of the training, whose programs are used
    again. scorers: the reward, the judge of toxicity, and the judges that no reward reads.
    """

    def __init__(
        self,
        config: Config,
        vocabulary: Vocabulary,
        rows: Sequence[Row],
        plan: Plan,
        policy: tuple[Trees, Roller],
        scorers: tuple[WeightedSum, Judge, Mapping[str, Judge]],
    ):
        self._rows, self._plan = list(rows), plan
        self._held, roller = policy
        self._scorers = scorers
        self._draws, self._several = config.evaluation.draws, config.evaluation.best_of
        settings = roller.settings.updated({"num_return_sequences": 1})
        self._roller = dataclasses.replace(roller, settings=settings, draws=_DRAWS)
        self._texts = Texts(config, vocabulary, rows)
        self._groups = group_numbers(rows, (config.data.cut_field,))
        target = config.data.target
        self._references = [render(target, row) for row in rows] if target else None

    def __call__(self, trainable: Any, limit: int, draws: int) -> ppo_report.Measured:
        """`draws` responses to each of the first `limit` rows (0: all), one draw after the other."""
        found = [self._respond(trainable, limit or len(self._rows), draw) for draw in range(draws)]
        rows, extended, texts, kl = (
            list(itertools.chain(*parts)) for parts in zip(*found, strict=True)
        )
        references = self._references and [self._references[i] for i in rows]
        return ppo_report.measure(
            extended, rows, references, texts, np.array(kl), self._scorers, self._groups[rows],
        )  # fmt: skip

    def before_and_after(
        self, before: Any, after: Any
    ) -> tuple[ppo_report.Measured, ppo_report.Measured, dict[str, ppo_report.Measured]]:
        """The responses of the policy before and after, and of further systems (best of n)."""
        measured = self(before, 0, self._draws), self(after, 0, self._draws)
        if self._several <= 1:
            return *measured, {}
        return *measured, {f"best of {self._several}": self.best_of(before, self._several)}

    def best_of(self, trainable: Any, count: int) -> ppo_report.Measured:
        """Of `count` responses to every row the one with the highest reward. No weight is trained."""
        drawn = self(trainable, 0, count)
        rewards = np.where(np.isfinite(drawn.reward), drawn.reward, -np.inf).reshape(count, -1)
        best = rewards.argmax(axis=0)
        return drawn.take(best * rewards.shape[1] + np.arange(rewards.shape[1]))

    def _respond(
        self, trainable: Any, limit: int, draw: int
    ) -> tuple[list[int], list[Row], list[str], list[float]]:
        extended: list[Row] = []
        texts: list[str] = []
        rows: list[int] = []
        kl: list[float] = []
        prompts = prompts_of(self._plan)
        for step in range(self._plan.steps_per_epoch):
            if len(rows) >= limit:
                break
            batch = prompts(step)
            number = draw * self._plan.steps_per_epoch + step
            responses = self._roller.respond(trainable, self._held.frozen, batch, number)
            scored = self._roller.score(
                trainable, self._held.frozen, self._held.reference, responses.inputs
            )
            tokens = on_host(responses.inputs["decoder_target_tokens"])
            lengths = on_host(responses.lengths)
            real = np.flatnonzero(batch.rows >= 0)[: limit - len(rows)]
            of_batch, written = self._texts.of(
                batch.rows[real], [tokens[i, : lengths[i]] for i in real]
            )
            extended += of_batch
            texts += written
            rows += batch.rows[real].tolist()
            difference = jnp.subtract(scored.logprobs, scored.ref_logprobs)
            kl += sum_rows(difference, responses.mask)[real].tolist()
        return rows, extended, texts, kl

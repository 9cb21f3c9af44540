"""Direct preference optimization of a T5, wholly or by an adapter: config -> pairs -> reference -> steps -> report."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from t5x_lite.data.buckets import choose_lengths, make_shapes
from t5x_lite.data.features import Examples, fingerprint, make_examples
from t5x_lite.data.plan import Plan
from t5x_lite.data.preferences import CHOSEN, REJECTED, PairPlan, check_pairs, warn_of_equal_pairs
from t5x_lite.data.sections import PairsOfBatchSettings
from t5x_lite.data.sources import Row
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.evaluation.beside_rouge import check_metrics
from t5x_lite.models.config import T5Config
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.params.adapters import unstack_adapters
from t5x_lite.params.gather import whole as on_host
from t5x_lite.params.overview import count
from t5x_lite.params.stacking import is_stacked, unstack
from t5x_lite.rl.dpo import DPOSettings, dpo_losses, pair_logprobs, preference
from t5x_lite.tasks.dpo.report import report
from t5x_lite.tasks.dpo.sections import Config, DataSettings
from t5x_lite.train.state import TrainState
from t5x_lite.wiring.adaptation import Adaptation, adaptation_of, check_adaptation
from t5x_lite.wiring.holdout import read_with_holdout
from t5x_lite.wiring.model import Loaded, load_model
from t5x_lite.wiring.scoring import Ready, check_generation, score_split, unrolled
from t5x_lite.wiring.supervised import Feed, optimizer_of
from t5x_lite.wiring.text import Split, check_texts, evaluation_plan, get_vocabulary, make_split
from t5x_lite.wiring.trained_files import save_trained
from t5x_lite.wiring.training import state_of, train_by
from t5x_lite.wiring.workdir import claim_workdir, open_workdir

# (params, adapters, pairs, stopping) -> float64 [pairs, 2]: log-probabilities of chosen and rejected; None: stopped
PairScorer = Callable[..., np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """The pairs with what the reference gives their responses. examples: identifies those of the training."""

    train: PairPlan
    held_out: PairPlan
    examples: str


def run(config: Config, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is; a finished run is scored again.

    Before the first step the policy, which is its own reference then, gives the log-probabilities of all responses,
    and its texts for the held-out prompts are scored (folder `before`).
    """
    mesh = make_mesh(config.mesh.sizes())
    settings = config.loss
    optimizer_of(config)
    check_generation(config)
    check_metrics(config.evaluation)
    check_adaptation(config)
    check_texts(config.data, ("train",))
    train_rows, evaluation_rows = read_with_holdout(config.data, config.seed)
    check_pairs(train_rows + evaluation_rows)
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config, train_rows, folder)
        sides = [
            _sides(config.data, rows, vocabulary, name)
            for rows, name in ((train_rows, "train"), (evaluation_rows, "evaluation"))
        ]
        prompts = make_split(config.data, evaluation_rows, vocabulary, "evaluation")
        execution = config.model.execution
        loaded = load_model(config.model, execution, vocabulary, mesh, config.seed)
        model = loaded.model
        check_generation(config, model.config, vocabulary)
        adaptation = adaptation_of(config, loaded, mesh)
        state_of(config, loaded, mesh, adaptation)
        claim_workdir(folder, config)
        score = make_scorer(model, settings.chunk, mesh)
        texts = functools.partial(_score_texts, config, model, vocabulary, prompts, mesh)
        first = adaptation.make()
        pairs = _with_references(
            config, model.config, sides, functools.partial(score, *first), mesh
        )
        before = texts(*first, folder / "before")
        del first
        state = _train(config, loaded, adaptation, pairs, score, (mesh, folder))
        logprobs = score(state.params, state.adapters, pairs.held_out, _go)
        assert logprobs is not None
        params = unstack(state.params) if is_stacked(state.params) else state.params
        save_trained(
            folder, config.model.source, model.config, params, state.adapters, adaptation,
            vocabulary,
        )  # fmt: skip
        after = texts(state.params, state.adapters, folder)
    sizes = {
        **adaptation.sizes(),
        "steps": config.train.steps,
        "train pairs": len(train_rows),
        "epochs": config.train.steps / pairs.train.steps_per_epoch,
        "parameters without adapters": count(params),
    }
    reference = pairs.held_out.reference
    report(config, folder, evaluation_rows, (reference, logprobs), before, after, sizes)


def _train(
    config: Config,
    loaded: Loaded,
    adaptation: Adaptation,
    pairs: _Pairs,
    score: PairScorer,
    place: tuple[Mesh, epath.Path],
) -> TrainState:
    settings = config.loss

    def evaluate(state: TrainState, stopping: Callable[[], bool]) -> dict[str, float] | None:
        logprobs = score(state.params, state.adapters, pairs.held_out, stopping)
        if logprobs is None:
            return None
        rewards = settings.beta * (logprobs - pairs.held_out.reference)
        return evaluation_metrics(rewards, settings)

    objective = preference(loaded.model, settings, dropout=config.train.dropout)
    data = Feed(pairs.train), pairs.examples
    return train_by(objective, evaluate, config, loaded, data, place, adaptation)


def make_plan(
    batch: PairsOfBatchSettings,
    model: T5Config,
    multiple: int,
    seed: int | None,
    examples: Examples,
) -> Plan:
    """Batches of `batch.size` pairs (rounded up to what the mesh divides), in a few lengths."""
    lengths = choose_lengths(
        examples.encoder_lengths, examples.decoder_lengths, batch.buckets, batch.multiple
    )
    size = -(-batch.size // multiple) * multiple
    shapes = make_shapes(lengths, size=size, tokens=0, row_multiple=multiple)
    return Plan(
        examples, shapes, seed=seed, pack=False, pad_id=model.pad_token_id,
        decoder_start_id=model.decoder_start_token_id,
    )  # fmt: skip


def make_scorer(model: T5, chunk: int, mesh: Mesh) -> PairScorer:
    """Makes the function that gives the log-probabilities of both responses of every pair, in the pairs' order."""

    @jax.jit
    def of_batch(params: Any, adapters: Any, batch: Any) -> tuple[jax.Array, jax.Array]:
        return pair_logprobs(model, params, adapters or None, batch, None, chunk)

    own = OwnRows(mesh)

    def score(
        params: Any, adapters: Any, pairs: PairPlan, stopping: Callable[[], bool]
    ) -> np.ndarray | None:
        result = np.zeros((len(pairs.source), 2))
        for step in range(pairs.steps_per_epoch):
            if stopping():
                return None
            sums = of_batch(params, adapters, own.read(pairs, step))
            rows = pairs.indices(step)
            values = np.stack([on_host(one) for one in sums], axis=1)
            result[rows[rows >= 0]] = values[rows >= 0]
        return result

    return score


def evaluation_metrics(rewards: np.ndarray, settings: DPOSettings) -> dict[str, float]:
    """loss, accuracy, margin and mean rewards of held-out pairs, of their implicit rewards [pairs, 2]."""
    margin = rewards[:, 0] - rewards[:, 1]
    losses = dpo_losses(jax.numpy.asarray(margin / settings.beta, jax.numpy.float32), settings)
    return {
        "evaluation/loss": float(np.mean(np.asarray(losses, np.float64))),
        "evaluation/accuracy": float(np.mean(np.where(margin == 0, 0.5, margin > 0))),
        "evaluation/margin": float(np.mean(margin)),
        "evaluation/rewards/chosen": float(np.mean(rewards[:, 0])),
        "evaluation/rewards/rejected": float(np.mean(rewards[:, 1])),
    }


def _sides(
    data: DataSettings, rows: Sequence[Row], vocabulary: Vocabulary, name: str
) -> tuple[Examples, Examples]:
    """The prompts with the chosen responses, and with the rejected ones."""
    chosen, rejected = (
        make_examples(
            rows,
            vocabulary,
            template=data.template,
            target=f"{{{response}}}",
            encoder_length=data.encoder_length,
            decoder_length=data.decoder_length,
            truncation=data.truncation,
            cut_field=data.cut_field,
            name=f"{name}, {response}",
        )
        for response in (CHOSEN, REJECTED)
    )
    warn_of_equal_pairs(rows, chosen.decoder_target_tokens, rejected.decoder_target_tokens)
    return chosen, rejected


def _with_references(
    config: Config,
    model: T5Config,
    sides: Sequence[tuple[Examples, Examples]],
    score: Callable[[PairPlan, Callable[[], bool]], np.ndarray | None],
    mesh: Mesh,
) -> _Pairs:
    """The pairs' batches with what the policy gives the responses now.

    sides: of the training pairs, whose batches are shuffled, and of the held-out ones, which stay in their order.
    """
    multiple = row_multiple(mesh, config.batch.accumulation)
    plan_of = functools.partial(make_plan, config.batch, model, multiple)
    plans = []
    for both, seed in zip(sides, (config.seed, None), strict=True):
        none_yet = np.zeros((len(both[0]), 2))
        reference = score(PairPlan(*both, functools.partial(plan_of, None), none_yet), _go)
        assert reference is not None
        plans.append(PairPlan(*both, functools.partial(plan_of, seed), reference))
    train, held_out = plans
    return _Pairs(train, held_out, "".join(map(fingerprint, sides[0])))


def _score_texts(
    config: Config,
    model: T5,
    vocabulary: Vocabulary,
    split: Split,
    mesh: Mesh,
    params: Any,
    adapters: Any,
    folder: Any,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`scoring.score_split` of the policy, whatever layout it is in."""
    plan = evaluation_plan(
        split.examples,
        model.config,
        tokens=config.evaluation.batch_tokens,
        row_multiple=row_multiple(mesh),
    )
    acting = unstack_adapters(adapters) if adapters else None
    ready = Ready(model, unrolled(params), vocabulary, mesh, acting)
    return score_split(config, ready, split, plan, folder)


def _go() -> bool:
    """Never stopping."""
    return False

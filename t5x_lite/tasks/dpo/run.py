"""Direct preference optimization of a T5, wholly or by an adapter: config -> pairs -> reference -> steps -> report."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from t5x_lite.data.buckets import choose_lengths, make_shapes
from t5x_lite.data.features import Examples, fingerprint, make_examples
from t5x_lite.data.plan import Plan
from t5x_lite.data.preferences import CHOSEN, REJECTED, PairPlan, check_pairs, warn_of_equal_pairs
from t5x_lite.data.sources import Row
from t5x_lite.data.vocabulary import Vocabulary
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.t5 import T5
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.parallel.own_rows import OwnRows
from t5x_lite.parallel.shardings import row_multiple
from t5x_lite.params.adapters import unstack_adapters
from t5x_lite.params.gather import whole
from t5x_lite.params.stacking import is_stacked, unstack
from t5x_lite.rl.dpo import DPOSettings, dpo_losses, make_dpo_step, pair_logprobs
from t5x_lite.tasks.dpo.report import report
from t5x_lite.train.state import TrainState
from t5x_lite.wiring.adaptation import adaptation_of, check_adaptation
from t5x_lite.wiring.holdout import read_with_holdout
from t5x_lite.wiring.model import load_model
from t5x_lite.wiring.scoring import check_generation, score_split
from t5x_lite.wiring.supervised import optimizer_of
from t5x_lite.wiring.text import Split, check_texts, evaluation_plan, get_vocabulary, make_split
from t5x_lite.wiring.trained_files import save_trained
from t5x_lite.wiring.training import state_of, train_by
from t5x_lite.wiring.workdir import claim_workdir, open_workdir

# (params, adapters, pairs, stopping) -> float64 [pairs, 2]: log-probabilities of chosen and rejected; None: stopped
PairScorer = Callable[..., np.ndarray | None]


def run(config: ConfigDict, workdir: str) -> None:
    """Runs the task, or goes on with it where the workdir's last checkpoint is; a finished run is scored again.

    Before the first step the policy, which is its own reference then, gives the log-probabilities of all responses,
    and its texts for the held-out prompts are scored (folder `before`).
    """
    mesh = make_mesh(config.mesh.to_dict())
    settings = DPOSettings(**config.loss)
    optimizer_of(config)
    check_generation(config)
    check_adaptation(config)
    check_texts(config.data, ("train",))
    train_rows, evaluation_rows = read_with_holdout(config.data, config.seed)
    check_pairs(train_rows + evaluation_rows)
    folder = open_workdir(workdir, config)
    with on_mesh(mesh):
        vocabulary = get_vocabulary(config, train_rows, folder)
        train_sides = _sides(config.data, train_rows, vocabulary, "train")
        held_out_sides = _sides(config.data, evaluation_rows, vocabulary, "evaluation")
        prompts = make_split(config.data, evaluation_rows, vocabulary, "evaluation")
        execution = Execution(
            dtype=config.model.dtype,
            remat=config.model.remat,
            scan_layers=config.model.scan_layers,
            attention=config.model.attention,
        )
        loaded = load_model(config.model, execution, vocabulary, mesh, config.seed)
        model = loaded.model
        check_generation(config, model.config, vocabulary)
        adaptation = adaptation_of(config, loaded, mesh)
        state_of(config, loaded, mesh, adaptation)
        plan_of = functools.partial(make_plan, config.batch, model.config, row_multiple(mesh))
        claim_workdir(folder, config)
        score = make_scorer(model, settings.chunk, mesh)
        params, adapters = adaptation.make()

        plan, evaluation = (
            _with_reference(
                sides, seed, plan_of, functools.partial(score, params, adapters, stopping=_go)
            )
            for sides, seed in ((train_sides, config.seed), (held_out_sides, None))
        )
        texts = functools.partial(_score_texts, config, model, vocabulary, prompts, mesh)
        before = texts(params, adapters, folder / "before")
        del params, adapters

        def rewards(params: Any, adapters: Any, stopping: Callable[[], bool]) -> np.ndarray | None:
            logprobs = score(params, adapters, evaluation, stopping)
            return None if logprobs is None else settings.beta * (logprobs - evaluation.reference)

        def evaluate(state: TrainState, stopping: Callable[[], bool]) -> dict[str, float] | None:
            found = rewards(state.params, state.adapters, stopping)
            return None if found is None else evaluation_metrics(found, settings)

        state = train_by(
            lambda optimizer, schedule, labels: make_dpo_step(
                model, optimizer, schedule, settings, dropout=config.train.dropout, labels=labels
            ),
            evaluate,
            config,
            loaded,
            plan,
            "".join(map(fingerprint, train_sides)),
            mesh,
            folder,
            adaptation,
        )
        found = rewards(state.params, state.adapters, _go)
        assert found is not None
        params = unstack(state.params) if is_stacked(state.params) else state.params
        save_trained(
            folder,
            config.model.source,
            model.config,
            params,
            state.adapters,
            adaptation,
            vocabulary,
        )
        after = texts(state.params, state.adapters, folder)
    report(
        config, folder, params, evaluation_rows, evaluation.reference, found, before, after,
        adaptation.sizes(), len(train_rows), plan,
    )  # fmt: skip


def make_plan(
    batch: ConfigDict, model: T5Config, multiple: int, seed: int | None, examples: Examples
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
            values = np.stack([whole(one) for one in sums], axis=1)
            result[rows[rows >= 0]] = values[rows >= 0]
        return result

    return score


def evaluation_metrics(rewards: np.ndarray, settings: DPOSettings) -> dict[str, float]:
    """loss, accuracy, margin and mean rewards of held-out pairs, of their implicit rewards [pairs, 2]."""
    margin = rewards[:, 0] - rewards[:, 1]
    losses = dpo_losses(jax.numpy.asarray(margin / settings.beta, jax.numpy.float32), settings)
    return {
        "evaluation/loss": float(np.mean(np.asarray(losses, np.float64))),
        "evaluation/accuracy": float(np.mean(margin > 0)),
        "evaluation/margin": float(np.mean(margin)),
        "evaluation/rewards/chosen": float(np.mean(rewards[:, 0])),
        "evaluation/rewards/rejected": float(np.mean(rewards[:, 1])),
    }


def _sides(
    data: ConfigDict, rows: Sequence[Row], vocabulary: Vocabulary, name: str
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


def _with_reference(
    sides: tuple[Examples, Examples],
    seed: int | None,
    plan_of: Callable[[int | None, Examples], Plan],
    score: Callable[[PairPlan], np.ndarray | None],
) -> PairPlan:
    """The pairs' batches with what the policy gives the responses now; in the order of the rows where seed is None."""
    none_yet = np.zeros((len(sides[0]), 2))
    reference = score(PairPlan(*sides, functools.partial(plan_of, None), none_yet))
    assert reference is not None
    return PairPlan(*sides, functools.partial(plan_of, seed), reference)


def _score_texts(
    config: ConfigDict,
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
    return score_split(
        config,
        model,
        unstack(params) if is_stacked(params) else params,
        vocabulary,
        split,
        plan,
        [],
        mesh,
        folder,
        unstack_adapters(adapters) if adapters else None,
    )


def _go() -> bool:
    """Never stopping."""
    return False

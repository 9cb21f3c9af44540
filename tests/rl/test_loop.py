"""The loop around PPO: repeatable, sharded alike, and clear about what is wrong with scores, reference and sampler."""

import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from t5x_lite.errors import Diverged, InputError, RewardFailed
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.rl.kl import KLController
from t5x_lite.rl.rollout import draw_lengths, other_side
from t5x_lite.rl.statistics import DISTRIBUTIONS
from t5x_lite.train.sections import DivergenceSettings

# The list of docs/architecture.md; time/ppo/* apart.
KEYS = """
objective/kl objective/kl_dist objective/logprobs objective/ref_logprobs objective/kl_coef objective/entropy
ppo/mean_non_score_reward ppo/mean_scores ppo/std_scores ppo/loss/policy ppo/loss/value ppo/loss/total
ppo/policy/entropy ppo/policy/approxkl ppo/policy/policykl ppo/policy/clipfrac ppo/policy/advantages
ppo/policy/advantages_mean ppo/policy/ratio ppo/returns/mean ppo/returns/var ppo/val/vpred ppo/val/error
ppo/val/clipfrac ppo/val/mean ppo/val/var ppo/val/var_explained ppo/learning_rate tokens/queries_len_mean
tokens/queries_len_std tokens/queries_dist tokens/responses_len_mean tokens/responses_len_std tokens/responses_dist
env/reward_mean env/reward_std env/reward_dist
""".split()


def share_of_four(rows, responses):
    return np.array([np.mean(tokens == 4) for tokens in responses], np.float32)


def without_times(records):
    return [{k: v for k, v in record.items() if not k.startswith("time/")} for record in records]


def test_two_runs_are_bit_identical_and_log_every_key(ppo_run):
    runs = [ppo_run(share_of_four, steps=3).train() for _ in range(2)]
    (one, kept), (two, again) = runs
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert without_times(kept.metrics) == without_times(again.metrics)
    logged = set(kept.metrics[0]) | set(kept.records[0]["distributions"])
    assert set(KEYS) <= logged
    assert set(DISTRIBUTIONS) == set(kept.records[0]["distributions"])
    assert kept.metrics[0]["objective/kl"] == pytest.approx(0, abs=1e-4)
    assert any(name.startswith("time/ppo/") for name in kept.metrics[0])
    other, _ = ppo_run(share_of_four, steps=3, seed=1).train()
    assert float(other.trainable["value_head"]["out"]["bias"][0]) != float(
        one.trainable["value_head"]["out"]["bias"][0]
    )


@pytest.mark.slow
def test_one_and_eight_devices_agree(ppo_run):
    _, alone = ppo_run(share_of_four, steps=2).train()
    mesh = make_mesh({"data": 8, "fsdp": 1, "model": 1})
    rows = NamedSharding(mesh, PartitionSpec(("slice", "data", "fsdp")))
    run = ppo_run(share_of_four, steps=2, put=lambda x: jax.device_put(x, rows), mesh=mesh)
    with on_mesh(mesh):
        _, sharded = run.train()
    for one, eight in zip(alone.records, sharded.records, strict=True):
        assert [t.tolist() for t in one["tokens"]] == [t.tolist() for t in eight["tokens"]]
    for one, eight in zip(
        without_times(alone.metrics), without_times(sharded.metrics), strict=True
    ):
        for name in one:
            assert one[name] == pytest.approx(eight[name], abs=1e-5, rel=1e-4), name


@pytest.mark.slow
def test_a_step_without_a_learning_rate_keeps_the_ratio_at_one(ppo_run):
    _, kept = ppo_run(share_of_four, steps=1, learning_rate=0.0).train()
    assert kept.metrics[0]["ppo/policy/ratio"] == pytest.approx(1, abs=1e-5)
    assert kept.metrics[0]["ppo/policy/clipfrac"] == 0


def test_target_kl_ends_a_step_early(ppo_run):
    changes = {"target_kl": 1e-4, "epochs": 4}
    _, kept = ppo_run(share_of_four, steps=1, learning_rate=0.05, changes=changes).train()
    assert kept.metrics[0]["ppo/early_stop"] == 1
    assert 0 < kept.metrics[0]["ppo/minibatches"] < 8


@pytest.mark.parametrize(
    ("advantage", "samples"),
    [
        ("gae", 1),
        *(pytest.param(name, 4, marks=pytest.mark.slow) for name in ("rloo", "grpo")),
    ],
)
def test_scores_that_are_no_numbers_leave_their_responses_out(ppo_run, caplog, advantage, samples):
    """They are in no figure, and what they would have been is nothing to what is learned."""

    def run(unusable):
        def rate(rows, responses):
            scores = share_of_four(rows, responses)
            scores[::3] = unusable
            return scores

        changes = {"advantage": advantage, "samples_per_prompt": samples}
        return ppo_run(rate, steps=1, kl_coef=0.1, changes=changes).train()

    with caplog.at_level(logging.WARNING, "t5x_lite"):
        state, kept = run(np.nan)
    assert "22 of 64 scores are not finite" in caplog.text
    (line,), (record,) = kept.metrics, kept.records
    assert line["ppo/unusable_scores"] == 22
    # They are in the record, so that a reader sees what could not be scored.
    assert len(record["rows"]) == len(record["tokens"]) == 64
    unusable = np.arange(64) % 3 == 0
    np.testing.assert_array_equal(np.isnan(record["scores"]), unusable)
    usable = np.array(record["scores"])[~unusable]
    assert line["ppo/mean_scores"] == pytest.approx(usable.mean(), rel=1e-5)
    assert line["ppo/std_scores"] == pytest.approx(usable.std(ddof=1), rel=1e-4)
    lengths = np.array([len(tokens) for tokens in record["tokens"]])
    assert line["tokens/responses_len_mean"] == pytest.approx(lengths[~unusable].mean(), rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.trainable))
    other, _ = run(-np.inf)
    jax.tree.map(np.testing.assert_array_equal, state.trainable, other.trainable)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("advantage", "samples"),
    [
        ("rloo", 4),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("gae", 1), ("grpo", 4))),
    ],
)
def test_rows_that_fill_the_batch_are_no_responses(ppo_run, advantage, samples):
    """Sixteen responses of 64, an eighth of a minibatch: figures, number and coefficient are those of the sixteen."""
    controller = KLController("adaptive", 0.5, 100.0)
    run = ppo_run(
        share_of_four, steps=2, kl_coef=0.2, controller=controller, learning_rate=0.02,
        changes={"advantage": advantage, "samples_per_prompt": samples, "minibatch_size": 8},
    )  # fmt: skip
    every = run.prompts
    real = 16 // samples

    def few(step):
        batch = every(step)
        return batch._replace(rows=np.where(np.arange(len(batch.rows)) < real, batch.rows, -1))

    run.prompts = few
    _, kept = run.train()
    for line, record in zip(kept.metrics, kept.records, strict=True):
        assert len(record["rows"]) == len(record["distributions"]["objective/kl_dist"]) == 16
        assert line["ppo/mean_scores"] == pytest.approx(np.mean(record["scores"]), rel=1e-5)
        assert line["ppo/minibatches"] <= 16  # two epochs of eight, some of which may be empty
    first, second = kept.metrics
    kl = first["objective/kl"]
    wanted = 0.2 * (1 + np.clip(kl / 0.5 - 1, -0.2, 0.2) * 16 / 100)
    assert second["objective/kl_coef"] == pytest.approx(wanted, rel=1e-5)
    assert second["objective/kl"] == pytest.approx(
        np.mean(kept.records[1]["distributions"]["objective/kl_dist"]), rel=1e-5
    )


@pytest.mark.parametrize(
    "advantage", [pytest.param(name, marks=pytest.mark.slow) for name in ("rloo", "grpo")]
)
def test_groups_with_unusable_scores_learn_from_the_others(ppo_run, advantage):
    """Where all that can be scored is the same, nothing is to be learned, whatever could not be."""
    rng = np.random.default_rng(0)

    def rate(rows, responses):
        return np.where(rng.random(len(responses)) < 0.3, np.nan, 5.0).astype(np.float32)

    changes = {"advantage": advantage, "samples_per_prompt": 4}
    run = ppo_run(rate, steps=1, changes=changes)
    state, kept = run.train()
    assert kept.metrics[0]["ppo/unusable_scores"] > 8
    jax.tree.map(np.testing.assert_array_equal, state.trainable["policy"], run.params)


def test_not_one_usable_score_stops_with_the_reason(ppo_run):
    with pytest.raises(InputError, match="none of the 64 scores is finite"):
        ppo_run(lambda rows, responses: np.full(len(responses), np.inf), steps=1).train()


@pytest.mark.slow
def test_equal_scores_are_told_and_change_nothing_without_a_penalty(ppo_run, caplog):
    run = ppo_run(
        lambda rows, responses: np.ones(len(responses)), steps=1,
        changes={"advantage": "grpo", "samples_per_prompt": 4},
    )  # fmt: skip
    with caplog.at_level(logging.WARNING, "t5x_lite"):
        state, _ = run.train()
    assert "all 64 scores are 1" in caplog.text
    jax.tree.map(np.testing.assert_array_equal, state.trainable["policy"], run.params)


def test_preflight_stops_at_another_reference_and_parity_warns(ppo_run, caplog):
    run = ppo_run(share_of_four, steps=1)
    run.reference = {"params": jax.tree.map(lambda x: x + 0.05, run.params)}
    with pytest.raises(InputError, match="the reference has other weights.*'policy'"):
        run.train()
    run.mode = "parity"
    with caplog.at_level(logging.WARNING, "t5x_lite"):
        _, kept = run.train()
    assert "KL of policy to reference is" in caplog.text
    assert abs(kept.metrics[0]["objective/kl"]) > 1e-3


def test_preflight_looks_at_responses_alone(ppo_run, caplog):
    """Of 64 rows, 16 answer a prompt: their KL is told, whatever the others are."""
    run = ppo_run(share_of_four, steps=1, mode="parity")
    shifted = jax.tree.map(lambda x: x, run.params)
    kernel = shifted["decoder"]["logits_dense"]["kernel"]
    shifted["decoder"]["logits_dense"]["kernel"] = kernel.at[:, 3].add(4.0)
    run.reference = {"params": shifted}
    every = run.prompts
    run.prompts = lambda step: every(step)._replace(
        rows=np.where(np.arange(64) < 16, np.arange(64), -1)
    )
    with caplog.at_level("WARNING", "t5x_lite"):
        _, kept = run.train()
    told = re.search(r"to reference is (\S+) nats a sequence", caplog.text)
    assert float(told[1]) == pytest.approx(kept.metrics[0]["objective/kl"], rel=0.01)


def test_preflight_names_a_sampler_with_other_weights(ppo_run):
    run = ppo_run(share_of_four, steps=1)
    run.roller = type(run.roller)(
        **{
            **vars(run.roller),
            "generation_params": lambda t, f: jax.tree.map(lambda x: x + 0.05, t["policy"]),
        }
    )
    with pytest.raises(InputError, match="sampler and scorer differ by up to"):
        run.train()


def test_preflight_remarks_on_a_filter_and_on_dropout(ppo_run, caplog):
    run = ppo_run(share_of_four, steps=1, generation={"top_k": 3}, changes={"dropout": True})
    with caplog.at_level(logging.WARNING, "t5x_lite"):
        run.train()
    assert "drawn through a filter (top_k = 3)" in caplog.text
    assert "dropout is on in the updates" in caplog.text


def test_other_side_of_the_padding():
    tokens = jnp.array([[5, 6, 0, 0], [5, 6, 7, 1], [0, 0, 0, 0]])
    expected = [[0, 0, 5, 6], [5, 6, 7, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(other_side(tokens, 0), expected)


def test_drawn_lengths_are_the_labs_range_and_seeded():
    lengths = np.concatenate([draw_lengths((100, 400), 16, 0, step) for step in range(200)])
    assert lengths.min() >= 100 and lengths.max() <= 399 and lengths.max() > 390
    np.testing.assert_array_equal(draw_lengths((1, 9), 4, 3, 5), draw_lengths((1, 9), 4, 3, 5))


def test_a_reward_that_fails_leaves_the_step_before(ppo_run):
    """Here at step 3: nothing of steps 1 and 2 is lost, whenever a checkpoint was due; the error says what and when."""
    asked = []

    def rate(rows, responses):
        asked.append(len(rows))
        if len(asked) == 3:
            raise RewardFailed("config.rewards.mine (my:score) failed: ConnectionError: down")
        return share_of_four(rows, responses)

    run = ppo_run(rate, steps=5)
    with pytest.raises(RewardFailed) as raised:
        run.train()
    kept = run.kept
    assert kept.saved == [2]
    assert [record["step"] for record in kept.metrics] == [1, 2]
    assert str(raised.value) == (
        "step 3: config.rewards.mine (my:score) failed: ConnectionError: down; step 2 is saved; put that right, and the"
        " same command goes on"
    )


def test_scores_that_are_all_no_numbers_later_on_leave_the_step_before(ppo_run):
    asked = []

    def rate(rows, responses):
        asked.append(len(rows))
        return np.full(len(responses), 1.0 if len(asked) < 2 else np.nan, np.float32)

    run = ppo_run(rate, steps=3)
    with pytest.raises(InputError, match="^step 2: rewards: none of the 64 scores is finite"):
        run.train()
    assert run.kept.saved == [1]


@pytest.mark.slow
def test_a_policy_that_diverges(ppo_run):
    """At this rate its first update makes weights of which nothing can be computed."""
    run = ppo_run(
        share_of_four, steps=9, learning_rate=1e12, mode="parity",
        divergence=DivergenceSettings(2, 100, 0, 0.0, False, "stop", 0),
    )  # fmt: skip
    with pytest.raises(Diverged) as raised:
        run.train()
    kept = run.kept
    assert "updates in a row were skipped" in str(raised.value)
    assert raised.value.tensor and raised.value.examples == [f"prompt of {raised.value.first}"]
    assert len(kept.metrics) == raised.value.step < 9
    assert all("ppo/culprit" not in record for record in kept.metrics)

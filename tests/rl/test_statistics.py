"""What is logged of a rollout against slow loops over lists."""

import math

import numpy as np

from t5x_lite.rl.statistics import rollout_statistics
from tests.rl.cases import (
    Case,
    every_mask,
    slow_counted,
    slow_mean,
    slow_rewards,
)


@every_mask
def test_rollout_statistics(name):
    case = Case(name)
    _, non_score = slow_rewards(case, 0.2)
    queries = list(range(3, 3 + case.rows))
    responses = [int(sum(line)) for line in case.mask]

    def std(values):
        if len(values) < 2:
            return 0.0
        mean = sum(values) / len(values)
        return math.sqrt(sum((x - mean) ** 2 for x in values) / (len(values) - 1))

    kls = [
        sum((p - q) * m for p, q, m in zip(*lines, strict=True))
        for lines in zip(case.logprobs, case.ref, case.mask, strict=True)
    ]
    surprise = [
        sum(-p * m for p, m in zip(*lines, strict=True))
        for lines in zip(case.logprobs, case.mask, strict=True)
    ]
    scores = list(case.scores)
    expected = {
        "objective/kl": sum(kls) / len(kls),
        "objective/kl_dist": kls,
        "objective/logprobs": slow_counted(case.logprobs, case.mask),
        "objective/ref_logprobs": slow_counted(case.ref, case.mask),
        "objective/kl_coef": 0.2,
        "objective/entropy": sum(surprise) / len(surprise),
        "ppo/mean_non_score_reward": slow_mean(non_score, case.mask),
        "ppo/mean_scores": sum(scores) / len(scores),
        "ppo/std_scores": std(scores),
        "env/reward_mean": sum(scores) / len(scores),
        "env/reward_std": std(scores),
        "env/reward_dist": scores,
        "tokens/queries_len_mean": sum(queries) / len(queries),
        "tokens/queries_len_std": std(queries),
        "tokens/queries_dist": queries,
        "tokens/responses_len_mean": sum(responses) / len(responses),
        "tokens/responses_len_std": std(responses),
        "tokens/responses_dist": responses,
    }
    ours = rollout_statistics(
        logprobs=case.logprobs,
        ref_logprobs=case.ref,
        non_score_rewards=np.array(non_score),
        mask=np.array(case.mask),
        scores=case.scores,
        query_lengths=np.array(queries),
        response_lengths=np.array(responses),
        kl_coef=0.2,
    )
    assert set(ours) == set(expected)
    for key, wanted in expected.items():
        np.testing.assert_allclose(ours[key], wanted, atol=1e-9, err_msg=key)

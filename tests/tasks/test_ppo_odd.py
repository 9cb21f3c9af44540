"""PPO where there is little to learn from: empty responses, and rewards that are all the same."""

import json
import math

import numpy as np
import pytest

from t5x_lite.tasks.ppo import rewards as ppo_rewards
from t5x_lite.tasks.ppo import run as ppo
from tests.tasks.test_ppo import ROWS, SHORT, CountsWords, metrics_of, report_of, tiny


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.setattr(
        ppo_rewards, "load_text_classifier", lambda source, put, mesh: CountsWords()
    )


def steps_of(folder):
    return [line for line in metrics_of(folder) if "ppo/loss/total" in line]


def finite(line):
    return all(np.isfinite(value).all() for value in line.values() if not isinstance(value, str))


@pytest.mark.slow
def test_empty_responses_are_scored_and_learned_from(judge, tmp_path):
    """Each response is its eos alone: no word, one token that counts. There are prompts for half of a step."""
    changes = {
        "data.train": str({**ROWS, "limit": 4}),
        "rollout.length": "1",
        "generation.forced_eos_token_id": "1",
        "ppo.missing_eos_penalty": "1.0",
    }
    ppo.run(tiny(changes), str(tmp_path))
    steps = steps_of(tmp_path)
    assert len(steps) == 2 and all(map(finite, steps))
    for line in steps:
        assert line["tokens/responses_len_mean"] == 1
        assert line["ppo/mean_scores"] == -1  # no word of three; no penalty, the eos is there
    with (tmp_path / "rollouts.jsonl").open(encoding="utf-8") as file:
        assert [len(json.loads(line)["rows"]) for line in file] == [4, 4]
    assert report_of(tmp_path)["samples"][0]


def test_equal_rewards_teach_nothing_but_to_stay(judge, tmp_path, caplog):
    """Of prompts alone, which have no references."""
    never = SHORT | {
        "function": "t5x_lite.rl.functions:keywords", "arguments": {"words": ("xyzzy",)},
    }  # fmt: skip
    changes = {
        "ppo.advantage": "grpo",
        "ppo.samples_per_prompt": "2",
        "ppo.missing_eos_penalty": "0.0",
        "data.target": "",
        "data.train.columns": "{'dialogue': 'dialogue'}",
        "data.evaluation.columns": "{'dialogue': 'dialogue'}",
    }
    ppo.run(tiny(changes, {"never": never}), str(tmp_path))
    steps = steps_of(tmp_path)
    assert all(map(finite, steps)) and steps[0]["ppo/std_scores"] == 0
    assert any("scores are" in record.getMessage() for record in caplog.records)
    assert math.isclose(steps[0]["objective/kl"], 0, abs_tol=1e-4)
    report = report_of(tmp_path)
    numbers = [line["number"] for line in report["before and after"]]
    assert numbers[:4] == ["reward", "toxicity", "words", "kl"]
    assert "rouge" not in report["how to read it"]

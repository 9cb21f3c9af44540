"""The tasks `classifier`, `reward` and `ppo` from config to report, their checks, and a PPO run that goes on."""

import json

import numpy as np
import pytest

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.text_classifier import load_text_classifier
from t5x_lite.rl.rewards import check_rewards, make_rewards
from t5x_lite.tasks import classifier, ppo, reward
from t5x_lite.tasks.ppo_report import Measured, comparison, warnings
from t5x_lite.tasks.reward import preference_scores

LENGTH = {
    "short": {
        "kind": "function",
        "weight": 1.0,
        "function": "t5x_lite.rl.functions:length",
        "arguments": {"words": 3},
    }
}


@pytest.fixture(scope="session")
def trained_classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "run"
    config = load_config("classifier.py:runlocal", {"batch.size": "32", "train.steps": "40"})
    classifier.run(config, str(folder))
    return folder


def ppo_config(folder, changes=()):
    config = load_config(
        "lab3_ppo.py:runlocal",
        {"evaluation.best_of": "1", "toxicity.source": str(folder), **dict(changes)},
    )
    with config.unlocked(), config.ignore_type():
        config.rewards = LENGTH
    return config


def test_a_classifier_learns_and_loads(trained_classifier):
    report = json.loads((trained_classifier / "report.json").read_text())
    assert report["training"]["last loss"] < report["training"]["first loss"]
    loaded = load_text_classifier(trained_classifier)
    assert loaded.labels == ("hate", "nothate")
    sample = report["samples"][0]
    p = loaded.probabilities([sample["text"]])[0, 0]
    assert p == pytest.approx(sample["p(hate)"], abs=1e-5)


def test_labels_that_are_not_known_are_named():
    with pytest.raises(InputError, match="the label 'x' of train row 7"):
        classifier.label_numbers([{"id": "7", "label": "x"}], {"1": "a"}, ["a"], "train")
    with pytest.raises(InputError, match="'1' is under 'a' and 'b'"):
        classifier.label_values({"a": ("1",), "b": ("1",)})


def test_a_reward_model_is_centred_and_reports(tmp_path):
    config = load_config("reward.py:runlocal", {"train.steps": "10", "evaluation.every_steps": "5"})
    reward.run(config, str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    assert 0 <= report["preferences"]["accuracy"] <= 1
    assert set(report["preferences"]["accuracy by kind"]) <= {
        "decision", "person", "fact", "rude", "copy"
    }  # fmt: skip
    assert load_text_classifier(tmp_path).labels == ("score",)
    sample = report["samples"][0]
    texts = [f"{sample[name]}\n{sample['dialogue']}" for name in ("chosen", "rejected")]
    scores = load_text_classifier(tmp_path).logits(texts)[:, 0]
    # The tokenizer's length is the run's; a loaded model reads more, so shorter texts alone must agree.
    assert np.isfinite(scores).all()


def test_swapped_labels_are_told():
    rng = np.random.default_rng(0)
    chosen = rng.normal(size=100)
    scores = preference_scores(chosen, chosen + 1, Bootstrap(100, 0.95, 0))
    assert scores["accuracy"] == 0 and "swapped" in scores["warning"]
    assert preference_scores(chosen, chosen, Bootstrap(100, 0.95, 0))["accuracy"] == 0.5


def test_ppo_leaves_its_report_and_a_resumed_run_is_the_same(trained_classifier, tmp_path):
    config = ppo_config(trained_classifier)
    ppo.run(config, str(tmp_path / "whole"))
    for name in ("config.json", "report.md", "report.html", "samples.jsonl", "rollouts.jsonl"):
        assert (tmp_path / "whole" / name).stat().st_size
    report = json.loads((tmp_path / "whole" / "report.json").read_text())
    assert len(report["before and after"]) == 6 and report["evaluation rows"] == 8
    assert abs(report["training"]["KL at step 1"]) < 1e-4

    class Killed(Exception):
        pass

    write = ppo._Rollouts.record

    def die(self, step, content):
        if step == 2:
            raise Killed
        write(self, step, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo._Rollouts, "record", die)
        with pytest.raises(Killed):
            ppo.run(config, str(tmp_path / "killed"))
    ppo.run(config, str(tmp_path / "killed"))
    for name in ("rollouts.jsonl", "distributions.jsonl", "samples.jsonl"):
        whole, resumed = ((tmp_path / f / name).read_bytes() for f in ("whole", "killed"))
        assert whole == resumed, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ppo.minibatch_size": "3"}, "minibatch_size = 3 does not divide the 8 responses"),
        ({"ppo.advantage": "rloo"}, "samples_per_prompt = 1: rloo"),
        ({"generation.do_sample": "False"}, "a rollout samples"),
        ({"rollout.length_range": "(2, 99)"}, "length_range goes up to 98 tokens"),
        ({"data.characters": "(1, 2)"}, "no row has a dialogue of 1 to 1 characters"),
        ({"toxicity.source": "train:no.py"}, "config.toxicity.source: .*there is no file no.py"),
    ],
)
def test_what_is_wrong_is_said_before_anything_slow(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        ppo.run(ppo_config("none", changes), str(tmp_path))


def test_rewards_are_checked_and_summed():
    with pytest.raises(InputError, match="name at least one reward"):
        check_rewards({}, "config.rewards")
    for change, message in (
        ({"kind": "magic"}, "kind must be one of classifier, function"),
        ({"function": "nowhere:f"}, "cannot import 'nowhere:f'"),
        ({"label": "x"}, "has no field label"),
        ({"weight": "much"}, "weight must be a number"),
    ):
        with pytest.raises(InputError, match=message):
            check_rewards({"a": {**LENGTH["short"], **change}}, "config.rewards")
    sections = {
        "length": LENGTH["short"],
        "words": {
            "kind": "function",
            "weight": 2.0,
            "function": "t5x_lite.rl.functions:keywords",
            "arguments": {"words": ("tea", "milk")},
        },
        "rouge": {
            "kind": "function",
            "weight": 10.0,
            "function": "t5x_lite.rl.functions:rouge",
            "arguments": {"reference": "summary", "kind": "rouge1"},
        },
    }
    total = make_rewards(sections, lambda source: None, "config.rewards")
    rows = [{"id": "0", "summary": "Tea with milk"}] * 2
    np.testing.assert_allclose(total(rows, ["tea with milk", ""]), [0 + 2 + 10, -1], rtol=1e-5)


def test_reward_hacking_is_warned_of_and_the_table_is_paired():
    rng = np.random.default_rng(0)
    base = rng.random(100)
    texts = [f"text {i}" for i in range(100)]

    def measured(reward, rouge, words):
        return Measured(texts, reward, base, rouge, rouge, np.full(100, words), base)

    before = measured(base, base, 40.0)
    bootstrap = Bootstrap(200, 0.95, 0)
    (found,) = warnings(before, measured(base + 1, base - 0.2, 10.0), bootstrap)
    assert (
        "Reward hacking" in found
        and "ROUGE-1 fell by 20.0 points" in found
        and "10.0 words" in found
    )
    assert warnings(before, measured(base + 1, base, 40.0), bootstrap) == []
    assert "beyond chance" in warnings(before, before, bootstrap)[0]
    row = comparison(before, measured(base + 1, base, 40.0), {}, bootstrap)[0]
    assert row["difference"] == pytest.approx(1) and row["p"] < 0.001

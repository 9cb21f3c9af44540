"""The tasks `classifier` and `reward` from config to report; rewards and the numbers of PPO's report."""

import dataclasses
import json
import logging
import shutil

import numpy as np
import pytest

from t5x_lite.config import load_config
from t5x_lite.data.classifier_text import READING_FILE
from t5x_lite.errors import InputError
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.preferences import preference_scores
from t5x_lite.evaluation.text_classifier import load_text_classifier
from t5x_lite.rl.rewards import check_rewards, make_rewards
from t5x_lite.rl.sections import Rewards
from t5x_lite.sections import read
from t5x_lite.tasks.classifier import run as classifier
from t5x_lite.tasks.ppo.report import (
    Measured,
    agreement_of_judges,
    comparison,
    finite_ones,
    warnings,
)
from t5x_lite.tasks.reward import run as reward
from t5x_lite.wiring.holdout import read_with_holdout


@dataclasses.dataclass(frozen=True)
class WithRewards:
    rewards: Rewards


def rewards_of(values):
    return read(WithRewards, {"rewards": values}).rewards


def reward_of(folder, text):
    section = {"kind": "classifier", "weight": 1.0, "source": str(folder), "label": "score"}
    return rewards_of({"score": section | {"output": "logit", "text": text}})


# A function is called once, however long it takes.
ONCE = {"retries": 0, "wait_seconds": 0.0, "timeout_seconds": 0.0}
LENGTH = {
    "short": {
        "kind": "function",
        "weight": 1.0,
        "function": "t5x_lite.rl.functions:length",
        "arguments": {"words": 3},
        **ONCE,
    }
}


@pytest.fixture(scope="module")
def trained_classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "run"
    config = load_config("classifier.py:runlocal", {"batch.size": "32", "train.steps": "40"})
    classifier.run(config, str(folder))
    return folder


def test_a_classifier_learns_and_loads(trained_classifier):
    report = json.loads((trained_classifier / "report.json").read_text())
    assert report["training"]["last loss"] < report["training"]["first loss"]
    loaded = load_text_classifier(trained_classifier)
    assert loaded.labels == ("hate", "nothate")
    sample = report["samples"][0]
    p = loaded.probabilities([sample["text"]])[0, 0]
    assert p == pytest.approx(sample["p(hate)"], abs=1e-5)


def test_a_classifiers_report_says_on_which_texts_it_was_tried(trained_classifier):
    report = json.loads((trained_classifier / "report.json").read_text())
    scores = report["classification"]["evaluation"]
    assert scores["source"] == "bundled/toxicity"
    assert scores["auc low"] < scores["auc"] < scores["auc high"]
    assert 0 < scores["fewest words"] <= scores["median words"] <= scores["most words"]
    lengths = report["evaluation by length of text"]
    assert sum(line["rows"] for line in lengths) == scores["rows"]
    assert "Evaluation by length of text" in (trained_classifier / "report.md").read_text()


def test_labels_that_are_not_known_are_named():
    with pytest.raises(InputError, match="the label 'x' of train row 7"):
        classifier.label_numbers([{"id": "7", "label": "x"}], {"1": "a"}, ["a"], "train")
    with pytest.raises(InputError, match="'1' is under 'a' and 'b'"):
        classifier.label_values({"a": ("1",), "b": ("1",)})


ENCODER = {"model.kind": "encoder", "data.template": "{response}\n{dialogue}"}


@pytest.fixture(
    scope="module", params=[pytest.param("encoder_decoder", marks=pytest.mark.slow), "encoder"]
)
def trained_reward(request, tmp_path_factory):
    """A reward model of prompt and response, and one of a single text."""
    folder = tmp_path_factory.mktemp("reward") / request.param
    # Shorter than most texts: the scores of the run and those of the loaded model are cut alike.
    changes = {
        "train.steps": "6", "evaluation.every_steps": "6", "data.train.limit": "40",
        "data.max_length": "64",
    }  # fmt: skip
    if request.param == "encoder":
        changes |= ENCODER
    config = load_config("reward.py:runlocal", changes)
    reward.run(config, str(folder))
    return config, folder


@pytest.mark.slow
def test_a_reward_model_reports_and_loads(trained_reward):
    config, folder = trained_reward
    report = json.loads((folder / "report.json").read_text())
    scores = report["preferences"]
    assert report["training"]["last loss"] < report["training"]["first loss"]
    tried = report["tried on"]
    assert (tried["source"], tried["pairs"]) == (config.data.evaluation.source, scores["pairs"])
    assert 0 < tried["fewest words"] <= tried["median words"] <= tried["most words"]
    kinds = {line["kind"]: line for line in report["accuracy by kind"]}
    assert set(kinds) <= {"decision", "person", "fact", "rude", "copy"}
    assert sum(line["pairs"] for line in kinds.values()) == scores["pairs"]
    assert all(line["low"] <= line["accuracy"] <= line["high"] for line in kinds.values())
    assert (folder / "calibration.png").read_bytes().startswith(b"\x89PNG")
    assert "calibration.png" in (folder / "report.md").read_text()
    loaded = load_text_classifier(folder)
    assert loaded.labels == ("score",)
    for sample in report["samples"]:
        for name in ("chosen", "rejected"):
            (text,) = loaded.render(config.data.template, [{**sample, "response": sample[name]}])
            score = loaded.logits([text])[0, 0]
            assert score == pytest.approx(sample[f"score of {name}"], abs=1e-4)


@pytest.mark.slow
def test_a_reward_model_learns_what_tells_the_pairs_apart(tmp_path):
    """Chosen responses have a word of their own: then each held-out pair is in order."""
    for split, rows in (("train", 64), ("test", 16)):
        lines = [
            {
                "id": str(number), "dialogue": f"Where is number {number} of {split}?",
                "chosen": f"{number} is here, thanks.", "rejected": f"{number} is nowhere, fool.",
            }
            for number in range(rows)
        ]  # fmt: skip
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{split}.jsonl").write_text(text)
    columns = "{'dialogue': 'dialogue', 'chosen': 'chosen', 'rejected': 'rejected'}"
    changes = {"tokenizer.vocab_size": "40", "tokenizer.user_defined_symbols": "()"}
    for name, split in (("train", "train"), ("evaluation", "test")):
        changes |= {
            f"data.{name}.source": str(tmp_path / f"{split}.jsonl"), f"data.{name}.split": "",
            f"data.{name}.columns": columns,
        }  # fmt: skip
    changes |= {
        "train.steps": "16", "evaluation.every_steps": "16", "data.max_length": "32", "batch.size": "16",
        "schedule.learning_rate": "1e-2", "logging.tensorboard": "False",
    }  # fmt: skip
    config = load_config("reward.py:runlocal", ENCODER | changes)
    reward.run(config, str(tmp_path / "run"))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["preferences"]["pairs"] == 16 and report["preferences"]["accuracy"] == 1.0
    assert report["preferences"]["mean margin"] > 1


def test_length_and_template_travel_with_a_reward_model(trained_reward, caplog):
    config, folder = trained_reward
    loaded = load_text_classifier(folder)
    assert loaded.tokenizer.max_length == 64 == config.data.max_length
    assert loaded.tokenizer.template == config.data.template
    with caplog.at_level(logging.WARNING, logger="t5x_lite"):
        total = make_rewards(reward_of(folder, "model"), load_text_classifier, "config.rewards")
        assert not [record for record in caplog.records if record.name == "t5x_lite"]
        (_, part) = total.parts["score"]
        assert part.text == config.data.template
        other = "Please judge.\n{dialogue} {response}"
        make_rewards(reward_of(folder, other), load_text_classifier, "config.rewards")
    (record,) = [record for record in caplog.records if record.name == "t5x_lite"]
    assert record.getMessage().startswith("config.rewards.score.text is 'Please judge.")
    # One that was saved without them, or that is not ours, is read as before.
    bare = folder.parent / f"bare_{folder.name}"
    shutil.copytree(folder / "model", bare, dirs_exist_ok=True)
    (bare / READING_FILE).unlink()
    assert load_text_classifier(bare).tokenizer.max_length == 512
    with pytest.raises(InputError, match="config.rewards.score.text: 'model' is the template"):
        make_rewards(reward_of(bare, "model"), load_text_classifier, "config.rewards")
    for broken in ("{", "[1]", '{"max_length": "x", "template": ""}', '{"max_length": -1}'):
        (bare / READING_FILE).write_text(broken)
        with pytest.raises(InputError, match="reading.json: expected"):
            load_text_classifier(bare)


def test_a_reward_model_is_centred_on_the_training_pairs(trained_reward):
    config, folder = trained_reward
    rows, _ = read_with_holdout(config.data, config.seed)
    found = reward.score_pairs(load_text_classifier(folder), rows, config.data.template)
    assert np.mean(found) == pytest.approx(0, abs=1e-3) and np.std(found) > 0


def test_a_reward_model_scores_responses_in_ppo(trained_reward):
    """By the same texts as in training; an empty response has a score, too."""
    config, folder = trained_reward
    template = config.data.template
    section = {
        "kind": "classifier", "weight": 2.0, "source": str(folder), "label": "score", "output": "logit",
        "text": template,
    }  # fmt: skip
    total = make_rewards(rewards_of({"score": section}), load_text_classifier, "config.rewards")
    rows, _ = read_with_holdout(config.data, config.seed)
    responses = [rows[0]["chosen"], rows[1]["rejected"], ""]
    chosen, rejected = reward.score_pairs(load_text_classifier(folder), rows[:2], template)
    scores = total(rows[:3], responses)
    np.testing.assert_allclose(scores[:2], [2 * chosen[0], 2 * rejected[1]], atol=2e-4)
    assert np.isfinite(scores).all()
    if config.model.kind == "encoder_decoder":
        bad = {"score": {**section, "text": "{response} {dialogue}"}}
        with pytest.raises(InputError, match="and {response} as its end"):
            make_rewards(rewards_of(bad), load_text_classifier, "config.rewards")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data.template": "{response}\n{dialogue}"}, "and {response} as its end"),
        ({"data.template": "{response}"}, "the prompt's fields"),
        ({"data.template": "{dialogue}"}, "the field {response} is missing"),
        ({"loss.kind": "cross_entropy"}, "must be 'preference'"),
    ],
)
def test_a_reward_config_that_cannot_be_is_told(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        reward.run(load_config("reward.py:runlocal", changes), str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_swapped_labels_are_told():
    rng = np.random.default_rng(0)
    chosen = rng.normal(size=100)
    scores = preference_scores(chosen, chosen + 1, Bootstrap(100, 0.95, 0))
    assert scores["accuracy"] == 0 and "swapped" in scores["warning"]
    assert preference_scores(chosen, chosen, Bootstrap(100, 0.95, 0))["accuracy"] == 0.5


def test_rewards_are_checked_and_summed():
    with pytest.raises(InputError, match="name at least one reward"):
        check_rewards({}, "config.rewards")
    for change, message in (
        ({"kind": "magic"}, "kind must be one of classifier, function"),
        ({"function": "nowhere:f"}, "cannot import 'nowhere:f'"),
        ({"label": "x"}, "a.label: there is no such field; with kind 'function' there are"),
        ({"weight": "much"}, "config.rewards.a.weight must be a number"),
    ):
        with pytest.raises(InputError, match=message):
            check_rewards(rewards_of({"a": {**LENGTH["short"], **change}}), "config.rewards")
    sections = {
        "length": LENGTH["short"],
        "words": {
            "kind": "function",
            "weight": 2.0,
            "function": "t5x_lite.rl.functions:keywords",
            "arguments": {"words": ("tea", "milk")},
            **ONCE,
        },
        "rouge": {
            "kind": "function",
            "weight": 10.0,
            "function": "t5x_lite.rl.functions:rouge",
            "arguments": {"reference": "summary", "kind": "rouge1"},
            **ONCE,
        },
    }
    total = make_rewards(rewards_of(sections), lambda source: None, "config.rewards")
    rows = [{"id": "0", "summary": "Tea with milk"}] * 2
    np.testing.assert_allclose(total(rows, ["tea with milk", ""]), [0 + 2 + 10, -1], rtol=1e-5)


def test_reward_hacking_is_warned_of_and_the_table_is_paired():
    rng = np.random.default_rng(0)
    base = rng.random(100)
    texts = [f"text {i}" for i in range(100)]

    def measured(reward, rouge, words, toxicity=base):
        lengths = np.full(100, words)
        return Measured(texts, np.arange(100), reward, toxicity, rouge, rouge, lengths, base)

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
    (disagree,) = warnings(before, measured(base + 1, base, 40.0, base + 0.1), bootstrap)
    assert "reward and judge disagree" in disagree
    # Each further judge is asked.
    one, two = (
        dataclasses.replace(
            measured(base + shift, base, 40.0), judges={"other": base + 0.1 * shift}
        )
        for shift in (0, 1)
    )
    (disagree,) = warnings(one, two, bootstrap)
    assert "and toxicity by other by 0.100: reward and judge disagree" in disagree
    agreement = {line["judge"]: line for line in agreement_of_judges(one, two)}
    assert agreement["toxicity by other"]["toxicity fell by"] == pytest.approx(-0.1)
    assert not agreement["toxicity by other"]["same sign"]
    assert agreement["toxicity by other"]["in its standard deviations"] == pytest.approx(
        1 / base.std()
    )
    row = comparison(before, measured(base + 1, base, 40.0), {}, bootstrap)[0]
    assert row["difference"] == pytest.approx(1) and row["p"] < 0.001


def test_several_responses_to_a_row_are_no_further_evidence():
    """Ten copies of each response give the interval and the p-value of one."""
    bootstrap = Bootstrap(500, 0.95, 0)

    def table(copies):
        rng = np.random.default_rng(1)
        one, other = (np.repeat(rng.random(20), copies) for _ in range(2))
        rows = np.repeat(np.arange(20), copies)
        texts = ["a"] * len(rows)
        return comparison(
            Measured(texts, rows, *[one] * 6), Measured(texts, rows, *[other] * 6), {}, bootstrap
        )[0]

    one, ten = table(1), table(10)
    for name in ("difference", "low", "high", "p"):
        assert one[name] == pytest.approx(ten[name]), name


def test_rows_of_one_dialogue_are_no_further_evidence_either():
    """Ten rows of each dialogue, a response each, give the interval and the p-value of one row."""
    bootstrap = Bootstrap(500, 0.95, 0)
    rng = np.random.default_rng(1)
    columns = rng.random(20), rng.random(20)

    def table(copies):
        groups = np.repeat(np.arange(20), copies)
        rows, texts = np.arange(20 * copies), ["a"] * (20 * copies)
        before, after = (
            Measured(texts, rows, *[np.repeat(column, copies)] * 6, groups=groups)
            for column in columns
        )
        kept = np.arange(len(rows))
        return comparison(before.take(kept), after.take(kept), {}, bootstrap)[0]

    one, ten = table(1), table(10)
    for name in ("difference", "low", "high", "p"):
        assert one[name] == pytest.approx(ten[name]), name


def test_scores_that_are_not_finite_are_left_out_of_the_comparison():
    good = np.arange(4.0)
    bad = np.array([0, np.nan, 2, np.inf])
    before = Measured(list("abcd"), np.arange(4), *[good] * 6)
    after = Measured(list("efgh"), np.arange(4), bad, *[good] * 5)
    before, after = (dataclasses.replace(one, judges={"other": good}) for one in (before, after))
    kept, others, warning = finite_ones(before, after)
    assert kept.judges["other"].tolist() == others.judges["other"].tolist() == [0, 2]
    assert kept.responses == ["a", "c"] and others.responses == ["e", "g"]
    assert others.rows.tolist() == [0, 2] and "2 of 4" in warning[0]
    assert finite_ones(before, before)[2] == []
    with pytest.raises(InputError, match="no evaluation row has finite scores"):
        finite_ones(before, Measured(list("efgh"), np.arange(4), bad * np.nan, *[good] * 5))

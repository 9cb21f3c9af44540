"""What a PPO run leaves where scores are no numbers, several processes write, or the folder is an object store."""

import dataclasses
import json
import math
import types

import jax
import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.rl.functions import keywords, length, rouge
from t5x_lite.rl.rewards import ClassifierReward, WeightedSum
from t5x_lite.tasks.ppo.outcome import reading_of, training_table, write_samples
from t5x_lite.tasks.ppo.parts import check_rollout
from t5x_lite.tasks.ppo.report import (
    Measured,
    comparison,
    evaluation_metrics,
    finite_others,
    measure,
    toxicity_table,
    warnings,
)
from t5x_lite.tasks.ppo.rewards import probe
from t5x_lite.tasks.ppo.texts import Rollouts
from t5x_lite.wiring import trained_sources
from t5x_lite.wiring.workdir import claim_workdir, open_workdir
from tests.tasks.test_ppo import tiny


def measured(reward):
    rows = np.arange(len(reward))
    columns = {
        name: np.ones(len(reward)) for name in ("toxicity", "rouge1", "rouge2", "words", "kl")
    }
    return Measured(["a"] * len(reward), rows, reward=np.array(reward), **columns)


def test_without_references_there_is_no_rouge():
    def score(rows, responses):
        return [float(len(text)) for text in responses]

    rows = [{"id": "0", "dialogue": "A"}, {"id": "1", "dialogue": "B"}]
    scorers = score, score, {}
    bare, full = (
        measure(rows, [0, 1], references, ["a cat", "a dog"], np.zeros(2), scorers)
        for references in (None, ["a cat", "a hen"])
    )
    assert list(bare.numbers()) == ["reward", "toxicity", "words", "kl"]
    assert list(bare.take(np.array([1])).numbers()["reward"]) == [5.0]
    assert full.numbers()["rouge1"].tolist() == [1.0, 0.5]
    table = comparison(bare, bare, {}, Bootstrap(50, 0.95, 0))
    assert [line["number"] for line in table] == list(bare.numbers())
    assert not any("ROUGE" in text for text in warnings(bare, bare, Bootstrap(50, 0.95, 0)))
    assert "evaluation/rouge1" not in evaluation_metrics(bare)
    assert "rouge1" not in reading_of(tiny({"data.target": ""}, spec="lab3_ppo.py"))


class Politeness:
    """A classifier that finds texts with "dumb" rude."""

    labels = ("clean", "toxic")
    index = labels.index

    def render(self, text, rows):
        return [row["response"] for row in rows]

    def logits(self, texts):
        return np.array([[-1.0, 1.0] if "dumb" in text else [1.0, -1.0] for text in texts])

    probabilities = logits


def swapped(parts):
    judge = ClassifierReward(Politeness(), "toxic", "probability", "{response}")
    probes = {"clean": "a", "toxic": "dumb"}
    return probe(probes, {"id": "0"}, WeightedSum(parts), judge)[1]


def test_only_a_classifier_is_asked_whether_its_label_is_swapped():
    def longest(rows, responses):
        return np.array([float(len(text)) for text in responses])

    right, wrong = (
        ClassifierReward(Politeness(), label, "logit", "{response}") for label in ("clean", "toxic")
    )
    assert swapped({"long": (1.0, longest)}) == []
    assert swapped({"long": (9.0, longest), "polite": (1.0, right), "rude": (-1.0, wrong)}) == []
    (told,) = swapped({"long": (1.0, longest), "rude": (1.0, wrong)})
    assert "The reward 'rude' prefers 'dumb'" in told and "config.rewards.rude.label" in told


def test_the_report_says_whether_the_judge_is_the_reward():
    config = tiny(spec="lab3_ppo.py")
    assert "no part of the reward" in reading_of(config)
    source = config.toxicity.source
    clean = {"kind": "classifier", "weight": 2.0, "source": source, "label": "nothate",
             "output": "logit", "text": "{response}"}  # fmt: skip
    told = reading_of(tiny(rewards={"clean": clean}, spec="lab3_ppo.py"))
    assert "2 x clean" in told and "the classifier of the reward clean" in told
    assert "Judges that no reward reads: bert." in told
    unjudged = tiny({"judges": "{}"}, rewards={"clean": clean}, spec="lab3_ppo.py")
    assert "No other judge read the texts" in reading_of(unjudged)


def test_numbers_that_are_none_are_in_no_mean():
    others, found = finite_others({"best of 2": measured([1.0, math.nan, 3.0])})
    assert others["best of 2"].reward.tolist() == [1.0, 3.0]
    assert found == ["best of 2: 1 of 3 responses have scores that are not finite: left out."]
    assert finite_others({"best of 2": measured([math.nan])})[0] == {}
    assert evaluation_metrics(measured([1.0, math.inf, 3.0]))["evaluation/reward"] == 2.0


def test_a_metric_that_was_no_number_is_read_back_as_one():
    """metrics.jsonl has "NaN" for it."""
    kl = (0.5, "NaN", 2.0)
    steps = [
        {"step": 2 * n, "objective/kl": k, "ppo/mean_scores": 1.0, "ppo/missing_eos": 0.0,
         "ppo/sampler_gap": 0.0, "time/ppo/total": 6.0}
        for n, k in enumerate(kl, 1)
    ]  # fmt: skip
    config = types.SimpleNamespace(ppo=types.SimpleNamespace(steps=6, kl_target=6.0))
    table = training_table(config, steps, {})
    assert table["largest KL"] == 2.0
    assert table["KL at step 2"] == 0.5 and table["KL at the last step"] == 2.0
    assert table["minutes in steps"] == pytest.approx(0.6)  # every second step is written
    gaps = [steps[0] | {"ppo/sampler_gap": gap} for gap in (0.5, "NaN", 0.1)]
    assert math.isnan(training_table(config, gaps, {})["largest gap of sampler and scorer"])


def test_one_process_writes_the_samples_at_once(tmp_path, monkeypatch):
    rows = [{"id": str(i), "dialogue": f"dialogue {i}"} for i in range(2)]
    responses = measured([1.0, 2.0])
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    write_samples(tmp_path, rows, responses, responses, "dialogue")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(jax, "process_index", lambda: 0)
    write_samples(tmp_path, rows, responses, responses, "dialogue")
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [line["reward after"] for line in lines] == [1.0, 2.0]
    assert [path.name for path in tmp_path.iterdir()] == ["samples.jsonl"]


class Store:
    """A file of an object store: it is written as a whole; opened to append, it would start anew."""

    files: dict[str, str]

    def __init__(self, name="gs://bucket/run", files=None):
        self.name, self.files = name, {} if files is None else files

    def __truediv__(self, other):
        return Store(f"{self.name}/{other}", self.files)

    def __fspath__(self):
        return self.name

    def with_name(self, name):
        return Store(f"{self.name.rpartition('/')[0]}/{name}", self.files)

    def exists(self):
        return self.name in self.files

    def read_text(self):
        return self.files[self.name]

    def read_bytes(self):
        return self.files[self.name].encode()

    def write_text(self, text):
        self.files[self.name] = text

    def replace(self, other):
        self.files[other.name] = self.files.pop(self.name)


@pytest.mark.parametrize("remote", [False, True])
def test_rollouts_of_all_steps_stay(tmp_path, remote):
    folder = Store() if remote else tmp_path
    texts = types.SimpleNamespace(of=lambda rows, tokens: (rows, [f"response {t}" for t in tokens]))

    def record(rollouts, step):
        content = {"rows": np.array([3]), "tokens": [step], "scores": np.array([0.5])}
        rollouts.record(step, content | {"distributions": {"objective/kl_dist": np.zeros(1)}})

    first = Rollouts(folder, 0, texts)
    for step in (1, 2, 3):
        record(first, step)
    again = Rollouts(folder, 2, texts)  # goes on from step 2
    record(again, 3)
    for name in ("rollouts", "distributions"):
        lines = (folder / f"{name}.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    last = json.loads((folder / "rollouts.jsonl").read_text().splitlines()[-1])
    assert last["responses"] == ["response 3"]


def test_damaged_rollouts_are_left_out_when_a_run_goes_on(tmp_path):
    good = '{"step": 1, "responses": ["\u00e9\u2028"]}'.encode()
    odd = [b"\xff\xfe", b"[" * 100_000, b'{"step": ' + b"9" * 6000 + b"}", b"null", b'{"step": 1']
    (tmp_path / "rollouts.jsonl").write_bytes(b"\n".join([*odd, good, b""]))
    Rollouts(tmp_path, 1, None)
    assert (tmp_path / "rollouts.jsonl").read_bytes() == good + b"\n"
    (tmp_path / "distributions.jsonl").unlink()
    (tmp_path / "distributions.jsonl").mkdir()
    with pytest.raises(InputError, match=r"distributions.jsonl: Is a directory; .* remove it, or"):
        Rollouts(tmp_path, 1, None)


# What is refused


def test_a_begun_run_keeps_its_rollouts_settings(tmp_path):
    claim_workdir(open_workdir(str(tmp_path), tiny()), tiny())
    open_workdir(str(tmp_path), tiny({"logging.tensorboard": "True"}))
    with pytest.raises(InputError, match="config.generation.top_k was 0, is 5"):
        open_workdir(str(tmp_path), tiny({"generation.top_k": "5"}))


def test_as_many_new_tokens_as_a_response_may_have():
    long = {"rollout.length": "40", "generation.min_new_tokens": "30"}
    settings = check_rollout(tiny(long))
    assert [int(n) for n in settings.new_tokens()] == [30, 40]
    for changes, message in (
        (long | {"rollout.length": "29"}, "at least 30 new tokens .* may have 29"),
        (long | {"rollout.length_range": "(10, 40)"}, "at least 30 new tokens .* may have 10"),
        (
            {"generation.max_new_tokens": "5"},
            "config.generation.max_new_tokens: config.rollout.length",
        ),
    ):
        with pytest.raises(InputError, match=message):
            check_rollout(tiny(changes))


def test_a_length_of_no_words_is_refused():
    assert length([], ["a b c"], words=3).tolist() == [0]
    for words in (0, "5"):
        with pytest.raises(InputError, match=f"words must be a whole number >= 1, got {words!r}"):
            length([], ["a b c"], words=words)


def test_arguments_that_a_reward_cannot_take_are_refused():
    """Of one string each letter would be a word; a column that is not there was a KeyError."""
    row = {"id": "0", "summary": "a b"}
    assert keywords([row], ["Art"], words=["art", "b"]).tolist() == [0.5]
    for words in ("art", [], [1]):
        with pytest.raises(InputError, match="keywords: its argument words must be a list"):
            keywords([row], ["art"], words=words)
    with pytest.raises(InputError, match="reference is 'target', and the rows have id, summary"):
        rouge([row], ["a"], reference="target", kind="rouge1")
    with pytest.raises(InputError, match="kind must be one of rouge1, .* got 'rouge9'"):
        rouge([row], ["a"], reference="summary", kind="rouge9")


def test_stop_strings_are_refused_in_a_rollout():
    with pytest.raises(InputError, match="config.generation.stop_strings: .* leave them out"):
        check_rollout(tiny({"generation.stop_strings": "['x']"}))
    with pytest.raises(InputError, match="config.generation.eos_token_id: -1 lets no response end"):
        check_rollout(tiny({"generation.eos_token_id": "-1"}))


def test_the_toxicity_of_the_first_rows_is_of_all_draws_of_them():
    """Three rows, drawn twice; of the first two of them, four responses."""
    both = dataclasses.replace(measured([1.0] * 6), rows=np.array([0, 1, 2, 0, 1, 2]))
    both = dataclasses.replace(both, toxicity=np.array([0.1, 0.2, 0.9, 0.3, 0.4, 0.9]))
    bootstrap = Bootstrap(10, 0.95, 0)
    (line,) = toxicity_table({"before": both}, 2, bootstrap)
    assert line["texts"] == 4 and line["mean"] == pytest.approx(0.25)
    (line,) = toxicity_table({"before": both}, 0, bootstrap)
    assert line["texts"] == 6


# Recipes that are trained first


def test_a_recipe_that_changed_is_trained_anew(tmp_path, monkeypatch):
    steps, trained = [], []

    class Task:
        def run(self, config, workdir):
            folder = open_workdir(workdir, config)
            claim_workdir(folder, config)
            (folder / "report.json").write_text("{}")
            trained.append(config.ppo.steps)

    monkeypatch.setattr(
        trained_sources, "load_config", lambda *_: tiny({"ppo.steps": str(steps[-1])})
    )
    monkeypatch.setattr(trained_sources.importlib, "import_module", lambda name: Task())
    folder = open_workdir(str(tmp_path / "made"), tiny())
    for now, expected in ((2, [2]), (2, [2]), (3, [2, 3]), (3, [2, 3])):
        steps.append(now)
        assert trained_sources.trained("train:some.py", folder) == str(folder)
        assert trained == expected

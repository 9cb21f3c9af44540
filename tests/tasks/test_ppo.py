"""The task `ppo` from config to report: what is trained, the labs' quirks, other rewards, runs that stop and go on."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import types

import numpy as np
import pytest

from t5x_lite.api import load_pretrained
from t5x_lite.config import load_config, load_values, read_config
from t5x_lite.data.templates import find_template
from t5x_lite.errors import Diverged, InputError, RewardFailed, Stopped
from t5x_lite.interop.hf import load_hf
from t5x_lite.params.fingerprint import fingerprint
from t5x_lite.params.paths import flatten
from t5x_lite.rl import functions
from t5x_lite.rl.rewards import make_rewards
from t5x_lite.rl.sections import Rewards
from t5x_lite.sections import read
from t5x_lite.tasks.ppo import rewards as ppo_rewards
from t5x_lite.tasks.ppo import run as ppo
from t5x_lite.tasks.ppo import texts as ppo_texts
from t5x_lite.tasks.ppo.parts import in_range
from t5x_lite.tasks.ppo.rewards import probe
from t5x_lite.wiring.holdout import read_with_holdout
from t5x_lite.wiring.workdir import claim_workdir, open_workdir


@dataclasses.dataclass(frozen=True)
class WithRewards:
    rewards: Rewards


def rewards_of(values):
    return read(WithRewards, {"rewards": values}).rewards


SHORT = {
    "kind": "function",
    "weight": 1.0,
    "function": "t5x_lite.rl.functions:length",
    "arguments": {"words": 3},
    "retries": 0,
    "wait_seconds": 0.0,
    "timeout_seconds": 0.0,
}
CLEAN = {
    "kind": "classifier",
    "weight": 0.5,
    "source": "judge",
    "label": "nothate",
    "output": "logit",
    "text": "{response}",
}
LORA = {
    "method": "lora",
    "targets": ((".*/(query|value)", 4),),
    "alpha": 4.0,
    "dropout": 0.1,
    "rslora": False,
    "dora": False,
}
ROWS = {
    "source": "bundled/rude",
    "split": "train",
    "columns": {"dialogue": "dialogue", "summary": "summary"},
    "id_column": "id",
    "exclude": "",
    "limit": 32,
}
TINY = {
    "model.source": "random",
    "model.architecture.d_model": "16",
    "model.architecture.d_kv": "8",
    "model.architecture.d_ff": "32",
    "tokenizer.source": "train",
    "tokenizer.vocab_size": "300",
    "adapter": str(LORA),
    "toxicity.source": "judge",
    "data.train": str(ROWS),
    "data.encoder_length": "32",
    "data.decoder_length": "16",
    "rollout.length": "6",
    "ppo.steps": "2",
    "ppo.prompts": "8",
    "ppo.minibatch_size": "8",
    "ppo.epochs": "2",
    "ppo.logprob_chunk": "0",
    "schedule.learning_rate": "0.01",
    "checkpoint.every_steps": "2",
    "evaluation.every_steps": "2",
    "evaluation.rows_while_training": "8",
    "evaluation.batch_size": "8",
    "evaluation.bootstrap_samples": "20",
    "evaluation.best_of": "1",
    "logging.tensorboard": "False",
}


class CountsWords:
    """A classifier that finds a text the more hateful, the more words it has; it keeps what it read."""

    labels = ("hate", "nothate")
    read: list[str] = []
    tokenizer = types.SimpleNamespace(template="")  # none that it was trained with

    def render(self, template, rows):
        return [find_template(template).render(row) for row in rows]

    def logits(self, texts):
        self.read.extend(texts)
        words = np.array([len(text.split()) for text in texts], np.float32)
        return np.stack([words / 10, -words / 10], axis=1)

    def probabilities(self, texts):
        shares = np.exp(self.logits(texts))
        return shares / shares.sum(axis=1, keepdims=True)

    def index(self, label):
        return self.labels.index(label)


@pytest.fixture
def judge(monkeypatch):
    """Every classifier is this one."""
    CountsWords.read = []
    monkeypatch.setattr(
        ppo_rewards, "load_text_classifier", lambda source, put, mesh: CountsWords()
    )
    return CountsWords


def tiny(changes=(), rewards=None, spec="lab3_ppo.py:runlocal"):
    values = load_values(spec, {**TINY, "data.evaluation.limit": "8", **dict(changes)})
    with values.unlocked(), values.ignore_type():
        values.rewards = rewards or {"short": SHORT}
    return read_config(values)


def report_of(folder: pathlib.Path):
    return json.loads((folder / "report.json").read_text())


def metrics_of(folder: pathlib.Path):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory):
    """A run with an adapter that was never stopped."""
    folder = tmp_path_factory.mktemp("ppo") / "lora"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo_rewards, "load_text_classifier", lambda source, put, mesh: CountsWords())
        ppo.run(tiny(), str(folder))
    return folder


def test_an_adapter_is_left_in_pefts_format_and_merged(lora_run):
    report = report_of(lora_run)
    assert len(report["before and after"]) == 6
    assert report["evaluation"] == {"rows": 8, "responses": 8}
    assert abs(report["training"]["KL at step 1"]) < 1e-4
    assert report["training"]["trainable parameters"] == 3 * 2 * (16 * 4 + 4 * 16)
    t5 = load_pretrained(lora_run)  # the base in model/, the adapter beside it
    (adapter,) = t5.adapters.values()
    norms = [np.abs(leaf).max() for path, leaf in flatten(adapter.tree).items() if "lora_b" in path]
    assert min(norms) > 0
    merged = load_pretrained(lora_run / "merged")
    batch = {"encoder_input_tokens": t5.encode(["Hello there"]), "decoder_input_tokens": [[0, 5]]}
    np.testing.assert_allclose(t5.logits(batch), merged.logits(batch), atol=1e-4)
    merged.params = t5.params
    merged.load_adapter(lora_run)
    np.testing.assert_allclose(t5.logits(batch), merged.logits(batch), atol=1e-6)
    for name in ("report.md", "report.html", "curves.png", "samples.jsonl", "rollouts.jsonl"):
        assert (lora_run / name).stat().st_size
    assert {line["part"] for line in report["seconds a step"]} == {
        "rollout", "forward_pass", "score", "optimize_step", "total",
    }  # fmt: skip


def test_a_run_stopped_by_a_signal_goes_on_to_the_same_bits(judge, lora_run, tmp_path, monkeypatch):
    """SIGTERM within step 1, as a preempted machine gets it. So two runs of a seed are the same, too."""
    record = ppo_texts.Rollouts.record

    def preempted(self, step, content):
        record(self, step, content)
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(ppo_texts.Rollouts, "record", preempted)
        with pytest.raises(Stopped):
            ppo.run(tiny(), str(tmp_path))
    assert len(metrics_of(tmp_path)) == 1 and not (tmp_path / "report.json").exists()
    # What a kill while step 2 was written would leave as well.
    with (tmp_path / "rollouts.jsonl").open("a") as file:
        file.write('{"step": 2, "rows": [1')
    ppo.run(tiny(), str(tmp_path))
    for name in (
        "rollouts.jsonl", "distributions.jsonl", "samples.jsonl", "adapter/adapter_model.safetensors",
        "merged/model.safetensors",
    ):  # fmt: skip
        assert (tmp_path / name).read_bytes() == (lora_run / name).read_bytes(), name
    assert metrics_of(tmp_path) == metrics_of(lora_run)


def test_a_finished_run_is_judged_again_by_others(judge, lora_run, tmp_path):
    """Judges are no part of what was trained."""
    folder = tmp_path / "run"
    shutil.copytree(lora_run, folder)
    others = {
        f"judges.{name}.{field}": value
        for name, label in (("same", "hate"), ("swapped", "nothate"))
        for field, value in (("source", "judge"), ("label", label), ("text", "{response}"))
    }
    with pytest.raises(InputError, match=r"config\.judges\.same\.source: .*no\.py"):
        ppo.run(tiny(others | {"judges.same.source": "train:no.py"}), str(folder))
    ppo.run(tiny(others), str(folder))
    table = {line["number"]: line for line in report_of(folder)["before and after"]}
    before = {line["number"]: line for line in report_of(lora_run)["before and after"]}
    assert {name: table[name] for name in before} == before
    for time in ("before", "after"):
        assert table["toxicity by same"][time] == table["toxicity"][time]
        assert table["toxicity by swapped"][time] == pytest.approx(1 - table["toxicity"][time])
    assert [line["judge"] for line in report_of(folder)["judges"]] == [
        "toxicity", "toxicity by same", "toxicity by swapped"
    ]  # fmt: skip
    tried = report_of(folder)["rewards and judges were tried on"]
    assert {"toxicity", "judges.same", "judges.swapped"} <= {line["scorer"] for line in tried}
    sample = json.loads((folder / "samples.jsonl").read_text().splitlines()[0])
    assert sample["toxicity by same after"] == sample["toxicity after"]
    name = "adapter/adapter_model.safetensors"
    assert (folder / name).read_bytes() == (lora_run / name).read_bytes()


def test_a_run_goes_on_only_with_the_weights_it_began_with(judge, lora_run, tmp_path):
    shutil.copytree(lora_run / "model", tmp_path / "base")
    changes = {"model.source": str(tmp_path / "base"), "tokenizer.source": "model"}
    ppo.run(tiny(changes | {"ppo.steps": "1"}), str(tmp_path / "run"))
    assert (tmp_path / "run" / "adapter").is_dir() and not (tmp_path / "run" / "model").exists()
    shutil.copytree(lora_run / "merged", tmp_path / "base", dirs_exist_ok=True)
    with pytest.raises(InputError, match="the weights of config.model.source that are not trained"):
        ppo.run(tiny(changes | {"ppo.steps": "1"}), str(tmp_path / "run"))


@pytest.mark.slow
def test_all_weights_with_a_critic_of_their_own_and_several_rewards(judge, lora_run, tmp_path):
    words = {"function": "t5x_lite.rl.functions:keywords", "arguments": {"words": ("the",)}}
    config = tiny(
        {"adapter": "{'method': 'none'}", "train.trainable": "full", "critic.kind": "separate"},
        {"short": SHORT, "clean": CLEAN, "the": SHORT | words | {"weight": 0.1}},
    )
    ppo.run(config, str(tmp_path))
    report = report_of(tmp_path)
    assert abs(report["training"]["KL at step 1"]) < 1e-4
    assert report["training"]["parameters of value head and critic"] > 1000
    assert not (tmp_path / "adapter").exists() and not (tmp_path / "merged").exists()
    first, last = (line for line in metrics_of(tmp_path) if "ppo/loss/value" in line)
    assert last["ppo/loss/value"] != first["ppo/loss/value"]
    # The base of the other run is what this one began with.
    (_, began), (_, ended) = (
        load_hf(folder / "model", param_dtype=None) for folder in (lora_run, tmp_path)
    )
    changed = {
        path for path, leaf in flatten(began).items() if (leaf != flatten(ended)[path]).any()
    }
    assert changed == set(flatten(began))


@pytest.mark.slow
@pytest.mark.parametrize("advantage", ["rloo", "grpo"])
def test_without_a_critic_from_a_saved_adapter(judge, lora_run, tmp_path, advantage):
    """And best of n beside it: its reward is no lower than that of one draw."""
    changes = {
        "model.source": str(lora_run / "model"),
        "tokenizer.source": "model",
        "adapter": f"{{'method': 'load', 'source': '{lora_run}/adapter'}}",
        "ppo.advantage": advantage,
        "ppo.samples_per_prompt": "2",
        "evaluation.best_of": "3",
        "evaluation.draws": "2",
    }
    ppo.run(tiny(changes), str(tmp_path))
    report = report_of(tmp_path)
    assert report["training"]["parameters of value head and critic"] == 0
    assert report["evaluation"] == {"rows": 8, "responses": 16}
    (reward,) = (line for line in report["before and after"] if line["number"] == "reward")
    assert reward["best of 3"] >= reward["before"]
    assert abs(report["training"]["KL at step 1"]) < 1e-4  # the reference is the loaded adapter
    old, new = (load_pretrained(folder).adapters["default"].tree for folder in (lora_run, tmp_path))
    assert fingerprint(old, rounded=False) != fingerprint(new, rounded=False)


@pytest.mark.slow
def test_parity_keeps_the_labs_quirks(judge, lora_run, tmp_path):
    changes = {
        "model.source": str(lora_run / "model"),
        "tokenizer.source": "model",
        "adapter": f"{{'method': 'load', 'source': '{lora_run}/adapter'}}",
        "data.encoder_length": "64",
        "data.holdout": "0.5",
        "data.characters": "()",
        "data.evaluation.limit": "16",
        "rollout.length_range": "(4, 7)",
        "generation.min_length": "2",
    }
    parity = load_config("lab3_ppo.py:parity", {})
    rewards = {"clean": CLEAN | {"text": parity.rewards["clean"].text}}
    ppo.run(tiny(changes, rewards, "lab3_ppo.py:parity"), str(tmp_path))
    report = report_of(tmp_path)
    # The reference is the model below the adapter.
    assert abs(report["training"]["KL at step 1"]) > 1e-3
    # The first token of each response counts for nothing.
    lines = [
        json.loads(line) for line in (tmp_path / "distributions.jsonl").read_text().splitlines()
    ]
    for line in lines:
        assert len(line["objective/logprobs"]) == sum(line["tokens/responses_dist"]) - 8
        assert set(line["tokens/responses_dist"]) <= {2, 3, 4, 5, 6}
    # Reward and toxicity read the prompt.
    scored = [text for text in judge.read if "Summarize the following" in text]
    assert any("</s><pad>" in text for text in scored) and any(
        "</s>" not in text for text in scored
    )
    # 11 samples, ours beside the published numbers.
    assert [line["texts"] for line in report["toxicity of responses"]] == [11, 11]
    assert report["evaluation"]["rows"] == 16
    runs = [line["run"] for line in report["published"]]
    assert runs[:2] == ["ours, before", "ours, after"] and "labs, before, lowest" in runs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ppo.minibatch_size": "3"}, "minibatch_size = 3 does not divide the 8 responses"),
        ({"ppo.advantage": "rloo"}, "samples_per_prompt = 1: rloo"),
        ({"generation": "{'do_sample': False}"}, "a rollout samples"),
        ({"rollout.length_range": "(2, 99)"}, "length_range goes up to 98 tokens"),
        ({"data.characters": "(1, 2)"}, "no row has a dialogue of 1 to 1 characters"),
        ({"toxicity.source": "train:no.py"}, "config.toxicity.source: .*there is no file no.py"),
        (
            {"adapter": "{'method': 'soft_prompt', 'length': 2, 'init_from': 'vocabulary'}"},
            "PPO generates with merged weights",
        ),
        (
            {
                "adapter": "{'method': 'none'}",
                "reference.source": "base",
                "train.trainable": "full",
            },
            "'base' is the model below an adapter",
        ),
        (
            {"adapter": "{'method': 'none'}"},
            "config.train.trainable: 'adapters/.*' matches no path",
        ),
        ({"adapter": "{'method': 'load', 'source': 'nowhere'}"}, "nowhere: no such directory"),
        ({"generation.suppress_tokens": "[999999]"}, "suppress_tokens: token 999999 is outside"),
        (
            {"optimizer.weight_decay": "0.1", "optimizer.no_weight_decay": "('nothing',)"},
            "config.optimizer: pattern 'nothing' matches no parameter",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_slow(judge, changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        ppo.run(tiny(changes), str(tmp_path))
    assert not (tmp_path / "config.json").exists()


def test_swapped_labels_are_told_before_the_first_step(judge):
    """The lab's look at the reward model. Here the toxic text is the longer one."""
    probes = {"clean": "nice", "toxic": "what an awful person"}
    row = {"id": "0", "dialogue": "", "summary": ""}
    for label, swapped in (("nothate", False), ("hate", True)):
        reward = make_rewards(
            rewards_of({"clean": {**CLEAN, "label": label}}),
            lambda source: CountsWords(),
            "config.rewards",
        )

        def judged(rows, texts, reward=reward):
            return reward(rows, texts) * -1

        table, found = probe(probes, row, reward, judged)
        assert [line["meant to be"] for line in table] == ["clean", "toxic"]
        assert table[0]["clean, logits"] == "hate 0.100, nothate -0.100"
        assert any("config.rewards.clean.label" in text for text in found) == swapped
        assert any("config.toxicity.label" in text for text in found) == swapped


def test_the_labs_split():
    """10,022 rows in range give 8,017 and 2,005, the last ones, in their order."""
    data = load_config("lab3_ppo.py:parity", {"data.evaluation.limit": "0"}).data
    lengths = [500] * 10_022 + [10] * 200
    rows = [{"id": str(i), "dialogue": "x" * length} for i, length in enumerate(lengths[::-1])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("t5x_lite.wiring.holdout.read_rows", lambda section, name: rows)
        train, evaluation = read_with_holdout(
            data, 0, lambda rows: in_range(rows, "dialogue", data.characters)
        )
    assert (len(train), len(evaluation)) == (8017, 2005)
    assert train[0]["id"] == "200" and evaluation[-1] == rows[-1]


def test_a_reward_that_is_down_and_comes_back(judge, lora_run, tmp_path, monkeypatch):
    """At step 2, before any checkpoint was due: step 1 is saved, and the same command ends where the other run did."""
    asked = []

    def down(rows, responses, words):
        asked.append(len(responses))
        if asked.count(8) == 2:
            raise ConnectionError("no route to host")
        return length(rows, responses, words=words)

    length = functions.length
    monkeypatch.setattr(functions, "length", down)
    with pytest.raises(RewardFailed) as raised:
        ppo.run(tiny(), str(tmp_path))
    message = str(raised.value)
    assert message.startswith("step 2: config.rewards.short (t5x_lite.rl.functions:length) failed:")
    assert "no route to host" in message and "step 1 is saved" in message and "\n" not in message
    assert (tmp_path / "checkpoints" / "1").exists()
    monkeypatch.setattr(functions, "length", length)
    ppo.run(tiny(), str(tmp_path))
    assert metrics_of(tmp_path) == metrics_of(lora_run)
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / name).read_bytes() == (lora_run / name).read_bytes()


@pytest.mark.slow
def test_a_policy_that_diverges_is_not_exported(judge, tmp_path):
    changes = {"schedule.learning_rate": "1e30", "ppo.steps": "9", "mode": "parity"}
    with pytest.raises(Diverged) as raised:
        ppo.run(tiny(changes | {"divergence.in_a_row": "2"}), str(tmp_path))
    assert raised.value.tensor and raised.value.examples
    assert report_of(tmp_path)["diverged"]["began at step"] == raised.value.first
    assert not (tmp_path / "adapter").exists() and not (tmp_path / "merged").exists()


def test_how_a_reward_is_called_may_change_and_what_it_is_may_not(tmp_path):
    claim_workdir(open_workdir(str(tmp_path), tiny()), tiny())
    patient = SHORT | {"retries": 5, "wait_seconds": 9.0, "timeout_seconds": 60.0}
    open_workdir(str(tmp_path), tiny(rewards={"short": patient}))
    with pytest.raises(InputError, match="config.rewards.short.weight was 1.0, is 2.0"):
        open_workdir(str(tmp_path), tiny(rewards={"short": SHORT | {"weight": 2.0}}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wrods": 3}, "config.rewards.short.arguments: .*length is called as .*'words'"),
        ({"words": 0}, "reward length: its argument words must be"),
    ],
)
def test_a_rewards_arguments_are_tried_before_the_folder_is_claimed(
    judge, tmp_path, arguments, message
):
    with pytest.raises(InputError, match=message):
        ppo.run(tiny(rewards={"short": SHORT | {"arguments": arguments}}), str(tmp_path))
    assert not (tmp_path / "config.json").exists()

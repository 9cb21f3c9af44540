"""What the pod check holds of PPO's rewards and judges: every model that a config names, as a run lays it."""

import json
from typing import Any

import jax
import pytest
from etils import epath

from t5x_lite.config import load_config
from t5x_lite.data.classifier_text import of_vocabulary
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.errors import InputError
from t5x_lite.evaluation.text_classifier import load_text_classifier
from t5x_lite.interop.classifiers import save_classifier
from t5x_lite.models.classifier_init import abstract_module, init_module, text_examples
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.encoder_config import EncoderConfig
from t5x_lite.models.t5_classifier import T5Classifier
from t5x_lite.parallel.mesh import make_mesh, on_mesh
from t5x_lite.pods.chips import topology_of
from t5x_lite.tasks.pod_check.compile import held_bytes
from t5x_lite.tasks.pod_check.judges import judges_of, trained_by
from t5x_lite.tasks.pod_check.ppo import rollout_programs
from t5x_lite.wiring.classifier_training import load_classifier
from t5x_lite.wiring.text import read_rows
from tests.tasks.test_pod_check import LORA, SMALLER, described, smaller

ROBERTA = {  # roberta-base, of which facebook/roberta-hate-speech-dynabench-r4-target is one
    "model_type": "roberta", "vocab_size": 50265, "hidden_size": 768, "intermediate_size": 3072,
    "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 514,
    "type_vocab_size": 1, "pad_token_id": 1,
}  # fmt: skip


@pytest.fixture
def roberta(tmp_path) -> str:
    (tmp_path / "config.json").write_text(json.dumps(ROBERTA))
    return str(tmp_path)


@pytest.mark.parametrize("field", ["rewards.clean", "toxicity", "judges.other"])
def test_the_weights_of_every_reward_and_judge_are_held(roberta: str, field: str):
    flags = {f"{field}.source": roberta}
    if field == "judges.other":
        section = {"source": roberta, "label": "LABEL_1", "text": "{response}"}
        flags = {"judges": str({"other": section})}
    config = smaller("ppo_update", adapter=LORA)
    asking = load_config("pod_check.py:runlocal,ppo_update", SMALLER | {"adapter": LORA} | flags)
    topology = topology_of("cpu:8")
    plain, held = (held_bytes(one, topology, one.mesh.sizes()) for one in (config, asking))
    # 124.65 million in float32, over fsdp 4 and model 2; 50,265 tokens are no multiple of 2, and lie over fsdp alone.
    embeddings = 50265 * 768
    wanted = 4 * ((124.65e6 - embeddings) / 8 + embeddings / 4)
    assert held - plain == pytest.approx(wanted, rel=0.01)


def test_a_reward_has_a_row_of_its_own(roberta: str):
    config = smaller(
        "ppo", rewards__clean__source=roberta, ppo__prompts="40", ppo__accumulation="1"
    )
    (reward, toxicity) = (judge for judge in judges_of(config, make_mesh(config.mesh.sizes())))
    assert (reward.name, reward.source, reward.longest) == ("rewards.clean", roberta, 512)
    assert reward.parameters == pytest.approx(124.65e6, rel=1e-3)
    assert (toxicity.name, toxicity.longest) == ("toxicity", 192)


def test_rewards_are_asked_in_every_step_and_judges_are_not(roberta: str):
    config = smaller("ppo", rewards__clean__source=roberta, ppo__prompts="40")
    with on_mesh(make_mesh(config.mesh.sizes())) as mesh:
        programs = rollout_programs(config, mesh)
    times = {program.name: program.times for program in programs if program.judge}
    assert times == {"rewards.clean": 2, "toxicity": 0}, "40 responses, 32 at a time"


@pytest.mark.parametrize("family", ["roberta", "t5"])
def test_a_judge_lies_as_a_run_lays_it(tmp_path, family: str):
    """Also where an axis of the mesh does not divide a dimension: 3 labels, 50 positions."""
    labels = ("a", "b", "c")
    module: Any = EncoderClassifier(
        EncoderConfig(
            family="roberta", vocab_size=64, d_model=16, d_ff=24, num_layers=1, num_heads=2,
            max_positions=50, labels=labels, pad_token_id=1,
        )
    )  # fmt: skip
    if family == "t5":
        t5 = T5Config(
            vocab_size=64, d_model=16, d_kv=8, d_ff=24, num_encoder_layers=1, num_decoder_layers=1,
            num_heads=2, tie_word_embeddings=True, scale_decoder_outputs=True, feed_forward_proj="relu",
        )  # fmt: skip
        module = T5Classifier(t5, labels, Execution())
    params = init_module(module, jax.random.key(0), *text_examples(module))
    save_classifier(tmp_path, module, params, of_vocabulary(load_vocabulary("nano"), 48))
    config = smaller(
        "ppo", judges=str({"x": {"source": str(tmp_path), "label": "a", "text": "model"}})
    )
    with on_mesh(make_mesh(config.mesh.sizes())) as mesh:
        *_, judge = judges_of(config, mesh)
        classifier = load_text_classifier(tmp_path, mesh=mesh)
    assert described(judge.params) == described(classifier.params)
    assert judge.longest == classifier.tokenizer.max_length
    assert judge.module.labels == classifier.labels


RECIPES = {
    "a T5": ("classifier.py:runlocal", {}),
    "a BERT": ("classifier.py:wikidetox", {"tokenizer.vocab_size": "480"}),
    "a T5's encoder": ("classifier.py", {"model.source": "nano", "tokenizer.source": "model"}),
    "a scorer": ("reward.py", {}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_it_would_train(tmp_path, name: str):
    config = load_config(*RECIPES[name])
    labels = ("score",) if config.task == "reward" else ("hate", "nothate")
    rows = read_rows(load_config("classifier.py:runlocal", {}).data.train, "train")
    with on_mesh(make_mesh({"slice": 1, "data": 8, "fsdp": 1, "model": 1})) as mesh:
        loaded = load_classifier(config, labels, rows, mesh, epath.Path(tmp_path))
    module, longest = trained_by(config)
    assert type(module) is type(loaded.module)
    shapes, _ = abstract_module(module, *text_examples(module))
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == jax.tree.map(
        lambda leaf: leaf.shape, loaded.abstract
    )
    assert longest == loaded.tokenizer.max_length


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("train:quickstart.py", "is of the task 'finetune', which makes no classifier"),
        ("./nowhere", "no such directory"),
        ("nobody/nothing", "not to be had from the Hugging Face hub"),
    ],
)
def test_a_source_that_is_not_known_is_one_line(source: str, message: str):
    config = smaller("ppo", rewards__clean__source=source)
    with pytest.raises(InputError, match=message) as error:
        judges_of(config, make_mesh(config.mesh.sizes()))
    assert str(error.value).startswith("config.rewards.clean.source: ")
    assert "config.json" in str(error.value) and "\n" not in str(error.value)

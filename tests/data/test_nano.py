"""The model that comes with the package: small, loaded by name, torch's equal, and it reads the dialogue."""

import json
import pathlib

import numpy as np
import pytest
import torch
import transformers

import t5x_lite
from t5x_lite import load_pretrained
from t5x_lite.config import load_config
from t5x_lite.data.prompts import FewShot
from t5x_lite.data.prompts_build import Budget, build_prompts
from t5x_lite.data.sources import load_rows
from t5x_lite.data.templates import TEMPLATES
from t5x_lite.evaluation.baselines import shuffled
from t5x_lite.evaluation.rouge import score_rows, split_sentences

FOLDER = pathlib.Path(t5x_lite.__file__).parent / "data" / "nano"
COLUMNS = {name: name for name in ("dialogue", "summary", "brief", "topic")}


@pytest.fixture(scope="module")
def nano():
    return load_pretrained("nano")


@pytest.fixture(scope="module")
def rows():
    return load_rows("bundled", "test", COLUMNS, id_column="id", exclude="", limit=32)


def ask(nano, rows, template):
    prompts = [TEMPLATES[template].format(dialogue=row["dialogue"]) for row in rows]
    return nano.generate(prompts, max_new_tokens=112)


def rouge1(texts, references):
    scores = score_rows(
        [split_sentences(text) for text in texts],
        [split_sentences(text) for text in references],
        use_stemmer=True,
        rouge_types=("rouge1",),
    )
    return 100 * float(scores["rouge1"].mean())


def test_it_is_small_and_says_what_it_is():
    files = {file.name: file.stat().st_size for file in FOLDER.iterdir()}
    assert sum(files.values()) <= 8e6
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md"} <= set(files)
    assert {"tokenizer.json", "tokenizer_config.json"} <= set(files)


def test_transformers_reads_it_and_agrees(nano, rows):
    theirs = transformers.T5ForConditionalGeneration.from_pretrained(FOLDER).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    prompts = [TEMPLATES["instruction"].format(dialogue=row["dialogue"]) for row in rows[:4]]
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    ids = [nano.tokenizer.encode([prompt], add_eos=True)[0] for prompt in prompts]
    masks = batch.attention_mask.bool()
    assert [row[mask].tolist() for row, mask in zip(batch.input_ids, masks, strict=True)] == ids
    labels = tokenizer([row["brief"] for row in rows[:4]], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**batch, labels=labels.input_ids).logits.numpy()
    decoder = np.pad(labels.input_ids.numpy(), ((0, 0), (1, 0)))[:, :-1].astype(np.int32)
    ours = np.asarray(
        nano.logits(
            {
                "encoder_input_tokens": batch.input_ids.numpy().astype(np.int32),
                "decoder_input_tokens": decoder,
            }
        )
    )
    assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()


def test_its_summaries_are_of_their_own_dialogue(nano, rows):
    """Handed to other dialogues they lose most of what a constant text has not: it reads."""
    texts = ask(nano, rows, "instruction")
    references = [row["brief"] for row in rows]
    others = shuffled(texts, np.arange(len(rows)), seed=0)
    assert rouge1(texts, references) > rouge1(others, references) + 20


@pytest.mark.slow
def test_a_solved_example_in_the_prompt_shows_it_the_wording(nano, rows):
    prompt = FewShot("what_was_going_on", (0,), "", "\n\n\n")
    shots = load_rows("bundled", "train", COLUMNS, id_column="id", exclude="", limit=1)
    built = build_prompts(
        prompt, rows, nano.tokenizer, shots=shots, target="{summary}", field="dialogue",
        budget=Budget(1024, "error", "one_shot"),
    )  # fmt: skip
    width = max(map(len, built.ids))
    tokens = np.array([ids + [0] * (width - len(ids)) for ids in built.ids], np.int32)
    one_shot = nano.tokenizer.decode(np.asarray(nano.generate_tokens(tokens, max_new_tokens=112)))
    references = [row["summary"] for row in rows]
    assert rouge1(one_shot, references) > rouge1(ask(nano, rows, "what_was_going_on"), references)


def test_its_config_is_the_one_that_trains_it():
    config = json.loads((FOLDER / "config.json").read_text())
    recipe = load_config("nano.py", {})
    for ours, theirs in (
        ("d_model", "d_model"), ("d_kv", "d_kv"), ("d_ff", "d_ff"), ("num_heads", "num_heads"),
        ("num_encoder_layers", "num_layers"), ("num_decoder_layers", "num_decoder_layers"),
    ):  # fmt: skip
        assert recipe.model.architecture[ours] == config[theirs]

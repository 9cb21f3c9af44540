"""Every family and every variation of its files against transformers, on whole directories, as one table.

With T5X_LITE_TABLE=FILE the table is written there, as markdown for the documentation.
"""

import functools
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest
import torch
import transformers

from t5x_lite import load_pretrained
from t5x_lite.data.classifier_text import load_classifier_tokenizer
from t5x_lite.decoding.generate import Generator
from t5x_lite.interop.classifiers import open_classifier, save_classifier
from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5
from tests.interop.whole_directories import (
    FAMILIES,
    LABELS,
    TEXTS,
    edit_json,
    into_bin,
    into_msgpack,
    into_shards,
    rewrite,
    write_family,
)

COLUMNS = (
    "loads",
    "ids equal",
    "logits to 1e-4",
    "greedy equal",
    "exported, loaded by transformers",
)
NEW_TOKENS = 8


def renamed(change):
    return lambda where: rewrite(where, lambda state: {change(n): t for n, t in state.items()})


def old_norm(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"
    )


def with_value_head(state):
    return state | {
        "v_head.summary.weight": torch.ones(1, 32),
        "v_head.summary.bias": torch.ones(1),
    }


def with_decoder_embeddings_alone(state):
    return {n.replace("shared.", "decoder.embed_tokens."): t for n, t in state.items()}


def beside_msgpack(where):
    """An old Flax file with other weights, and newer ones of torch."""
    shutil.copy(where / "model.safetensors", where / "kept")
    rewrite(where, lambda state: {n: t / 2 for n, t in state.items()})
    into_msgpack(where)
    (where / "kept").rename(where / "model.safetensors")


def legacy(where):
    (where / "generation_config.json").unlink()
    edit_json(where / "config.json", no_repeat_ngram_size=2, max_length=7)


# What a directory may hold otherwise; * marks what transformers does not read (the oracle is then the plain directory).
T5_VARIATIONS = {
    "as it is": lambda where: None,
    "sharded safetensors": lambda where: into_shards(where, "safetensors"),
    "pytorch_model.bin": into_bin,
    "sharded pytorch_model.bin": lambda where: into_shards(where, "bin"),
    "flax_model.msgpack *": into_msgpack,
    "an old flax_model.msgpack beside": beside_msgpack,
    "bfloat16 weights": lambda where: rewrite(
        where, lambda state: {n: t.bfloat16() for n, t in state.items()}
    ),
    "module. in front *": renamed(lambda name: f"module.{name}"),
    "_orig_mod. in front *": renamed(lambda name: f"_orig_mod.{name}"),
    "pretrained_model. and a value head *": lambda where: rewrite(
        where,
        lambda state: {f"pretrained_model.{n}": t for n, t in state.items()}
        | {"v_head.summary.weight": torch.ones(1, 32)},
    ),
    "a value head": lambda where: rewrite(where, with_value_head),
    "the decoder's embedding alone": lambda where: rewrite(where, with_decoder_embeddings_alone),
    "inert generation flags": lambda where: edit_json(
        where / "generation_config.json", temperature=0.3, early_stopping=True, use_cache=False, note="x"
    ),
    "generation defaults": lambda where: edit_json(
        where / "generation_config.json", no_repeat_ngram_size=2, repetition_penalty=1.3, max_length=7
    ),
    "old defaults in config.json": legacy,
    "several ends": lambda where: edit_json(
        where / "generation_config.json",
        eos_token_id=[2, *range(40, 60)] if "MADLAD" in str(where) else [1, *range(40, 60)],
    ),
    "no generation_config.json": lambda where: (where / "generation_config.json").unlink(),
}  # fmt: skip
# For all variations the first family of each kind stands; the others are tried as they are, and in what is theirs.
T5_ROWS = [("T5 1.0", variation) for variation in T5_VARIATIONS] + [
    (family, variation)
    for family in ("T5 1.1, FLAN-T5", "mT5", "UMT5", "ByT5", "MADLAD-400")
    for variation in (
        "as it is",
        "pytorch_model.bin",
        "the decoder's embedding alone",
        "several ends",
    )
]
ENCODER_VARIATIONS = {
    "as it is": ("", lambda where: None),
    "pytorch_model.bin": ("", into_bin),
    "gamma and beta": ("", renamed(old_norm)),
    "module. in front *": ("", renamed(lambda name: f"module.{name}")),
    "saved bare": ("Model", lambda where: None),
    "saved bare, gamma and beta": ("Model", renamed(old_norm)),
    "masked-LM head": ("ForMaskedLM", lambda where: None),
    "question answering head": ("ForQuestionAnswering", lambda where: None),
    "token classification head": ("ForTokenClassification", lambda where: None),
    "several labels at once": (
        "",
        lambda where: edit_json(where / "config.json", problem_type="multi_label_classification"),
    ),
}
ENCODER_ROWS = [
    (family, variation)
    for family in ("BERT", "RoBERTa", "DistilBERT", "XLM-R")
    for variation in ENCODER_VARIATIONS
]
TABLE: dict[tuple[str, str], dict[str, str]] = {}


@functools.cache
def programs(config):
    """What computes logits and greedy tokens; the same for all directories of one architecture."""
    return jax.jit(T5(config, Execution()).apply), Generator(config, Execution())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """plain(family, task) -> its directory as it is."""
    root = tmp_path_factory.mktemp("families")

    @functools.cache
    def make(family, task=""):
        torch.set_num_threads(1)
        return write_family(family, root / f"{family.replace(' ', '_')}{task}", task)

    return make


def up_to_end(tokens, ends):
    tokens = list(map(int, tokens))
    found = [n for n, token in enumerate(tokens) if token in ends]
    return tokens[: found[0] + 1] if found else tokens


def torch_t5(where):
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(where).float().eval()
    fields = transformers.AutoConfig.from_pretrained(where).to_dict()
    assert "T5" in type(model).__name__ and fields
    return model


def row_of(family, variation, cells):
    TABLE[family, variation] = dict(zip(COLUMNS, cells, strict=True))
    assert all(cell in ("yes", "–") for cell in cells), TABLE[family, variation]


def word(true):
    return "yes" if true else "NO"


@pytest.mark.parametrize("family, variation", T5_ROWS, ids=str)
def test_a_t5_is_that_of_transformers(plain, tmp_path, family, variation):
    where = shutil.copytree(
        plain(family), tmp_path / "MADLAD" if "MADLAD" in family else tmp_path / "m"
    )
    T5_VARIATIONS[variation](where)
    oracle = plain(family) if variation.endswith("*") else where
    model = torch_t5(oracle)
    t5 = load_pretrained(where)
    theirs = transformers.AutoTokenizer.from_pretrained(where)
    ids = t5.tokenizer.encode(TEXTS, add_eos=True)
    equal_ids = ids == theirs(TEXTS)["input_ids"]
    pad = t5.config.pad_token_id
    tokens = np.full((len(ids), max(map(len, ids))), pad, np.int32)
    for line, row in zip(tokens, ids, strict=True):
        line[: len(row)] = row
    answer = np.array([[0, 7, 30, 12], [0, 12, 11, 9]], np.int32)
    inputs = torch.tensor(tokens).long()
    with torch.no_grad():
        expected = model(
            input_ids=inputs,
            attention_mask=(inputs != pad).long(),
            decoder_input_ids=torch.tensor(answer).long(),
        ).logits.numpy()
        greedy = model.generate(
            input_ids=inputs, attention_mask=(inputs != pad).long(), do_sample=False,
            **({} if "default" in variation else {"max_new_tokens": NEW_TOKENS}),
        )  # fmt: skip
    apply, generator = programs(t5.config)
    params = jax.tree.map(lambda leaf: leaf.astype("float32"), t5.params)
    logits = np.asarray(apply({"params": params}, tokens, answer))
    close = np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    settings = t5.settings.updated({} if "default" in variation else {"max_new_tokens": NEW_TOKENS})
    found = np.asarray(generator.generate(params, tokens, settings, jax.random.key(0)).tokens)
    ends = np.atleast_1d(model.generation_config.eos_token_id).tolist()
    equal = [up_to_end(row, ends) for row in found] == [up_to_end(row[1:], ends) for row in greedy]
    t5.save_pretrained(tmp_path / "out")
    again = torch_t5(tmp_path / "out")
    state = model.state_dict()
    kept = all(torch.equal(state[n], t.float()) for n, t in again.state_dict().items())
    kept &= again.config.model_type == model.config.model_type
    row_of(family, variation, ("yes", *map(word, (equal_ids, close, equal, kept))))


@pytest.mark.parametrize("family, variation", ENCODER_ROWS, ids=str)
def test_an_encoder_is_that_of_transformers(plain, tmp_path, family, variation):
    task, change = ENCODER_VARIATIONS[variation]
    where = shutil.copytree(plain(family, task), tmp_path / "m")
    change(where)
    oracle = plain(family, task) if variation.endswith("*") else where
    opened = open_classifier(where, labels=tuple(LABELS.values()) if task else None)
    params = opened.read()
    tokenizer = load_classifier_tokenizer(where, opened.module.config.max_length)
    ids = tokenizer.encode(TEXTS)
    equal_ids = ids == transformers.AutoTokenizer.from_pretrained(where)(TEXTS)["input_ids"]
    tokens = np.full((len(ids), max(map(len, ids))), opened.module.config.pad_token_id, np.int32)
    for line, row in zip(tokens, ids, strict=True):
        line[: len(row)] = row
    module, inputs = opened.module, torch.tensor(tokens).long()
    mask = (inputs != module.config.pad_token_id).long()
    if task:
        model = transformers.AutoModel.from_pretrained(oracle).eval()
        with torch.no_grad():
            expected = model(input_ids=inputs, attention_mask=mask).last_hidden_state.numpy()
        found = np.asarray(module.apply({"params": params}, tokens, method=module.encode))
        expected, found = expected[mask == 1], found[mask == 1]
    else:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(oracle).eval()
        with torch.no_grad():
            expected = model(input_ids=inputs, attention_mask=mask).logits.numpy()
        found = np.asarray(module.apply({"params": params}, tokens))
    close = np.abs(found - expected).max() <= 1e-4 and np.ptp(expected) > 0.1
    save_classifier(tmp_path / "out", module, params, tokenizer)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    state, trunk = again.state_dict(), again.base_model_prefix
    kept = again.config.problem_type == model.config.problem_type or bool(task)
    for name, tensor in model.state_dict().items():
        name = f"{trunk}.{name}" if task else name
        kept &= name not in state or torch.equal(state[name], tensor)
    row_of(family, variation, ("yes", *map(word, (equal_ids, close)), "–", word(kept)))


def test_the_table_is_whole_and_written():
    """Last in the file: the rows that were tried, as the documentation shows them."""
    lines = [
        f"| family | files | {' | '.join(COLUMNS)} |",
        f"|---|---|{'---|' * len(COLUMNS)}",
        *(
            f"| {family} | {variation.removesuffix(' *')} | {' | '.join(cells.values())} |"
            for (family, variation), cells in TABLE.items()
        ),
    ]
    if file := os.environ.get("T5X_LITE_TABLE"):
        pathlib.Path(file).write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert set(TABLE) == set(T5_ROWS) | set(ENCODER_ROWS)
    assert {family for family, _ in T5_ROWS + ENCODER_ROWS} == set(FAMILIES)
    assert all(set(cells) == set(COLUMNS) for cells in TABLE.values())

"""Generated tokens against torch's `generate`, over scripts/decoding_parity.py's cases: every variant of T5, and nano.

Margins, excuses and what must hold of the rows (half of them ended by eos, at varied lengths) are the script's.
"""

import dataclasses
import pathlib
from typing import Any, NamedTuple

import decoding_parity
import numpy as np
import pytest
from decoding_cases import Case, make_cases, make_families
from decoding_parity import Result, Subject, check, compare, table

from t5x_lite import load_pretrained
from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.sources import load_rows
from t5x_lite.data.templates import render
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.interop.hf import load_hf, save_hf
from t5x_lite.models.config import Execution
from tests.decoding.conftest import T5_1_0, T5_1_1, lively_params

WORDS = "one two three four five six seven eight nine ten and or but not so he she it they we"


class Variant(NamedTuple):
    """What is changed of T5 1.1, how large the logits of eos are, and which families of cases it takes."""

    changes: dict[str, Any]
    eos: float
    families: tuple[str, ...]
    alone: tuple[str, ...] = ()


# What does not depend on the model need not run on each: every family is on one at least, most in two forms.
VARIANTS = {
    "t5_1_1": Variant(
        {},
        2.6,
        ("greedy", "beams 2", "beams 4", "beams 8", "stop strings", "beams 4, stop strings"),
        ("greedy", "beams 4"),
    ),
    "t5_1_0": Variant(
        dataclasses.asdict(T5_1_0),
        1.5,
        ("greedy", "beams 4", "several eos", "beams 2, several eos", "much at once"),
    ),
    "gated_silu": Variant(
        {"feed_forward_proj": "gated-silu"}, 2.0, ("greedy", "beams 4", "repetition_penalty")
    ),
    "gated_relu": Variant(
        {"feed_forward_proj": "gated-relu"},
        3.2,
        ("greedy", "no_repeat_ngram_size", "beams 4, processed"),
    ),
    "gelu": Variant(
        {"feed_forward_proj": "gelu"},
        4.5,
        ("greedy", "bad_words_ids", "beams 3, bad words and forced eos"),
    ),
    "mt5": Variant({"model_type": "mt5"}, 3.2, ("greedy", "beams 8", "suppress_tokens")),
    "umt5": Variant(
        {"model_type": "umt5"}, 2.0, ("greedy", "beams 4", "encoder_repetition_penalty")
    ),
    "umt5_tied": Variant(
        {"model_type": "umt5", "tie_word_embeddings": True, "scale_decoder_outputs": True},
        2.0,
        ("greedy", "beams 2", "forced tokens"),
    ),
    "byt5": Variant(
        {"vocab_size": 384, "num_encoder_layers": 3, "num_decoder_layers": 1},
        3.2,
        (
            "greedy", "encoder_no_repeat_ngram_size", "no_repeat_ngram_size 1",
            "beams 4, of the input",
        ),
    ),
    "nano": Variant(
        {},
        0.0,
        ("greedy", "beams 4", "much at once", "stop strings"),
        ("greedy", "beams 4"),
    ),
}  # fmt: skip


def random_subject(name: str, folder: pathlib.Path) -> Subject:
    variant, execution = VARIANTS[name], Execution()
    config = dataclasses.replace(T5_1_1, **variant.changes)
    vocabulary = train_tokenizer(
        [f"abcdef {WORDS}"] * 9,
        folder / "tokenizer",
        TrainedTokenizerSettings(
            vocab_size=90,
            algorithm="bpe",
            user_defined_symbols=(),
            extra_ids=2,
            keep_newlines=True,
            byte_fallback=False,
            max_sentences=0,
        ),
    )
    save_hf(folder, config, lively_params(config, execution, 3, variant.eos), vocabulary)
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 13, 48)
    inputs = [[*rng.integers(2, config.vocab_size, n - 1).tolist(), 1] for n in lengths]
    loaded = load_hf(folder, param_dtype=None)
    assert loaded[0] == config
    return Subject.load(name, folder, *loaded, vocabulary, inputs)


def nano_subject(folder: pathlib.Path) -> Subject:
    t5 = load_pretrained("nano")
    t5.save_pretrained(folder)
    rows = load_rows(
        "bundled", "test", {"dialogue": "dialogue"}, id_column="id", exclude="", limit=0
    )
    ids = t5.tokenizer.encode([render("instruction", row) for row in rows], add_eos=True)
    short = sorted(ids, key=len)[:48]
    return Subject.load("nano", folder, t5.config, t5.params, t5.tokenizer, short)


def cases_of(
    name: str, plain: tuple[np.ndarray, np.ndarray], vocabulary: Any, longest: int, everything: bool
) -> list[Case]:
    variant = VARIANTS[name]
    families = make_families(*plain, vocabulary, longest)
    if not everything:
        families = {name: each for name, each in families.items() if name in variant.families}
    return make_cases(families, tuple(families) if everything else variant.alone)


def run_cases(name: str, folder: pathlib.Path, everything: bool) -> None:
    subject = nano_subject(folder) if name == "nano" else random_subject(name, folder)
    longest = 64 if name == "nano" else 32
    results: dict[str, Result] = {}
    for case in cases_of(name, subject.plain(longest), subject.vocabulary, longest, everything):
        result = compare(subject, case)
        for key in (case.name.split(":")[0], "all"):
            results.setdefault(key, Result()).add(result)
    problems = check(results["all"])
    assert not problems, "\n".join([*problems, table(results)])


def test_there_are_200_cases_of_every_family():
    plain = np.arange(2, 34).reshape(4, 8), np.full(4, 8)
    cases = [case for name in VARIANTS for case in cases_of(name, plain, None, 32, False)]
    assert len(cases) >= 200 and {case.batch for case in cases} == {1, 8}
    families = {case.name.split(":")[0] for case in cases}
    assert families == set(make_families(*plain, None, 32))
    left = sum(case.left for case in cases)
    assert len(cases) / 3 < left < 2 * len(cases) / 3


# Nano's 88 cases take as long as those of five small models; the others differ in activations alone.
_QUICK = ("t5_1_1",)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow) for name in VARIANTS],
)
def test_tokens_are_torchs(name, tmp_path):
    run_cases(name, tmp_path, everything=False)


def test_a_difference_is_noticed(tmp_path, monkeypatch):
    """Other settings on torch's side: what differs then is no tie."""
    subject = random_subject("gelu", tmp_path)
    original = decoding_parity.torch_generate

    def other(model, inputs, settings, tokenizer):
        return original(model, inputs, settings | {"min_new_tokens": 20}, tokenizer)

    monkeypatch.setattr(decoding_parity, "torch_generate", other)
    result = compare(subject, Case("beams", {"max_new_tokens": 32, "num_beams": 2}, 8, False, 0))
    assert result.rows == 8 and len(result.wrong) >= 4
    assert check(result)[: len(result.wrong)] == result.wrong
    excused = Result(rows=150, ended=100, excused=["a", "b"])
    assert "2 of 150 rows had to be excused, more than 1 %" in check(excused)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_all_cases(name, tmp_path):
    run_cases(name, tmp_path, everything=True)

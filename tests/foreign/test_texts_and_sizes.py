"""Texts that act on what shows them, and sizes that nothing holds."""

import logging
import time

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t5x_lite import console, main
from t5x_lite.decoding.settings import GenerationSettings
from t5x_lite.decoding.structure import prepare
from t5x_lite.errors import InputError
from t5x_lite.evaluation import rouge
from t5x_lite.foreign.patterns import PatternError, matches, matches_own
from t5x_lite.parallel.memory import refuse_beyond_memory
from t5x_lite.params.sections import Lora
from t5x_lite.reports.tables import html_table, markdown_table
from t5x_lite.train.sections import StepsSettings
from tests.foreign.samples import CONFIG

HOSTILE = "a\x1b]0;title\x07\x1b[31m\u202e\u2066\x9b2J"


def test_nothing_of_a_file_acts_on_the_terminal(capsys):
    before = console.log.handlers[:], console.log.propagate
    try:
        console.setup()
        console.log.warning("the column %r, %s", HOSTILE, HOSTILE)
    finally:
        console.log.handlers[:], console.log.propagate = before
    with pytest.raises(SystemExit):
        main._exit(f"no column {HOSTILE}\nsecond", 2)
    shown = capsys.readouterr().err
    assert not set(shown) & set(HOSTILE) - {*"a]0;title[31m2J"}
    assert "\\x1b[31m" in shown and "\\u202e" in shown and "\\nsecond" in shown


@pytest.mark.parametrize("table", [markdown_table, html_table])
def test_nothing_of_a_file_turns_a_report(table):
    shown = table([HOSTILE], [[HOSTILE]])
    assert "\x1b" not in shown and "\u202e" not in shown and "u202e" in shown


def test_huge_texts_are_scored_in_seconds(monkeypatch, caplog):
    monkeypatch.setattr(rouge, "_MOST_WORDS", 300)
    text = "word other " * 9_000  # 99,000 characters
    start = time.monotonic()
    with caplog.at_level(logging.WARNING):
        scores = rouge.score_rows([text, "a b"], [text, "a c"], use_stemmer=False)
    assert time.monotonic() - start < 60
    assert scores["rouge1"].tolist() == [1.0, 0.5]
    assert "1 of 2 rows only the first 300 words" in caplog.text


def test_long_texts_are_scored_whole(monkeypatch, caplog):
    monkeypatch.setattr(rouge, "_MOST_WORDS", 4)
    texts = "one two three four five", "five"
    scores = rouge.score_rows([texts[0]], [texts[1]], use_stemmer=False)
    assert scores["rouge1"][0] == pytest.approx(1 / 3)
    assert not caplog.records


def test_patterns_are_matched_whole_and_without_backtracking():
    assert matches("a|b", "b") and not matches("a|b", "bc")
    assert not matches("(" * 12 + "a*" + ")*" * 12 + "b", "a" * 200)
    for bad in ("(", "a)|(b", "(?=a)", "a{,3}"):
        with pytest.raises(PatternError):
            matches(bad, "a")
    assert matches_own("(?!b).*", "ab") and not matches_own("(?!b).*", "ba")
    assert matches_own("a{,3}", "aa")


def test_whole_numbers_have_32_bits():
    with pytest.raises(InputError, match=r"alpha"):
        Lora(targets=(("a", 1),), alpha=10**400, dropout=0.0, rslora=False, dora=False)
    with pytest.raises(InputError, match="steps must be .* within 32 bits"):
        StepsSettings(steps=2**31)
    with pytest.raises(InputError, match="targets"):
        Lora(targets=(("a", 1 << 40),), alpha=1.0, dropout=0.0, rslora=False, dora=False)


def test_a_state_that_no_memory_holds():
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("data",)), PartitionSpec("data"))
    small = jax.ShapeDtypeStruct((2, 4), np.float32, sharding=sharding)
    refuse_beyond_memory({"a": small}, "the model")
    huge = jax.ShapeDtypeStruct((1 << 20, 1 << 28), np.float32, sharding=sharding)
    with pytest.raises(InputError, match=r"the model would take 1,024\.0 TiB on this machine"):
        refuse_beyond_memory({"a": small, "b": huge}, "the model")


@pytest.mark.parametrize("settings", [{"max_new_tokens": 2_000_000_000}, {"max_new_tokens": 2**31}])
def test_a_cache_that_no_memory_holds(settings):
    with pytest.raises(InputError, match="generation"):
        prepare(GenerationSettings(**settings), CONFIG, 64)

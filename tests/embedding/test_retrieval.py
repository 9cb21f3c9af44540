"""Dense retrieval: passages by their vectors, prompts that have them, and real dialogues found by their summaries."""

import json

import numpy as np
import pytest

from t5x_lite import load_encoder
from t5x_lite.data.prompts import DenseRetrieval
from t5x_lite.data.prompts_build import Budget, build_prompts
from t5x_lite.data.retrieval import Passages
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.embedding.scores import retrieval_scores
from t5x_lite.tasks.prompt.asked import _embed_of


def letters(texts):
    """Counts of letters: vectors that one can follow."""
    return np.array([[t.lower().count(c) for c in "abc"] for t in texts], np.float32)


def test_passages_are_found_by_their_vectors(tmp_path):
    (tmp_path / "all.txt").write_text("aaa\n\nbb b\n\nab ab\n")
    passages = Passages(str(tmp_path), letters)
    found = passages.search_all(["a", "b", "z"], 2)
    assert [[p.text for p in each] for each in found] == [
        ["aaa", "ab ab"],
        ["bb b", "ab ab"],
        ["aaa", "bb b"],  # nothing is like it: in file order
    ]
    assert [p.score for p in passages.search("a", 2)] == [3, 2]


def test_scores_of_a_search_that_ties_are_no_better_than_chance():
    tied = np.ones((4, 4), np.float32)
    assert retrieval_scores(tied, range(4)) == {
        "recall@1": 0.0, "recall@5": 1.0, "recall@10": 1.0, "mrr": 0.25,
    }  # fmt: skip


def test_the_task_asks_with_passages_that_the_encoder_found(bert, tmp_path):
    prompt = DenseRetrieval("{documents} {dialogue}", folder="x", passages=1, encoder=str(bert))
    vectors = _embed_of(prompt)(["Ann"])
    np.testing.assert_array_equal(vectors, load_encoder(bert).embed(["Ann"]))


def test_a_prompt_has_the_passages_that_are_most_like_its_row(tmp_path):
    (tmp_path / "all.txt").write_text("aaa\n\nbbb\n\nccc\n")
    prompt = DenseRetrieval(
        "{documents} | {dialogue}", folder=str(tmp_path), passages=1, encoder="x"
    )
    rows = [{"id": str(number), "dialogue": text} for number, text in enumerate(("cab c", "bb a"))]
    built = build_prompts(
        prompt, rows, load_vocabulary("nano"),
        shots=[], target="", field="dialogue", budget=Budget(64, "error", "it"), embed=letters,
    )  # fmt: skip
    assert built.texts == ["ccc | cab c", "bbb | bb a"]


@pytest.mark.slow  # a minute: MiniLM over real dialogues
def test_real_dialogues_are_found_by_their_summaries(minilm, shared_data):
    import score_retrieval

    lines = (shared_data / "dialogsum" / "dialogsum.dev.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines[:200]]
    queries, passages = [r["summary"] for r in rows], [r["dialogue"] for r in rows]
    embed = load_encoder(minilm).embed
    dense = retrieval_scores(embed(queries) @ embed(passages).T, range(len(rows)))
    words = retrieval_scores(score_retrieval.word_similarities(queries, passages), range(len(rows)))
    assert dense["recall@1"] > 0.85 and dense["mrr"] > 0.9
    # A summary repeats its dialogue's words, all of which BM25 reads.
    assert words["recall@1"] > 0.9

"""BM25 against a slow loop over its formula; passages and their places."""

import collections
import math
import re

import numpy as np
import pytest

from t5x_lite.data.retrieval import Passages
from t5x_lite.errors import InputError


def slow_bm25(documents: list[str], query: str) -> list[float]:
    """Lucene's BM25, term by term."""
    counts = [collections.Counter(re.findall(r"\w+", d.lower())) for d in documents]
    sizes = [sum(c.values()) for c in counts]
    scores = []
    for count, size in zip(counts, sizes, strict=True):
        score = 0.0
        for word in re.findall(r"\w+", query.lower()):
            containing = sum(word in c for c in counts)
            idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
            length = 1.5 * (1 - 0.75 + 0.75 * size / np.mean(sizes))
            score += idf * count[word] / (count[word] + length)
        scores.append(score)
    return scores


def test_scores_and_order_are_those_of_the_formula(rows, tmp_path):
    texts = [" ".join(row["dialogue"].split())[:300] for row in rows]
    (tmp_path / "all.txt").write_text("\n\n".join(texts))
    passages = Passages(str(tmp_path))
    assert len(passages) == len(texts)
    for query in (rows[3]["summary"], "umbrella, Umbrella potatoes"):
        expected = np.array(slow_bm25(texts, query))
        found = passages.search(query, 5)
        np.testing.assert_allclose([p.score for p in found], np.sort(expected)[::-1][:5], rtol=1e-4)
        assert found[0].text == texts[int(np.argmax(expected))]


def test_paragraphs_places_and_long_texts(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.md").write_text("# Title\n\ntwo\nlines\n\n\nlast one\n")
    (tmp_path / "a.txt").write_text(" ".join(f"w{i}" for i in range(250)))
    (tmp_path / "c.pdf").write_text("not read")
    passages = Passages(str(tmp_path))
    assert len(passages) == 3 + 3
    (found,) = passages.search("two", 9)
    assert found.text == "two lines" and found.place == f"{tmp_path}/sub/b.md:3"
    assert [p.text.split()[0] for p in passages.search("w0 w130 w249", 9)] == ["w240", "w0", "w120"]
    assert passages.search("nothing of the kind", 3) == []


def test_the_documents_that_ship():
    (best,) = Passages("bundled").search("My suitcase did not arrive, the airline lost luggage", 1)
    assert "baggage desk" in best.text


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        Passages(str(tmp_path / "none"))
    with pytest.raises(InputError, match="no text in its .txt and .md files"):
        Passages(str(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="a.txt: not UTF-8"):
        Passages(str(tmp_path))


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    (tmp_path / "a.txt").write_text("one\u2028two\n\nluggage lost\n", encoding="utf-8")
    (best,) = Passages(str(tmp_path)).search("luggage", 1)
    assert best.place.endswith("a.txt:3")


def test_a_query_without_words_finds_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("luggage lost\n\n- - -\n")
    for query in ("???", "", "- - -"):
        assert Passages(str(tmp_path)).search(query, 3) == []

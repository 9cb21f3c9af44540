"""Scores how well dialogues are found by their summaries: by BM25, and by a sentence encoder.

    python scripts/score_retrieval.py bundled sentence-transformers/all-MiniLM-L6-v2 --split test

The first argument is a source of rows as `data.train.source` takes it, the second a sentence encoder's directory or hub
id. What comes out is a table: recall at 1, 5 and 10, and the mean reciprocal rank.
"""

from __future__ import annotations

import argparse
import re

import bm25s
import numpy as np

from t5x_lite import load_encoder
from t5x_lite.console import log, setup
from t5x_lite.data.sources import load_rows
from t5x_lite.embedding.scores import retrieval_scores
from t5x_lite.reports.tables import markdown_table


def word_similarities(queries: list[str], passages: list[str]) -> np.ndarray:
    """BM25, float32 [queries, passages]."""

    def words(text: str) -> list[str]:
        return re.findall(r"\w+", text.casefold()) or [""]

    index = bm25s.BM25()
    index.index([words(text) for text in passages], show_progress=False)
    return np.stack([index.get_scores(words(text)) for text in queries])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("encoder")
    parser.add_argument("--split", default="")
    parser.add_argument("--query", default="summary")
    parser.add_argument("--passage", default="dialogue")
    given = parser.parse_args()
    setup()
    columns = {given.query: given.query, given.passage: given.passage}
    rows = load_rows(given.source, given.split, columns, id_column="", exclude="", limit=0)
    queries, passages = [r[given.query] for r in rows], [r[given.passage] for r in rows]
    embed = load_encoder(given.encoder).embed
    found = {
        "BM25": word_similarities(queries, passages),
        given.encoder: embed(queries) @ embed(passages).T,
    }
    scores = {name: retrieval_scores(each, range(len(rows))) for name, each in found.items()}
    header = ("search", *next(iter(scores.values())))
    table = [[name, *(f"{value:.3f}" for value in each.values())] for name, each in scores.items()]
    log.info("%d rows\n\n%s", len(rows), markdown_table(header, table))


if __name__ == "__main__":
    main()

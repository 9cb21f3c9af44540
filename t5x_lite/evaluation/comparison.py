"""Scores of a model's outputs: ROUGE with intervals, beside the baselines and the paired differences to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.data.groups import Drawn
from t5x_lite.evaluation import baselines, rouge
from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean, paired_difference
from t5x_lite.evaluation.rouge_tokens import NAME, WHAT_IT_DOES, has_other_letters
from t5x_lite.parallel.sharing import share_out_columns

Columns = dict[str, np.ndarray]  # rouge type -> float64 [rows]


def score_outputs(
    predictions: Sequence[str],
    references: Sequence[str],
    inputs: Sequence[str],
    *,
    use_stemmer: bool,
    bootstrap: Bootstrap,
    drawn: Drawn | None = None,
    lead_count: int | None = None,
    constants: Mapping[str, str] | None = None,
    shuffle_seed: int | None = None,
) -> tuple[dict[str, Any], Columns]:
    """Scores flattened rows (one reference a row: three references are three rows) -> (result, row scores).

    `inputs` are the raw dialogues: rows of equal text are one cluster, which the bootstrap draws together, and
    whose references make up the multi-reference score. `drawn` says otherwise which rows have one input (two questions
    about one text have not), and which were drawn together (those two; a patient, a conversation). The baselines are
    `lead_{lead_count}`, `constant` (from `constants`, the {rouge type: text} of `constants.best_constants`) and
    `shuffled`; None leaves one out.

    `result` is JSON-ready, scores between 0 and 1, an interval being {"mean", "low", "high"}:
        rows, inputs, groups (only if fewer than inputs): counts; use_stemmer
        tokenizer: which; only where a text has letters that rouge_score drops
        intervals: {confidence, resamples, seed}
        rouge: {type: interval}, every (output, reference) pair counted once
        rouge_multi_reference: {type: interval}, the best reference of each row; only where an input has several
        baselines: {name: {type: mean}};  differences: {name: {type: interval of ours minus theirs}}
        beats_baselines: {type: whether every difference lies above zero with its whole interval}; not without
            baselines, and of a single input or group never: one draw has no interval
        constant_texts: {type: text};  outputs: {empty, distinct, mean_words}

    Of several processes all must call this, with the same texts; they share out the ROUGE.

    Raises:
        InputError: no rows, or lengths that differ.
    """
    of_input = baselines.group_by_input(inputs) if drawn is None else drawn.inputs
    clusters = of_input if drawn is None else drawn.groups

    def columns(texts: Sequence[str], against: Sequence[Any]) -> Columns:
        return _columns(texts, against, use_stemmer)

    def intervals(scores: Columns) -> dict[str, dict[str, float]]:
        return {
            kind: dataclasses.asdict(bootstrap_mean(rows, bootstrap, clusters))
            for kind, rows in scores.items()
        }

    split_references = [rouge.split_sentences(text) for text in references]
    ours = columns(predictions, split_references)
    result: dict[str, Any] = {
        "rows": len(predictions),
        "inputs": int(of_input.max()) + 1,
        **({"groups": apart} if (apart := len(np.unique(clusters))) <= of_input.max() else {}),
        "use_stemmer": use_stemmer,
        **rouge_tokenizer([*predictions, *references]),
        "intervals": dataclasses.asdict(bootstrap),
        "rouge": intervals(ours),
        "outputs": describe_texts(predictions),
    }
    if result["inputs"] < result["rows"]:
        own: dict[int, list[str]] = {}
        for number, reference in zip(of_input.tolist(), split_references, strict=True):
            own.setdefault(number, []).append(reference)
        several = [own[number] for number in of_input.tolist()]
        result["rouge_multi_reference"] = intervals(columns(predictions, several))

    texts = baseline_texts(predictions, inputs, lead_count, shuffle_seed)
    opponents = {name: columns(theirs, split_references) for name, theirs in texts.items()}
    if constants is not None:
        by_text = {
            text: columns([text] * len(predictions), split_references)
            for text in dict.fromkeys(constants.values())
        }
        opponents["constant"] = {kind: by_text[constants[kind]][kind] for kind in ours}
        result["constant_texts"] = dict(constants)
    return result | _against(ours, opponents, bootstrap, clusters), ours


def describe_texts(texts: Sequence[str]) -> dict[str, float]:
    """How many are empty, how many distinct, and how many words they have on average."""
    return {
        "empty": sum(not text.strip() for text in texts),
        "distinct": len(set(texts)),
        "mean_words": float(np.mean([len(text.split()) for text in texts])),
    }


def baseline_texts(
    predictions: Sequence[str],
    inputs: Sequence[str],
    lead_count: int | None,
    shuffle_seed: int | None,
) -> dict[str, list[str]]:
    """The baselines that are texts of their own, one a row: {"lead_3": ..., "shuffled": ...}; None leaves one out."""
    texts = {}
    if lead_count is not None:
        texts[f"lead_{lead_count}"] = [baselines.lead(text, lead_count) for text in inputs]
    if shuffle_seed is not None:
        groups = baselines.group_by_input(inputs)
        texts["shuffled"] = baselines.shuffled(predictions, groups, shuffle_seed)
    return texts


def _columns(texts: Sequence[str], against: Sequence[Any], use_stemmer: bool) -> Columns:
    """Row scores; several processes share them out."""

    def of(own: slice) -> Columns:
        split = [rouge.split_sentences(text) for text in texts[own]]
        return rouge.score_rows(split, against[own], use_stemmer=use_stemmer)

    if len(texts) != len(against):
        return of(slice(None))  # which refuses it
    return share_out_columns(len(texts), of)


def _against(
    ours: Columns, opponents: Mapping[str, Columns], bootstrap: Bootstrap, clusters: np.ndarray
) -> dict[str, Any]:
    """baselines, differences, beats_baselines of a result."""
    differences = {
        name: {
            kind: paired_difference(ours[kind], scores[kind], bootstrap, clusters) for kind in ours
        }
        for name, scores in opponents.items()
    }
    result: dict[str, Any] = {
        "baselines": {
            name: {kind: float(rows.mean()) for kind, rows in scores.items()}
            for name, scores in opponents.items()
        },
        "differences": {
            name: {kind: dataclasses.asdict(interval) for kind, interval in kinds.items()}
            for name, kinds in differences.items()
        },
    }
    if differences:
        drawn_several = len(np.unique(clusters)) > 1
        result["beats_baselines"] = {
            kind: drawn_several and all(kinds[kind].low > 0 for kinds in differences.values())
            for kind in ours
        }
    return result


def rouge_tokenizer(texts: Sequence[str]) -> dict[str, str]:
    """{"tokenizer": which} for a report, where a text has letters that `rouge_score` drops; else {}."""
    return {"tokenizer": f"{NAME}: {WHAT_IT_DOES}"} if has_other_letters(texts) else {}

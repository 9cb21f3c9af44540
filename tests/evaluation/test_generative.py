"""Decoding a split: every row once, in order; samples.jsonl; and the comparison with baselines."""

import json
import math

import numpy as np
import pytest

from t5x_lite.data.buckets import make_shapes
from t5x_lite.data.features import Examples, Ragged
from t5x_lite.data.plan import Plan
from t5x_lite.errors import InputError
from t5x_lite.evaluation.comparison import score_outputs
from t5x_lite.evaluation.generative import Predictions, SamplesFile, generate_texts, own_batches
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.rouge import ROUGE_TYPES
from t5x_lite.parallel.mesh import make_mesh

BOOTSTRAP = Bootstrap(resamples=500, confidence=0.95, seed=0)


class Letters:
    """1 ends a text; 2.. are letters."""

    def decode(self, sequences):
        texts = []
        for ids in sequences:
            ids = list(ids)
            texts.append("".join(chr(95 + i) for i in ids[: ids.index(1)]))
        return texts


def plan(order, width=3):
    """Batches of rows whose input is their number, padded to `width` rows with -1."""
    for start in range(0, len(order), width):
        indices = np.full(width, -1)
        part = order[start : start + width]
        indices[: len(part)] = part
        yield indices, {"encoder_input_tokens": np.maximum(indices, 0)[:, None] + 2}


def decode(tokens, indices):
    return np.concatenate([tokens, tokens, np.ones_like(tokens)], axis=1)


def test_rows_come_back_in_order_once_each():
    order = [4, 0, 6, 2, 5, 1, 3]
    seen = []
    texts = generate_texts(
        decode, Letters(), plan(order), 7, on_text=lambda row, text: seen.append((row, text))
    )
    assert texts == ["aa", "bb", "cc", "dd", "ee", "ff", "gg"]
    assert [row for row, _ in seen] == order and dict(seen) == dict(enumerate(texts))


@pytest.mark.parametrize(
    ("order", "message"),
    [([0, 1, 1], "row 1 .* twice"), ([0, 1, 5], "row 5"), ([0, 2], "1 of 3 rows .* row 1")],
)
def test_plan_and_data_that_differ(order, message):
    with pytest.raises(InputError, match=message):
        generate_texts(decode, Letters(), plan(order), 3)


@pytest.mark.parametrize("data", [1, 8])
def test_own_batches_are_the_examples_by_their_indices(data):
    inputs = [[10 + row] * (1 + row % 3) for row in range(11)]
    examples = Examples(Ragged.from_lists(inputs), Ragged.from_lists([[1]] * 11))
    shapes = make_shapes([(1, 1), (3, 1)], size=8, tokens=0, row_multiple=8)
    batches = Plan(examples, shapes, seed=3, pack=False, pad_id=0, decoder_start_id=0)
    mesh = make_mesh({"slice": 1, "data": data, "fsdp": 1, "model": 8 // data})
    seen = []
    for indices, batch in own_batches(batches, mesh):
        for index, tokens in zip(indices, np.asarray(batch["encoder_input_tokens"]), strict=True):
            if index >= 0:
                assert [token for token in tokens.tolist() if token] == inputs[index]
                seen.append(index)
    assert sorted(seen) == list(range(11))


def test_samples_file_grows_while_decoding_and_ends_in_order(tmp_path):
    path = tmp_path / "run" / "samples.jsonl"
    file = SamplesFile(path, ["a", "b"], ["in a", "in\u2028b"], ["ref a", "ref b"])
    file.write(1, "out b")
    assert [json.loads(x)["id"] for x in path.read_text(encoding="utf-8").split("\n")[:-1]] == ["b"]
    file.write(0, "out a")
    file.finish({"rouge1": np.array([0.5, 1 / 3])})
    records = [json.loads(x) for x in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert records[0] == {
        "id": "a", "input": "in a", "reference": "ref a", "output": "out a", "scores": {"rouge1": 0.5},
    }  # fmt: skip
    assert records[1]["output"] == "out b" and records[1]["scores"] == {"rouge1": 0.333333}
    assert [p.name for p in path.parent.iterdir()] == ["samples.jsonl"]


def test_samples_without_references_have_neither_these_nor_scores(tmp_path):
    file = SamplesFile(tmp_path / "samples.jsonl", ["a"], ["in a"], None)
    file.write(0, "out a")
    file.finish({})
    assert json.loads((tmp_path / "samples.jsonl").read_text()) == {
        "id": "a", "input": "in a", "output": "out a",
    }  # fmt: skip


def rows(number):
    """Summaries that depend on the dialogue: a model that reads it must beat every baseline."""
    names = [f"name{i}" for i in range(number)]
    inputs = [f"Hello there.\nHow are you?\nFine.\nI am {name}." for name in names]
    references = [f"The speaker says that {name} goes home to {name}town" for name in names]
    return inputs, references


def compare(predictions, inputs, references, **changes):
    constants = dict.fromkeys(ROUGE_TYPES, "the speaker says that")
    settings = dict(lead_count=3, constants=constants, shuffle_seed=0)
    return score_outputs(
        predictions,
        references,
        inputs,
        use_stemmer=True,
        bootstrap=BOOTSTRAP,
        **(settings | changes),
    )


def test_damaged_lines_of_predictions_are_generated_again(tmp_path):
    path, ids, digests = tmp_path / "predictions.jsonl", {0: "a", 1: "b"}, {0: "x", 1: "y"}
    predictions = Predictions(path, ids, digests)
    for row in (0, 1):
        predictions.write(row, f"output {row}")
    predictions.finish()
    good = path.read_bytes().split(b"\n")[0]
    odd = [b"\xff\xfe", b"[" * 100_000, b"9" * 6000, b"null"]
    path.write_bytes(b"\n".join([*odd, good, b""]))
    again = Predictions(path, ids, digests)
    assert again.done == {0: "output 0"}
    again.finish()
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"predictions.jsonl: Is a directory; .* remove it"):
        Predictions(path, ids, digests)


def test_a_model_that_reads_beats_all_and_one_that_recites_does_not():
    inputs, references = rows(40)
    reads, scores = compare(references, inputs, references)
    assert reads["rouge"]["rouge1"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert (
        set(reads["baselines"]) == set(reads["differences"]) == {"lead_3", "constant", "shuffled"}
    )
    assert all(reads["beats_baselines"].values()) and len(scores["rouge2"]) == 40
    recites, _ = compare([references[0]] * 40, inputs, references)
    assert recites["differences"]["shuffled"]["rouge1"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert not any(recites["beats_baselines"].values())
    assert recites["outputs"]["distinct"] == 1
    json.dumps(reads, allow_nan=False)


def test_several_references_of_a_dialogue_are_clusters():
    inputs, references = rows(20)
    inputs = [text for text in inputs for _ in range(2)]
    references = [text for r in references for text in (r, "Something else was said")]
    predictions = [r for r in references[::2] for _ in range(2)]
    result, _ = compare(predictions, inputs, references, shuffle_seed=None, lead_count=None)
    assert (result["rows"], result["inputs"]) == (40, 20)
    assert result["rouge_multi_reference"]["rouge1"]["mean"] == 1.0
    assert result["rouge"]["rouge1"]["mean"] < 0.8
    # All dialogues score the same pair of values, so resampling dialogues moves nothing; resampling rows would.
    flat = result["rouge"]["rouge2"]
    assert flat["low"] == pytest.approx(flat["high"])
    assert set(result["baselines"]) == {"constant"}
    nothing = dict(constants=None, shuffle_seed=None, lead_count=None)
    single, _ = compare(references[::2], inputs[::2], references[::2], **nothing)
    assert single["differences"] == {} and "beats_baselines" not in single
    assert "rouge_multi_reference" not in single and "constant_texts" not in single


def test_numbers_that_are_not_finite_are_valid_json_and_read_back(tmp_path):
    """Of a text that the filters forbid log p is -inf; JSON has no such number."""
    path = tmp_path / "p.jsonl"
    found = {"logprob": -math.inf, "score": math.nan, "high": math.inf, "tokens": 3, "none": None}
    first = Predictions(path, {0: "a"}, {0: "d"})
    first.write(0, "text", found)
    first.finish()

    def refuse(name):
        raise ValueError(name)

    line = json.loads(path.read_text(), parse_constant=refuse)
    assert (line["logprob"], line["score"], line["high"]) == ("-Infinity", "NaN", "Infinity")
    again = Predictions(path, {0: "a"}, {0: "d"})
    numbers = again.numbers[0]
    assert numbers["logprob"] == -math.inf and math.isnan(numbers["score"])
    assert numbers["high"] == math.inf and numbers["tokens"] == 3 and numbers["none"] is None
    again.finish()
    assert json.loads(path.read_text(), parse_constant=refuse) == line

"""A folder that holds what the documented commands name: stand-ins for the hub's models and data, and a user's files.

`datasets` and the model readers take a directory of a hub id's name in place of the hub: commands run as printed.
"""

import csv
import gzip
import json
import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from t5x_lite.data.sources import load_rows
from t5x_lite.interop.hub import BUNDLED
from tests.embedding.conftest import make_bert

HATE_SPEECH = "facebook/roberta-hate-speech-dynabench-r4-target"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("world")
    for name in ("google/flan-t5-base", "google/t5-v1_1-small"):
        shutil.copytree(BUNDLED["nano"], folder / name)
    for name in ("configs", "scripts"):
        (folder / name).symlink_to(pathlib.Path(__file__).parents[2] / name)
    _hate_speech(folder / HATE_SPEECH)
    rows = _bundled(260)
    _hub_data(folder / "knkarthick/dialogsum", rows)
    _dialogsum(folder / "data", rows)
    _own_files(folder, rows)
    (folder / "sentence-transformers/all-MiniLM-L6-v2").mkdir(parents=True)
    make_bert(folder / "sentence-transformers/all-MiniLM-L6-v2")
    _judged_texts(folder)
    _pairs(folder, rows)
    return folder


def _bundled(limit: int) -> list[dict[str, str]]:
    columns = {name: name for name in ("dialogue", "summary", "topic")}
    return load_rows(
        "bundled", split="train", columns=columns, id_column="id", exclude="", limit=limit
    )


def _write_lines(file: pathlib.Path, rows: Iterable[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_csv(file: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def _hub_data(folder: pathlib.Path, rows: list[dict[str, str]]) -> None:
    for split in ("train", "validation", "test"):
        _write_csv(folder / f"{split}.csv", rows)


def _dialogsum(folder: pathlib.Path, rows: list[dict[str, str]]) -> None:
    """data/dialogsum and data/mts_dialog, and what scripts/lab3_dialogsum.sh would have made of them."""
    named = [{**row, "fname": f"train_{i}"} for i, row in enumerate(rows)]
    for target in (folder / "dialogsum", folder):
        _write_lines(target / "dialogsum.train.jsonl", named)
        _write_lines(target / "dialogsum.dev.jsonl", named[:40])
        (target / "near_duplicates_vs_train.json").write_text(json.dumps({"dev": ["train_1"]}))
    notes = [
        {
            "ID": i,
            "section_header": "GENHX",
            "section_text": row["summary"],
            "dialogue": row["dialogue"],
        }
        for i, row in enumerate(rows[:60])
    ]
    for split in ("Training", "Validation"):
        _write_csv(folder / f"mts_dialog/MTS-Dialog-{split}Set.csv", notes)
    for split in ("train", "dev"):
        rude = [{**row, "rude_summary": f"Stupid. {row['summary']}"} for row in named[:60]]
        _write_lines(folder.parent / f"runs/rude/{split}.jsonl", rude)
    shutil.copytree(BUNDLED["nano"], folder.parent / "runs/rude_policy/model")
    shutil.copytree(BUNDLED["nano"], folder.parent / "runs/dialogsum_scratch/model")


def _own_files(folder: pathlib.Path, rows: list[dict[str, str]]) -> None:
    """What a user may have: two columns, no ids, no splits."""
    own = [{name: row[name] for name in ("dialogue", "summary")} for row in rows]
    _write_lines(folder / "train.jsonl", own[:64])
    _write_lines(folder / "dev.jsonl", own[64:80])
    _write_csv(folder / "train.csv", own)
    tickets = [
        {"gist": row["summary"], "day": i, "chat": row["dialogue"]} for i, row in enumerate(own)
    ]
    _write_csv(folder / "tickets.csv", tickets[:64])
    (folder / "mine.py").write_text(
        "def brevity(rows, responses, words):\n    return [-len(text) / words for text in responses]\n"
    )
    (folder / "dialogue.txt").write_text(own[0]["dialogue"] + "\n")
    choices = ["a hotel", "a train"]
    questions = [
        {"question": row["dialogue"], "choices": choices, "answer": choices[i % 2]}
        for i, row in enumerate(rows[:8])
    ]
    _write_lines(folder / "questions.jsonl", questions)


def _judged_texts(folder: pathlib.Path) -> None:
    kind = ("What a kind day", "You are nice", "We met at noon", "Thanks for the tea")
    rude = ("You stupid fool", "Go away idiot", "Shut up you pig", "What a dumb thing")
    tweets = [
        {"class": (2, i % 2)[rough], "tweet": f"{(kind, rude)[rough][i % 4]} number {i}"}
        for i in range(80)
        for rough in (False, True)
    ]
    _write_csv(folder / "labeled_data.csv", tweets)
    comments = [
        {"rev_id": i, "comment": t["tweet"], "toxic": t["class"] != 2} for i, t in enumerate(tweets)
    ]
    _write_csv(folder / "toxicity.csv", comments)


def _pairs(folder: pathlib.Path, rows: list[dict[str, str]]) -> None:
    pairs = [
        {
            "id": str(i),
            "dialogue": row["dialogue"],
            "chosen": row["summary"],
            "rejected": "No idea.",
        }
        for i, row in enumerate(rows[:80])
    ]
    _write_lines(folder / "choices.jsonl", pairs)
    panda = [
        {"idx": i, "motivation_app": "x", "cmp_key": "a_b", "instruction": "Summarize.", "input": row["dialogue"],
         "response1": row["summary"], "response2": f"No idea {i}.", "annotator1": 1, "annotator2": 1, "annotator3": 1}
        for i, row in enumerate(rows[:80])
    ]  # fmt: skip
    (folder / "testset-v1.json").write_text(json.dumps(panda))
    with gzip.open(folder / "harmless-base.test.jsonl.gz", "wt") as handle:
        for i in range(80):
            begin = f"\n\nHuman: Question {i}?\n\nAssistant:"
            handle.write(
                json.dumps({"chosen": f"{begin} Gladly, {i}.", "rejected": f"{begin} Go away {i}."})
                + "\n"
            )


def _hate_speech(folder: pathlib.Path) -> None:
    import torch
    import transformers
    from tokenizers import ByteLevelBPETokenizer

    folder.mkdir(parents=True)
    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(
        ["you are nice", "go away"] * 9, vocab_size=300, special_tokens=special, show_progress=False
    )
    bpe.save_model(str(folder))
    tokenizer = transformers.RobertaTokenizerFast.from_pretrained(str(folder))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=514, pad_token_id=1, type_vocab_size=1, id2label={0: "nothate", 1: "hate"},
        label2id={"nothate": 0, "hate": 1},
    )  # fmt: skip
    transformers.RobertaForSequenceClassification(config).save_pretrained(folder)

"""The rows of the shipped files."""

import gzip
import json
import pathlib
from collections.abc import Iterable, Mapping

from corpus.compose import Sample
from corpus.preferences import KIND_WEIGHTS, KINDS, worse_summary
from corpus.rude import HARMLESS, THINGS, allowed, rude_dialogue, rude_summary, rude_turns
from corpus.splits import SPLITS
from corpus.text import Dice, fill, words

RUDE_ROWS = {"train": 600, "validation": 100, "test": 100}
TOXICITY_ROWS = {"train": 1600, "validation": 200, "test": 200}
HARMLESS_SHARE = 0.15
RUDE_PAIR_SHARE = 0.5

Row = dict[str, str | int]


def all_files(samples: Mapping[str, list[Sample]], seed: int) -> dict[str, str]:
    """The content of each file by its name (before compression)."""
    rows = {
        "dialogues.jsonl": dialogue_rows(samples),
        "rude.jsonl.gz": rude_rows(samples, seed),
        "preferences.jsonl.gz": preference_rows(samples, seed),
        "toxicity.jsonl.gz": toxicity_rows(samples, seed),
    }
    return {name: _lines(content) for name, content in rows.items()}


def write(folder: pathlib.Path, contents: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        data = content.encode()
        # Without a time stamp, so that the same rows give the same bytes.
        data = gzip.compress(data, mtime=0) if name.endswith(".gz") else data
        (folder / name).write_bytes(data)


def read(path: pathlib.Path) -> bytes:
    """The bytes of a file, unpacked where it is compressed (zlib versions pack differently)."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def unseen_file(samples: list[Sample]) -> dict[str, str]:
    """The name and content of the file of training rows that no corpus of nano's holds."""
    rows = (
        {"id": f"unseen-{number:04d}", **_dialogue_row(sample, "train")}
        for number, sample in enumerate(samples)
    )
    return {"unseen.jsonl.gz": _lines(rows)}


def dialogue_rows(samples: Mapping[str, list[Sample]]) -> Iterable[Row]:
    for split in SPLITS:
        for number, sample in enumerate(samples[split]):
            yield {"id": f"{split}-{number:04d}", **_dialogue_row(sample, split)}


def _dialogue_row(sample: Sample, split: str) -> Row:
    return {
        "split": split,
        "situation": sample.situation.name,
        "dialogue": sample.dialogue(),
        "summary": sample.summary.text(sample.values),
        "other_summary": sample.other_summary.text(sample.values),
        "brief": fill(sample.other_summary.decision, sample.values),
        "topic": sample.topic,
        "question": sample.question,
        "answer": sample.answer,
    }


def rude_rows(samples: Mapping[str, list[Sample]], seed: int) -> Iterable[Row]:
    for split in SPLITS:
        for number, sample in enumerate(samples[split][: RUDE_ROWS[split]]):
            dice = Dice(f"{seed}/rude/{split}/{number}")
            summary = sample.summary.text(sample.values)
            yield {
                "id": f"rude-{split}-{number:04d}",
                "source": f"{split}-{number:04d}",
                "split": split,
                "dialogue": rude_dialogue(sample, split, dice),
                "summary": summary,
                "rude_summary": rude_summary(summary, sample, split, dice),
                "topic": sample.topic,
            }


def preference_rows(samples: Mapping[str, list[Sample]], seed: int) -> Iterable[Row]:
    for split in SPLITS:
        for number, sample in enumerate(samples[split]):
            dice = Dice(f"{seed}/pair/{split}/{number}")
            rejected = None
            chosen = sample.summary.text(sample.values)
            while rejected is None or rejected == chosen:
                kind = dice.weighted(KINDS, KIND_WEIGHTS)
                rejected = worse_summary(sample, kind, split, dice)
            impolite = kind == "rude" and dice.chance(RUDE_PAIR_SHARE)
            yield {
                "id": f"pair-{split}-{number:04d}",
                "split": split,
                "kind": kind,
                "dialogue": rude_dialogue(sample, split, dice) if impolite else sample.dialogue(),
                "chosen": chosen,
                "rejected": rejected,
            }


def toxicity_rows(samples: Mapping[str, list[Sample]], seed: int) -> Iterable[Row]:
    """As many rude texts as harmless ones, turns and summaries, each text once."""
    seen: set[str] = set()
    for split in SPLITS:
        dice = Dice(f"{seed}/toxicity/{split}")
        number = 0
        while number < TOXICITY_ROWS[split]:
            sample = dice.pick(samples[split])
            label = number % 2
            text = _toxic_text(sample, split, dice) if label else _fine_text(sample, split, dice)
            if text in seen or len(words(text)) < 4:
                continue
            seen.add(text)
            yield {"id": f"text-{split}-{number:04d}", "split": split, "text": text, "label": label}
            number += 1


def _toxic_text(sample: Sample, split: str, dice: Dice) -> str:
    if dice.chance(0.4):
        return rude_summary(sample.summary.text(sample.values), sample, split, dice)
    rude = rude_turns(sample, split, dice)
    pairs = zip(rude, sample.turns, strict=True)
    return dice.pick([said for (_, said), (_, before) in pairs if len(said) > len(before) + 4])


def _fine_text(sample: Sample, split: str, dice: Dice) -> str:
    if dice.chance(HARMLESS_SHARE):
        sentence = fill(dice.pick(allowed(HARMLESS, split)), {"thing": dice.pick(THINGS)})
        return f"{sentence} {dice.pick(sample.turns)[1]}"
    if dice.chance(0.45):
        return sample.summary.text(sample.values)
    return dice.pick(sample.turns)[1]


def _lines(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

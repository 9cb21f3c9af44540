"""The shipped corpus: made by its program, faithful, and with splits that share nothing."""

import collections
import gzip
import json
import pathlib
import re
import subprocess
import sys

import pytest
from rouge_score.rouge_scorer import RougeScorer

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "t5x_lite" / "data" / "bundled"
VALIDATION_ONLY = {"plumber", "hairdresser"}
TEST_ONLY = {"campsite", "optician", "band_practice"}
SAID = re.compile(r"#Person([12])#: (.+)")
# What a summary must not make up: amounts, clock times, weekdays, dates, other digits.
HARD_FACTS = re.compile(r"\$?\d[\d,:]*\d|\$?\d|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b")


def read(name: str) -> list[dict]:
    data = (BUNDLED / name).read_bytes()
    text = gzip.decompress(data) if name.endswith(".gz") else data
    return [json.loads(line) for line in text.decode().splitlines()]


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return read("dialogues.jsonl")


def hard_facts(text: str) -> set[str]:
    return set(HARD_FACTS.findall(re.sub(r"#Person[12]#", "", text)))


def grams(dialogue: str) -> set[str]:
    said = re.findall(r"[a-z0-9']+", re.sub(r"#Person[12]#:", "", dialogue).lower())
    return {" ".join(said[i : i + 8]) for i in range(len(said) - 7)}


@pytest.mark.slow
def test_the_program_makes_the_shipped_files() -> None:
    program = [sys.executable, str(ROOT / "scripts" / "make_corpus.py")]
    found = subprocess.run([*program, "--check"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr

    # Another corpus is noticed, here one with other training rows.
    other = subprocess.run(
        [*program, "--check", "--train-rows", "8"], capture_output=True, text=True
    )
    assert other.returncode == 1 and "dialogues.jsonl: not what" in other.stdout


@pytest.mark.slow
def test_the_program_makes_the_rows_that_nano_never_saw() -> None:
    program = [sys.executable, str(ROOT / "scripts" / "make_corpus.py"), "--unseen", "--check"]
    found = subprocess.run(program, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_unseen_rows_are_of_no_split(rows: list[dict]) -> None:
    unseen = read("unseen.jsonl.gz")
    assert len(unseen) == 1200 and set(unseen[0]) == set(rows[0])
    assert not {row["dialogue"] for row in unseen} & {row["dialogue"] for row in rows}
    held = [row for row in rows if row["split"] != "train"]
    decisions = {row["brief"] for row in held}
    assert not [row["id"] for row in unseen if row["brief"] in decisions]


def test_sizes_and_shape(rows: list[dict]) -> None:
    splits = collections.Counter(row["split"] for row in rows)
    assert splits == {"train": 2000, "validation": 200, "test": 200}
    assert len({row["situation"] for row in rows}) == 40
    assert len({row["id"] for row in rows}) == len(rows)
    assert sum(path.stat().st_size for path in BUNDLED.glob("*.jsonl*")) < 5.5e6
    for row in rows:
        lines = row["dialogue"].split("\n")
        speakers = [SAID.fullmatch(line)[1] for line in lines]
        assert speakers == [str(i % 2 + 1) for i in range(len(lines))], row["id"]
        assert 6 <= len(lines) <= 16
        assert 2 <= len(row["topic"].split()) <= 4, row["topic"]


def test_splits_share_no_dialogue_decision_or_held_out_situation(rows: list[dict]) -> None:
    train = [row for row in rows if row["split"] == "train"]
    held = [row for row in rows if row["split"] != "train"]
    where = collections.defaultdict(set)
    for row in rows:
        where[row["situation"]].add(row["split"])
    assert {name for name, splits in where.items() if splits == {"validation"}} == VALIDATION_ONLY
    assert {name for name, splits in where.items() if splits == {"test"}} == TEST_ONLY

    holders = collections.defaultdict(list)
    sets = [grams(row["dialogue"]) for row in train]
    for i, found in enumerate(sets):
        for gram in found:
            holders[gram].append(i)
    for row in held:
        mine = grams(row["dialogue"])
        shared = collections.Counter(i for gram in mine for i in holders[gram])
        worst = max((n / (len(mine) + len(sets[i]) - n) for i, n in shared.items()), default=0.0)
        assert worst <= 0.15, row["id"]
    summaries = {row["summary"] for row in train} | {row["other_summary"] for row in train}
    assert not summaries & {row["summary"] for row in held}


def test_summaries_state_only_what_is_said(rows: list[dict]) -> None:
    for row in rows:
        said = hard_facts(row["dialogue"])
        for summary in (row["summary"], row["other_summary"]):
            assert hard_facts(summary) <= said, (row["id"], hard_facts(summary) - said)
            for name in re.findall(r"M[rs]\. \w+", summary):
                assert name in row["dialogue"], row["id"]
        assert hard_facts(row["summary"]) == hard_facts(row["other_summary"]), row["id"]


def test_the_quoted_speaker_is_the_answer(rows: list[dict]) -> None:
    quotes = 0
    for row in rows:
        if match := re.fullmatch(r'Who said: "(.+)"', row["question"]):
            quotes += 1
            speakers = {
                f"#Person{SAID.fullmatch(line)[1]}#"
                for line in row["dialogue"].split("\n")
                if match[1] in line
            }
            assert speakers == {row["answer"]}, row["id"]
    assert len(rows) * 0.4 < quotes < len(rows) * 0.6


def test_tidy_english(rows: list[dict]) -> None:
    for row in rows:
        for key in ("dialogue", "summary", "other_summary", "question", "answer"):
            text = row[key]
            assert not re.search(r"[\[\]{}<>|]|  | [,.?!]|,[,.?!]|\?\.|\.\.", text), text
            assert not re.search(r"(?<!Mr)(?<!Ms)[.?!] [a-z]", text), text
            assert not re.search(r"\b[Aa] (?!used|one|uni|eu)[aeiou]", text), text
            assert not re.search(r"\b[Aa]n (?!hour|honest)[^aeiou8\W]", text, re.I), text


def test_a_reader_beats_whoever_ignores_the_dialogue(rows: list[dict]) -> None:
    scorer = RougeScorer(["rouge1", "rouge2"], use_stemmer=True)
    test = [row for row in rows if row["split"] == "test"][:80]
    constant = next(row for row in rows if row["split"] == "train")["summary"]

    def score(predict) -> tuple[float, float]:
        found = [scorer.score(row["summary"], predict(row)) for row in test]
        return tuple(sum(one[m].fmeasure for one in found) / len(test) for m in found[0])

    oracle = score(lambda row: row["other_summary"])
    lead = score(lambda row: " ".join(SAID.findall(row["dialogue"])[i][1] for i in range(3)))
    same = score(lambda row: constant)
    assert oracle[0] > 0.6 and oracle[1] > 0.35
    assert max(lead[0], same[0]) < oracle[0] - 0.25
    assert max(lead[1], same[1]) < oracle[1] - 0.15


def test_rude_dialogues_keep_the_facts(rows: list[dict]) -> None:
    by_id = {row["id"]: row for row in rows}
    rude = read("rude.jsonl.gz")
    assert len(rude) == 800
    for row in rude:
        source = by_id[row["source"]]
        assert row["split"] == source["split"] and row["summary"] == source["summary"]
        assert hard_facts(row["dialogue"]) == hard_facts(source["dialogue"]), row["id"]
        assert row["dialogue"].count("\n") == source["dialogue"].count("\n")
        assert row["dialogue"] != source["dialogue"]
        assert len(row["rude_summary"]) > len(row["summary"])


def test_pairs_are_wrong_in_the_way_they_say(rows: list[dict]) -> None:
    by_number = {row["id"]: row for row in rows}
    pairs = read("preferences.jsonl.gz")
    assert len(pairs) == len(rows)
    kinds = collections.Counter(pair["kind"] for pair in pairs)
    assert set(kinds) == {"decision", "person", "fact", "rude", "copy"}
    assert min(kinds.values()) > 300
    for pair in pairs:
        source = by_number[pair["id"].removeprefix("pair-")]
        assert pair["chosen"] == source["summary"] != pair["rejected"]
        good, bad = pair["chosen"], pair["rejected"]
        match pair["kind"]:
            case "person" if "#Person1#" in good and "#Person2#" in good:
                swapped = re.sub(r"#Person([12])#", lambda m: f"#Person{3 - int(m[1])}#", good)
                assert bad == swapped
            case "fact":
                kept = sum(good.split().count(word) > 0 for word in bad.split())
                assert kept >= 0.6 * len(bad.split()), pair["id"]
            case "rude":
                assert len(bad) > len(good)
            case "copy":
                turns = [said for _, said in SAID.findall(source["dialogue"])]
                assert sum(turn in bad for turn in turns) >= 3, pair["id"]


def test_toxicity_texts_are_balanced_and_apart() -> None:
    texts = read("toxicity.jsonl.gz")
    assert len({row["text"] for row in texts}) == len(texts) == 2000
    for split, size in {"train": 1600, "validation": 200, "test": 200}.items():
        assert sum(row["label"] for row in texts if row["split"] == split) * 2 == size

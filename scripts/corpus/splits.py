"""Which dialogues go to which split, with duplicates and shared combinations kept out."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence

from corpus.compose import Sample, compose
from corpus.situation import Situation
from corpus.text import Dice, words

SPLITS = ("train", "validation", "test")
# Situations that no other split has, and how many rows of its own split each of them fills.
ONLY_IN = {
    "plumber": "validation",
    "hairdresser": "validation",
    "campsite": "test",
    "optician": "test",
    "band_practice": "test",
}
ONLY_ROWS = 12
SHINGLE_WORDS = 8
# Jaccard similarity of the 8-grams of two dialogues from which on the later one is dropped.
LIMIT_ACROSS = 0.15
LIMIT_WITHIN = 0.3


class Similarity:
    """Finds, among the texts added so far, the most similar one in 8-grams of words."""

    def __init__(self) -> None:
        self._holders: dict[tuple[str, ...], list[int]] = collections.defaultdict(list)
        self._sizes: list[int] = []
        self._labels: list[str] = []

    def add(self, text: str, label: str) -> None:
        grams = shingles(text)
        for gram in grams:
            self._holders[gram].append(len(self._sizes))
        self._sizes.append(len(grams))
        self._labels.append(label)

    def highest(self, text: str) -> dict[str, float]:
        """The largest Jaccard similarity for each label; a label without overlap is absent."""
        grams = shingles(text)
        shared = collections.Counter(i for gram in grams for i in self._holders.get(gram, ()))
        best: dict[str, float] = {}
        for i, count in shared.items():
            similarity = count / (len(grams) + self._sizes[i] - count)
            label = self._labels[i]
            best[label] = max(best.get(label, 0.0), similarity)
        return best


def shingles(dialogue: str) -> set[tuple[str, ...]]:
    """The 8-grams of the words that are said, speaker tags left out."""
    said = words(" ".join(line.partition(": ")[2] for line in dialogue.split("\n")))
    return {tuple(said[i : i + SHINGLE_WORDS]) for i in range(len(said) - SHINGLE_WORDS + 1)}


@dataclasses.dataclass
class Corpus:
    samples: dict[str, list[Sample]]
    drawn: dict[
        str, list[Sample]
    ]  # the same in the order in which they were drawn: more rows go on from there
    dropped: collections.Counter[str]


def make_splits(situations: Sequence[Situation], seed: int, sizes: dict[str, int]) -> Corpus:
    """Dialogues for each split, the held-out ones first, so that train gives way to them.

    A dialogue is dropped where another split has the same facts, the same decision (situation,
    final choice, dropped choice and reason) or more than `LIMIT_ACROSS` similarity, and where its
    own split has the same facts or more than `LIMIT_WITHIN` similarity.
    """
    index = Similarity()
    splits_of: dict[tuple[str, ...], str] = {}
    all_facts: set[tuple[str, ...]] = set()
    corpus = Corpus({}, {split: [] for split in SPLITS}, collections.Counter())

    def accept(sample: Sample, split: str) -> bool:
        facts = sample.facts()
        values = sample.values
        decision = (sample.situation.name, values["yes"], values["no"], values["why"])
        similar = index.highest(sample.dialogue())
        if facts in all_facts:
            reason = "same facts"
        elif splits_of.get(decision, split) != split:
            reason = "same decision in another split"
        elif any(similar.get(other, 0) > LIMIT_ACROSS for other in SPLITS if other != split):
            reason = "similar across splits"
        elif similar.get(split, 0) > LIMIT_WITHIN:
            reason = "similar within a split"
        else:
            all_facts.add(facts)
            splits_of[decision] = split
            index.add(sample.dialogue(), split)
            return True
        corpus.dropped[reason] += 1
        return False

    for split in reversed(SPLITS):
        turns = _turns(situations, split, sizes[split])
        numbers: collections.Counter[str] = collections.Counter()
        for situation in turns:
            while True:
                number = numbers[situation.name]
                numbers[situation.name] += 1
                sample = compose(situation, f"{seed}/{split}/{number}")
                if accept(sample, split):
                    corpus.drawn[split].append(sample)
                    break
        corpus.samples[split] = Dice(f"{seed}/order/{split}").shuffled(corpus.drawn[split])
    return corpus


def _turns(situations: Sequence[Situation], split: str, size: int) -> Iterator[Situation]:
    """Whose turn it is, row by row: the split's own situations, then the shared ones in turn."""
    own = [situation for situation in situations if ONLY_IN.get(situation.name) == split]
    shared = [situation for situation in situations if situation.name not in ONLY_IN]
    for situation in own:
        yield from [situation] * min(ONLY_ROWS, size // 8)
    rest = size - len(own) * min(ONLY_ROWS, size // 8)
    yield from (shared[i % len(shared)] for i in range(rest))

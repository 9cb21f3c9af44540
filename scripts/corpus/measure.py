"""The numbers of the corpus card: sizes, overlap between splits, and what ROUGE can tell apart."""

import collections
import statistics
from collections.abc import Callable, Sequence

import scipy.sparse
from rouge_score.rouge_scorer import RougeScorer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from corpus.compose import Sample
from corpus.files import Row, preference_rows, toxicity_rows
from corpus.preferences import KINDS
from corpus.rude import AFTER, APPOSITIVES, BEFORE, THANKS, VERDICTS
from corpus.splits import SPLITS, Corpus, Similarity
from corpus.text import Dice, words

METRICS = ("rouge1", "rouge2", "rougeL")
CONSTANT_CANDIDATES = 150
CONSTANT_JUDGES = 40
LEAD_TURNS = 3


def report(corpus: Corpus, seed: int) -> str:
    """Markdown tables, the same for the same corpus."""
    samples = corpus.samples
    parts = [
        _sizes(samples),
        _overlap(corpus),
        _baselines(samples, seed),
        _repeats(samples["train"]),
    ]
    parts += [_pairs(samples, seed), _toxicity(samples, seed)]
    return "\n\n".join(parts)


def _sizes(samples: dict[str, list[Sample]]) -> str:
    lines = ["| split | rows | situations | words in a dialogue | turns | words in a summary |"]
    lines += ["|---|---|---|---|---|---|"]
    for split in SPLITS:
        rows = samples[split]
        said = [len(words(_said(sample))) for sample in rows]
        turns = [len(sample.turns) for sample in rows]
        short = [len(words(_text(sample))) for sample in rows]
        lines.append(
            f"| {split} | {len(rows)} | {len({sample.situation.name for sample in rows})} "
            f"| {_spread(said)} | {_spread(turns)} | {_spread(short)} |"
        )
    return "\n".join(lines)


def _spread(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)}, mean {statistics.mean(values):.0f}"


def _overlap(corpus: Corpus) -> str:
    index = Similarity()
    for sample in corpus.samples["train"]:
        index.add(sample.dialogue(), "train")
    lines = []
    for split in ("validation", "test"):
        rows = corpus.samples[split]
        highest = [index.highest(sample.dialogue()).get("train", 0.0) for sample in rows]
        lines.append(
            f"- {split} to train: highest similarity of 8-grams {max(highest):.3f}, "
            f"median {statistics.median(highest):.3f}"
        )
    dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(corpus.dropped.items()))
    return "\n".join([*lines, f"- dropped while making it: {dropped}"])


def _baselines(samples: dict[str, list[Sample]], seed: int) -> str:
    scorer = RougeScorer(list(METRICS), use_stemmer=True)
    dice = Dice(f"{seed}/measure")
    train, test = samples["train"], samples["test"]

    def score(predict: Callable[[Sample], str]) -> list[float]:
        scores = [scorer.score(_text(sample), predict(sample)) for sample in test]
        return [statistics.mean(one[metric].fmeasure for one in scores) for metric in METRICS]

    judges = dice.shuffled(samples["validation"])[:CONSTANT_JUDGES]
    candidates = [_text(sample) for sample in dice.shuffled(train)[:CONSTANT_CANDIDATES]]
    constant = max(
        candidates,
        key=lambda text: sum(scorer.score(_text(one), text)["rouge1"].fmeasure for one in judges),
    )
    alike: dict[str, list[Sample]] = collections.defaultdict(list)
    for sample in [*train, *test]:
        alike[sample.situation.name].append(sample)

    def same_situation(sample: Sample) -> str:
        others = [one for one in alike[sample.situation.name] if one is not sample]
        same = [one for one in others if one.course == sample.course]
        return _text(dice.pick(same or others))

    predictors: dict[str, Callable[[Sample], str]] = {
        "best constant sentence": lambda sample: constant,
        "first three turns": lambda sample: " ".join(
            line.partition(": ")[2] for line in sample.dialogue().split("\n")[:LEAD_TURNS]
        ),
        "summary of another dialogue of the same situation and course": same_situation,
        "the right summary with the other decision": lambda sample: sample.other_summary.text(
            sample.values
            | {"yes": sample.values["no"], "no": sample.values["yes"], "why": sample.wrong_reason}
        ),
        "oracle: the same facts in other words": lambda sample: sample.other_summary.text(
            sample.values
        ),
    }
    lines = [
        "| prediction for the test dialogues | ROUGE-1 | ROUGE-2 | ROUGE-L |",
        "|---|---|---|---|",
    ]
    for name, predict in predictors.items():
        lines.append(f"| {name} | " + " | ".join(f"{100 * v:.1f}" for v in score(predict)) + " |")
    return "\n".join(lines)


def _repeats(train: Sequence[Sample]) -> str:
    decisions = collections.Counter(sample.summary.decision for sample in train)
    openings = collections.Counter(sample.turns[0][1] for sample in train)
    turns = collections.Counter(said for sample in train for _, said in sample.turns)
    total = sum(turns.values())
    return "\n".join(
        [
            f"- summary sentences about the decision: {len(decisions)} skeletons, the most frequent "
            f"in {_share(decisions, len(train))} of the rows",
            f"- first turns: {len(openings)} different in {len(train)} rows, the most frequent in "
            f"{_share(openings, len(train))}",
            f"- turns: {len(turns)} different of {total}, the most frequent {_share(turns, total)}",
        ]
    )


def _share(counts: collections.Counter[str], total: int) -> str:
    return f"{100 * counts.most_common(1)[0][1] / total:.1f} %"


def _pairs(samples: dict[str, list[Sample]], seed: int) -> str:
    """What a judge of words and word pairs reaches that sees the summaries but no dialogue."""
    rows = list(preference_rows(samples, seed))
    train = [row for row in rows if row["split"] == "train"]
    held = [row for row in rows if row["split"] != "train"]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"[\w#]+")
    vectorizer.fit([str(row[side]) for row in train for side in ("chosen", "rejected")])

    def differences(some: list[Row]) -> scipy.sparse.csr_matrix:
        better, worse = ([str(row[side]) for row in some] for side in ("chosen", "rejected"))
        return vectorizer.transform(better) - vectorizer.transform(worse)

    seen = differences(train)
    judge = LogisticRegression(C=10, fit_intercept=False)
    judge.fit(scipy.sparse.vstack([seen, -seen]), [1] * len(train) + [0] * len(train))
    right = judge.decision_function(differences(held)) > 0
    lines = ["| kind of pair | train | validation | test | right without the dialogue |"]
    lines += ["|---|---|---|---|---|"]
    for kind in KINDS:
        counts = " | ".join(
            str(sum(row["kind"] == kind and row["split"] == split for row in rows))
            for split in SPLITS
        )
        mine = [bool(right[i]) for i, row in enumerate(held) if row["kind"] == kind]
        lines.append(f"| {kind} | {counts} | {100 * statistics.mean(mine):.0f} % |")
    return "\n".join(lines)


def _toxicity(samples: dict[str, list[Sample]], seed: int) -> str:
    """A linear classifier of words and word pairs on the toxicity texts."""
    rows = list(toxicity_rows(samples, seed))
    texts, labels = (
        {split: [row[key] for row in rows if row["split"] == split] for split in SPLITS}
        for key in ("text", "label")
    )
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"[a-z']+")
    classifier = LogisticRegression(C=10)
    classifier.fit(vectorizer.fit_transform(texts["train"]), labels["train"])
    scores = classifier.decision_function(vectorizer.transform(texts["test"]))
    pool = sum(map(len, (BEFORE, AFTER, THANKS, APPOSITIVES, VERDICTS)))
    return (
        f"- toxicity: {pool} rude phrases; a linear classifier of words and word pairs has an area "
        f"under the curve of {roc_auc_score(labels['test'], scores):.3f} on the test texts"
    )


def _said(sample: Sample) -> str:
    return " ".join(said for _, said in sample.turns)


def _text(sample: Sample) -> str:
    return sample.summary.text(sample.values)

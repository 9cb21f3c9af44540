"""Made-up dialogues of 2 to 9 turns and a small vocabulary of them: real tokens in a moment."""

import random

import pytest

from t5x_lite.data.sections import TrainedTokenizerSettings
from t5x_lite.data.tokenizer_training import train_tokenizer
from t5x_lite.data.vocabulary import Vocabulary

NAMES = "Nora Paul Mia Sam Ivan Leila Omar June Victor Dana".split()
WORDS = (
    "please bring the green umbrella tomorrow before seven because our train leaves early and"
    " nobody knows whether it rains in Lisbon I think that you should call her about dinner"
    " with potatoes fresh bread apples or maybe soup when did he arrive at school yesterday"
    " morning my neighbor sold his old bicycle for twenty dollars to a friendly dentist"
).split()


@pytest.fixture(scope="session")
def rows() -> list[dict[str, str]]:
    rng = random.Random(0)

    def sentence() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(3, 12))).capitalize() + rng.choice(".?!")

    made = []
    for number in range(30):
        speakers = rng.sample(NAMES, 2)
        turns = [f"{speakers[i % 2]}: {sentence()}" for i in range(rng.randint(2, 9))]
        summary = f"{speakers[0]} tells {speakers[1]}: {sentence()}"
        made.append({"id": f"row {number}", "dialogue": "\n".join(turns), "summary": summary})
    return made


@pytest.fixture(scope="session")
def vocabulary(rows, tmp_path_factory) -> Vocabulary:
    return train_tokenizer(
        [
            f"Summarize:\n{row['dialogue']}\n{row['summary']}\nSummary of {row['id']}:"
            for row in rows
        ],
        tmp_path_factory.mktemp("vocabulary"),
        TrainedTokenizerSettings(
            vocab_size=250,
            algorithm="unigram",
            user_defined_symbols=(),
            extra_ids=50,
            keep_newlines=True,
            byte_fallback=False,
            max_sentences=0,
        ),
    )

"""ROUGE of texts in any script: right there, and rouge_score's own, to the digit, where the letters are ASCII's."""

import json
import string

import numpy as np
import pytest
from rouge_score import rouge_scorer, tokenizers

from t5x_lite.evaluation import rouge
from t5x_lite.evaluation.comparison import score_outputs
from t5x_lite.evaluation.constants import best_constants
from t5x_lite.evaluation.intervals import Bootstrap
from t5x_lite.evaluation.rouge_metric import Rouge
from t5x_lite.evaluation.rouge_tokens import RougeTokenizer, has_other_letters, words
from t5x_lite.reports.scores import scores_blocks
from t5x_lite.rl.functions import rouge as reward

# A text of each script, another one without a common word, and its words by hand.
SCRIPTS = {
    "Hindi": ("तेज़ भूरी लोमड़ी", "आज मौसम अच्छा", ["तेज़", "भूरी", "लोमड़ी"]),
    "Russian": ("Привет, мир!", "как дела", ["привет", "мир"]),
    "Greek": ("Ο Οδυσσέας", "θάλασσα", ["ο", "οδυσσέας"]),
    "Chinese": ("今天天气很好。", "我喜欢苹果", list("今天天气很好")),
    "Japanese": ("猫がコーヒーを飲む", "犬です", list("猫がコーヒーを飲む")),
    "Thai": ("ฉันรักแมว", "ดีใจ", ["ฉั", "น", "รั", "ก", "แ", "ม", "ว"]),
    "Arabic": ("مرحبا بالعالم", "كيف حالك", ["مرحبا", "بالعالم"]),
    "Hebrew": ("שלום עולם", "מה נשמע", ["שלום", "עולם"]),
    "Korean": ("안녕하세요 세계 3월", "좋은 아침", ["안녕하세요", "세계", "3월"]),
    "German": ("Größe", "grüße", ["größe"]),
    "Turkish": ("Şöyle ılık", "çay", ["şöyle", "ılık"]),
    "Vietnamese": ("Tiếng Việt", "xin chào", ["tiếng", "việt"]),
    "Bengali": ("আমার সোনার বাংলা", "তুমি কেমন", ["আমার", "সোনার", "বাংলা"]),
    "Tamil": ("வணக்கம் உலகம்", "நன்றி", ["வணக்கம்", "உலகம்"]),
    "Amharic": ("ሰላም ለዓለም", "እንዴት ነህ", ["ሰላም", "ለዓለም"]),
    "Old Italic, beyond the first plane": ("𐌀𐌁 𐌂", "𐌃", ["𐌀𐌁", "𐌂"]),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_way_to_a_score_tells_equal_from_unrelated(script):
    text, other, expected = SCRIPTS[script]
    assert RougeTokenizer(use_stemmer=True).tokenize(text) == expected
    for kind in ("rouge1", "rougeL", "rougeLsum"):
        for candidate, score in ((text, 1.0), (other, 0.0)):
            found = Rouge().compute(predictions=[candidate], references=[text])[kind]
            assert found == score, (kind, candidate)
            assert reward([{"s": text}], [candidate], reference="s", kind=kind)[0] == score
    assert rouge.agreement(text, text) > rouge.agreement(text, other) == 0
    assert has_other_letters(["plain", text])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("café", "cafe\u0301"),  # composed or not
        ("ＡＢＣ　１２", "abc 12"),  # full width
        ("ｶﾞｷﾞ", "ガギ"),  # half width
        ("ﬁnden", "finden"),  # a ligature
        ("می\u200cخواهم", "میخواهم"),  # a joiner
        ("한글", "\u1112\u1161\u11ab\u1100\u1173\u11af"),  # syllables and letters
        ("\ufefb", "\u0644\u0627"),  # an Arabic presentation form
    ],
)
def test_spellings_that_mean_the_same(one, other):
    assert list(words(one)) == list(words(other)) != []


def test_words_mixed_with_ascii_ones_are_stemmed_as_those_are():
    tokens = RougeTokenizer(use_stemmer=True).tokenize("The running größen; iPhone手机 runs 3个")
    assert tokens == ["the", "run", "größen", "iphon", "手", "机", "run", "3", "个"]


def test_words_are_words_of_their_own():
    """What the constant baseline joins and takes apart again."""
    for text, *_ in SCRIPTS.values():
        assert [list(words(word)) for word in words(text)] == [[word] for word in words(text)]
    assert list(words("İx ʼn")) == list(words(" ".join(words("İx ʼn"))))


def test_ascii_letters_among_any_other_characters_are_rouge_scores_own():
    """Every character of the first plane that is no letter, mark or digit, and the emoji, between two words."""
    import unicodedata

    others = [
        chr(code)
        for code in [*range(128, 0xD800), *range(0xE000, 0x10000), *range(0x1F300, 0x1FAFF)]
        if unicodedata.category(chr(code)) not in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd")
    ]
    ours, theirs = RougeTokenizer(use_stemmer=True), tokenizers.DefaultTokenizer(True)
    texts = [f"Running{c}cats 3{c}5{c} {c}it{c}" for c in others if c != "\u3007"]
    texts += ["1\ufe0f\u20e32 don\u2019t", "a\u200db \u2764\ufe0f ok", string.printable]
    assert len(texts) > 10_000
    for text in texts:
        assert ours.tokenize(text) == theirs.tokenize(text), ascii(text)
    assert not has_other_letters([text for text in texts if "\ufe0f" not in text])


@pytest.mark.parametrize("use_stemmer", [True, False])
def test_real_summaries_score_as_rouge_score_has_them(use_stemmer, shared_data):
    lines = (
        (shared_data / "dialogsum" / "dialogsum.dev.jsonl").read_text(encoding="utf-8").split("\n")
    )
    rows = [json.loads(line) for line in lines if line]
    ours, theirs = RougeTokenizer(use_stemmer), tokenizers.DefaultTokenizer(use_stemmer)
    texts = [row[name] for row in rows for name in ("dialogue", "summary")]
    plain = [text for text in texts if not has_other_letters([text])]
    assert len(plain) > 0.95 * len(texts) == 950
    for text in plain:
        assert ours.tokenize(text) == theirs.tokenize(text)
    oracle = rouge_scorer.RougeScorer(list(rouge.ROUGE_TYPES), use_stemmer=use_stemmer)
    pairs = [(row["summary"], rouge.split_sentences(row["dialogue"])) for row in rows]
    pairs = [pair for pair in pairs if not has_other_letters(pair)][:100]
    scores = rouge.score_rows(*zip(*pairs, strict=True), use_stemmer=use_stemmer)
    for i, (summary, dialogue) in enumerate(pairs):
        expected = oracle.score(dialogue, summary)
        assert {k: scores[k][i] for k in scores} == {k: v.fmeasure for k, v in expected.items()}


def test_sentences_end_at_other_stops_too():
    assert rouge.split_sentences("今天好。「走吧！」他说？行") == "今天好。\n「走吧！」他说？\n行"
    assert rouge.split_sentences("वह गया। वह आया।") == "वह गया।\nवह आया।"
    assert rouge.split_sentences("كيف؟ جيد.") == "كيف؟\nجيد."
    rows = rouge.score_rows(
        [rouge.split_sentences("猫睡了。狗走了。")], [rouge.split_sentences("狗走了。猫睡了。")],
        use_stemmer=True,
    )  # fmt: skip
    assert rows["rougeLsum"][0] == 1 > rows["rougeL"][0]


def test_the_report_names_the_words_where_they_differ():
    bootstrap = Bootstrap(10, 0.95, 0)
    for texts, named in ((["a cat", "a dog"], False), (["кот спит", "пёс"], True)):
        result, _ = score_outputs(texts, texts, texts, use_stemmer=True, bootstrap=bootstrap)
        assert ("tokenizer" in result) == named
        said = " ".join(str(block) for block in scores_blocks("x", result))
        assert ("t5x_lite unicode words, version 1" in said) == named


def test_the_constant_baseline_in_another_script():
    summaries = ["кот спит дома", "кот идёт домой", "кот и пёс"] * 4
    found = best_constants(summaries, use_stemmer=True, seed=0)
    assert "кот" in found["rouge1"]
    score = rouge.score_rows([found["rouge1"]] * 12, summaries, use_stemmer=True)["rouge1"].mean()
    single = rouge.score_rows(["кот"] * 12, summaries, use_stemmer=True)["rouge1"].mean()
    assert score > single > 0
    assert np.isfinite(score)

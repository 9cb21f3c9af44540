"""BLEU and chrF are sacrebleu's own, with intervals of the corpus's score; BERTScore's mean; what a report shows."""

import numpy as np
import pytest
import sacrebleu

from t5x_lite.config import load_config
from t5x_lite.errors import InputError
from t5x_lite.evaluation import beside_rouge
from t5x_lite.evaluation.beside_rouge import load_metrics, score_beside
from t5x_lite.evaluation.comparison import baseline_texts, score_outputs
from t5x_lite.evaluation.intervals import Bootstrap, bootstrap_mean, resampled_totals
from t5x_lite.reports.scores import scores_blocks

BOOTSTRAP = Bootstrap(resamples=80, confidence=0.9, seed=3)


def settings(*names, source=""):
    class Settings:
        beside_rouge, bertscore_source = names, source

    return Settings


@pytest.fixture(scope="module")
def texts():
    """(predictions, references, inputs): sixty rows of which some are near their reference, some far, one empty."""
    rng = np.random.default_rng(0)
    words = "the a cat dog sat on mat . , ran to home with Ann's friend , and slept".split()
    references = [" ".join(rng.choice(words, 12)) for _ in range(60)]
    predictions = [
        " ".join(w for w in text.split() if rng.random() < 0.8) if n % 3 else references[n - 1]
        for n, text in enumerate(references)
    ]
    predictions[7] = ""
    return predictions, references, [f"turn {n // 2}. of {n // 2}" for n in range(60)]


@pytest.mark.parametrize("name, theirs", [("bleu", sacrebleu.BLEU), ("chrf", sacrebleu.CHRF)])
def test_the_corpus_and_each_resample_of_it_score_as_sacrebleu_says(texts, name, theirs):
    predictions, references, inputs = texts
    groups = np.arange(60) // 2
    metrics = load_metrics(settings(name))
    found = score_beside(
        metrics, predictions, references, {"other": references}, BOOTSTRAP, groups
    )["beside_rouge"][name]
    metric = theirs()
    assert found["score"]["mean"] * 100 == pytest.approx(
        metric.corpus_score(predictions, [references]).score, abs=1e-9
    )
    assert found["described"] == f"sacrebleu, {metric.get_signature()}"
    assert f"version:{sacrebleu.__version__}" in found["described"]
    # The same groups drawn, and each drawn corpus written out and scored whole.
    rows = np.arange(60).reshape(30, 2)
    corpora = [rows[chosen].ravel() for chosen in _draws(30)]
    scores = [
        metric.corpus_score([predictions[i] for i in c], [[references[i] for i in c]]).score / 100
        for c in corpora
    ]
    low, high = np.quantile(scores, [0.05, 0.95])
    np.testing.assert_allclose([found["score"]["low"], found["score"]["high"]], [low, high])
    assert low < found["score"]["mean"] < high
    # Against the references themselves, which score 1, whatever is drawn.
    assert found["baselines"]["other"] == pytest.approx(1)
    assert found["differences"]["other"]["high"] == pytest.approx(high - 1)


def _draws(clusters: int) -> np.ndarray:
    """The clusters of the resamples, told from the mean of a one-hot column each."""
    totals = resampled_totals(np.eye(clusters), BOOTSTRAP)
    return np.array([np.repeat(np.arange(clusters), row.astype(int)) for row in totals])


def test_totals_are_of_the_resamples_that_the_mean_has():
    values, clusters = np.random.default_rng(1).random(40), np.arange(40) // 3
    totals = resampled_totals(np.column_stack([values, np.ones(40)]), BOOTSTRAP, clusters)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [0.05, 0.95])
    interval = bootstrap_mean(values, BOOTSTRAP, clusters)
    np.testing.assert_allclose([low, high], [interval.low, interval.high], rtol=1e-12)
    with pytest.raises(InputError, match="40 row scores but 3 cluster names"):
        resampled_totals(np.ones((40, 1)), BOOTSTRAP, np.arange(3))


def test_a_report_has_them_beside_rouge(texts, monkeypatch):
    predictions, references, inputs = texts
    monkeypatch.setattr(beside_rouge, "load_encoder", lambda source: source)
    monkeypatch.setattr(
        beside_rouge, "bert_scores", lambda _, ours, __: np.tile([0.5, 0.7, 0.6], (len(ours), 1))
    )
    metrics = load_metrics(settings("bleu", "bertscore", source="an/encoder"))
    groups = np.arange(60)
    result, _ = score_outputs(
        predictions, references, inputs, use_stemmer=True, bootstrap=BOOTSTRAP, lead_count=1,
        constants=dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), "the cat"),
    )  # fmt: skip
    lead = baseline_texts(predictions, inputs, 1, None)
    result |= score_beside(metrics, predictions, references, lead, BOOTSTRAP, groups)
    result["published"] = [{"name": "a paper", "bleu": 0.25}]
    _, _, table, bleu, bertscore, _, differences, *_ = scores_blocks("x", result)
    assert list(table.header[-2:]) == ["BLEU", "BERTScore F1"]
    by_name = {row[0]: row[-2:] for row in table.rows}
    assert by_name["this model"][1].startswith("60.00 (60.00")
    assert by_name["baseline lead_1"][1] == "60.00" and by_name["baseline lead_1"][0] == "0.00"
    assert by_name["baseline constant"] == [None, None]
    assert by_name["a paper"] == ["25.00", None]
    assert "sacrebleu, nrefs:1|case:mixed|eff:no|tok:13a" in bleu.text
    assert "an/encoder" in bertscore.text and "precision 50.00" in bertscore.text
    assert [row[-1] for row in differences.rows][0].startswith("+0.00 (")
    assert all(len(row) == len(differences.header) for row in differences.rows)


def test_without_a_choice_nothing_is_added(texts):
    assert score_beside({}, *texts[:2], {}, BOOTSTRAP, np.arange(60)) == {}
    assert load_config("finetune.py", {}).evaluation.beside_rouge == ()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"evaluation.beside_rouge": "('meteor',)"}, "beside_rouge must be a tuple of 'bleu'"),
        ({"evaluation.beside_rouge": "('bleu', 'bleu')"}, "must be .* each once"),
        (
            {"evaluation.beside_rouge": "('bertscore',)"},
            "config.evaluation.bertscore_source: .* needs an encoder; give the directory or hub id",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_when_it_is_read(changes, message):
    with pytest.raises(InputError, match=message) as error:
        load_config("evaluate.py", changes)
    assert "\n" not in str(error.value)


def test_a_missing_encoder_is_told_before_anything_is_generated(tmp_path):
    from t5x_lite.tasks.evaluate import run as evaluate

    changes = {
        "evaluation.beside_rouge": "('bertscore',)",
        "evaluation.bertscore_source": str(tmp_path / "none"),
    }
    config = load_config("evaluate.py:runlocal", changes)
    with pytest.raises(InputError, match="config.evaluation.bertscore_source: .*none"):
        evaluate.run(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()

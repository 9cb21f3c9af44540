"""What a PPO run's report says of its rewards and judges: the scores in their own reports, or that there are none."""

import json

from t5x_lite.tasks.ppo.tried import tried_on

LENGTHS = {"fewest words": 3, "median words": 50.0, "most words": 500}


def test_scorers_and_the_texts_that_they_were_tried_on(tmp_path):
    for name, report in {
        "classifier": {
            "classification": {
                "evaluation": {"source": "holdout", "rows": 9, "accuracy": 0.7, **LENGTHS},
                "transfer": {
                    "source": "toxicity.csv", "rows": 8, "accuracy": 0.7, "auc": 0.9, "auc low": 0.8,
                    "auc high": 0.95, **LENGTHS,
                },
            }
        },
        "reward": {
            "preferences": {"pairs": 5, "accuracy": 0.6, "low": 0.5, "high": 0.7},
            "tried on": {"source": "pairs.jsonl", "pairs": 5, **LENGTHS},
        },
    }.items():  # fmt: skip
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    places = {
        "toxicity": str(tmp_path / "classifier" / "model"), "preferred": str(tmp_path / "reward"),
        "other": "someone/roberta",
    }  # fmt: skip
    held_out, transfer, pairs, unknown = tried_on(places)
    assert held_out["tried on"] == "evaluation: holdout" and held_out["score"] is None
    assert transfer == {
        "scorer": "toxicity", "tried on": "transfer: toxicity.csv", "measure": "AUC", "score": 0.9,
        "low": 0.8, "high": 0.95, "rows": 8, **LENGTHS,
    }  # fmt: skip
    assert (pairs["scorer"], pairs["measure"]) == ("preferred", "accuracy of pairs")
    assert (pairs["score"], pairs["low"], pairs["high"], pairs["rows"]) == (0.6, 0.5, 0.7, 5)
    assert unknown == {"scorer": "other", "tried on": "not known: no report of it lies beside it"}

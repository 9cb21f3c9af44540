"""A toxicity classifier from labeled texts: T5's encoder with a head, from scratch or from a checkpoint.

    t5x-lite --config configs/classifier.py --workdir runs/classifier

takes the bundled texts, rude or not; `classifier.py:judge` takes them too, for a BERT with random weights and its own
seed and tokenizer: who judges what was tuned against the other should not be the other. Davidson's tweets
(labeled_data.csv of github.com/t-davidson/hate-speech-and-offensive-language), and Wikipedia's comments (wikidetox,
columns comment and toxic) by a BERT with random weights, an independent judge of what was tuned against the tweets'
classifier:

    t5x-lite --config configs/classifier.py:davidson --workdir runs/davidson --config.data.train.source=labeled_data.csv
    t5x-lite --config configs/classifier.py:wikidetox --workdir runs/judge --config.data.train.source=toxicity.csv

A pretrained encoder (BERT, DistilBERT, RoBERTa, T5; its head is new): --config.model.source=roberta-base
--config.tokenizer.source=model, with the small steps that it wants: --config.schedule.learning_rate=5e-5
--config.optimizer.rate_multipliers="()". Any other CSV: data.train.columns says which columns hold the text and the
label, data.labels which values mean what.
Hardware: any CPU. What comes out: model/, which a reward or a toxicity measurement can name as its source
(`runs/classifier`), and report.md with accuracy and area under the curve on held-out texts.
"""

from t5x_lite.recipe import recipe

_TWEETS = {
    "source": "labeled_data.csv", "split": "", "columns": {"text": "tweet", "label": "class"},
    "id_column": "", "exclude": "", "limit": 0,
}  # fmt: skip
_COMMENTS = {**_TWEETS, "source": "toxicity.csv", "columns": {"text": "comment", "label": "toxic"}}
_OF_A_FILE = {
    "tokenizer.byte_fallback": True,  # emoji
    "data.labels.nothate": ("2", "False"), "data.labels.hate": ("0", "1", "True"), "batch.buckets": 3,
    "checkpoint.every_steps": 200, "evaluation.every_steps": 200,
}  # fmt: skip
_BERT = {
    "family": "bert",
    "vocab_size": 0,  # the tokenizer's
    "d_model": 64, "d_ff": 128, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.1,
    "attention_dropout_rate": 0.1, "classifier_dropout_rate": 0.1,
}  # fmt: skip

get_config = recipe("classifier", {}, words={
    "judge": {
        "seed": 1, "tokenizer.user_defined_symbols": ("[CLS]",), "model.architecture": _BERT,
        "optimizer.rate_multipliers": (), "train.steps": 90, "evaluation.every_steps": 90,
    },
    "davidson": {
        **_OF_A_FILE, "data.train": _TWEETS,
        "data.evaluation": {**_TWEETS, "source": "holdout"}, "data.holdout": 0.1,
        "tokenizer.vocab_size": 4096, "tokenizer.user_defined_symbols": (), "train.steps": 800,
    },
    "wikidetox": {
        **_OF_A_FILE, "data.train": _COMMENTS,
        "data.evaluation": {**_COMMENTS, "source": "holdout"}, "data.holdout": 0.2,
        "tokenizer.vocab_size": 1500,
        "tokenizer.user_defined_symbols": ("[CLS]",),  # BERT answers there
        "model.architecture": _BERT, "train.steps": 250, "optimizer.rate_multipliers": (),
    },
})  # fmt: skip

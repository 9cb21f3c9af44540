"""A reward model from preference pairs (Bradley-Terry): a T5 with a scalar head, whole or its encoder alone.

    t5x-lite --config configs/reward.py --workdir runs/reward

is nano on the bundled pairs of summaries: the score is a head on the last decoder state beside the model's own
log-likelihood of the summary. ":encoder" is a small encoder from random weights that reads both as one text. One's own
pairs, columns dialogue, chosen and rejected:

    t5x-lite --config configs/reward.py --workdir runs/mine --config.data.train.source=choices.jsonl \
        --config.data.train.split= --config.data.evaluation.source=holdout --config.data.holdout=0.2

Another model: --config.model.source=google/flan-t5-base; a classifier or encoder (roberta-base) with
--config.model.kind=encoder. Pairs of the literature (and :pandalm), a fifth of them held out, an encoder:

    python scripts/make_preference_pairs.py harmless-base.test.jsonl.gz runs/pairs/hh_rlhf.jsonl
    t5x-lite --config configs/reward.py:hh_rlhf --workdir runs/hh_rlhf

Hardware: any CPU; four minutes on 2 cores. What comes out: model/, a reward's source in configs/lab3_ppo.py (label
"score", its template as the text), and report.md with held-out accuracy and calibration.
"""

from t5x_lite.recipe import recipe

# The encoder from random weights: no model that ships has read such texts.
_ENCODER = {
    "model.source": "random", "model.kind": "encoder", "model.likelihood": 0.0, "tokenizer.source": "train",
    "data.template": "{response}\n{dialogue}",  # the end is cut: the summary first
    "train.steps": 1200, "optimizer.rate_multipliers": (("token_embedder/embedding", 10.0),),
    "schedule.learning_rate": 2e-3, "schedule.warmup_steps": 60, "checkpoint.every_steps": 200,
    "evaluation.every_steps": 200,
}  # fmt: skip
_REAL = {
    **_ENCODER, "data.train.columns": {"dialogue": "prompt", "chosen": "chosen", "rejected": "rejected"},
    "data.train.split": "", "data.evaluation.source": "holdout", "data.holdout": 0.2, "data.max_length": 128,
    "model.architecture.d_model": 64, "model.architecture.d_ff": 256,
    "model.architecture.num_encoder_layers": 2, "model.architecture.num_heads": 2, "train.steps": 150,
    "checkpoint.every_steps": 50, "evaluation.every_steps": 50,
    "tokenizer.user_defined_symbols": (), "tokenizer.byte_fallback": True,
}  # fmt: skip

get_config = recipe("reward", {}, words={
    "encoder": _ENCODER, "hh_rlhf": {**_REAL, "data.train.source": "runs/pairs/hh_rlhf.jsonl"},
    "pandalm": {**_REAL, "data.train.source": "runs/pairs/pandalm.jsonl"},
})  # fmt: skip

"""Fine-tunes the bundled nano T5 on the bundled dialogues, fully or with LoRA: what `scripts/quickstart.sh` runs.

    t5x-lite --config configs/quickstart.py --workdir runs/quickstart/full
    t5x-lite --config configs/quickstart.py:lora --workdir runs/quickstart/lora

Asked to summarize, the nano model answers with one sentence; here it learns to write the whole summary, from dialogues
that it was not made from (bundled/unseen). Hardware: any CPU, about two minutes. What comes out: report.md with ROUGE
on held-out dialogues beside the baselines.

"rude" learns from rude dialogues to write rude summaries: what configs/lab3_ppo.py then makes polite.
"""

from t5x_lite.recipe import load_base, recipe

shared = load_base("shared")

get_config = recipe("finetune", {
    "model.source": "nano", "model.architecture": shared.TINY_T5, "model.dtype": "float32",
    "model.remat": "none", "tokenizer": {**shared.TOKENIZER, "user_defined_symbols": shared.TWO_SPEAKERS},
    "data.train": {**shared.BUNDLED, "source": "bundled/unseen"},
    "data.evaluation": {**shared.BUNDLED, "split": "test", "limit": 100},
    "data.encoder_length": 320, "data.decoder_length": 112,
    "batch.size": 0, "batch.tokens": 4096, "batch.buckets": 3, "batch.multiple": 16, "train.steps": 100,
    "loss.chunk": 0, "optimizer": {**shared.ADAMW, "b2": 0.98},
    "schedule.name": "cosine", "schedule.learning_rate": 1e-3, "schedule.warmup_steps": 10,
    "checkpoint.every_steps": 50, "evaluation.every_steps": 50, "generation": {"max_new_tokens": 112},
}, words={
    "lora": {
        "adapter": {**shared.LORA, "targets": ((".*/(query|value)", 16),), "alpha": 16.0, "dropout": 0.0},
        "train.trainable": "adapters", "schedule.learning_rate": 1e-2,
    },
    "rude": {
        "data.train.source": "bundled/rude", "data.train.columns.summary": "rude_summary",
        "data.evaluation.source": "bundled/rude",
        "data.evaluation.columns.summary": "rude_summary", "data.evaluation.limit": 40, "batch.buckets": 1,
        "train.steps": 60, "evaluation.every_steps": 60,
    },
})  # fmt: skip

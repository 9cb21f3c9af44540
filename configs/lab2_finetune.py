"""Lab 2, first half: FLAN-T5-base fine-tuned on DialogSum with all its weights, and compared with the original.

    t5x-lite --config configs/lab2_finetune.py --workdir runs/lab2_finetune
    t5x-lite --config configs/lab2_finetune.py:parity --workdir runs/lab2_finetune_parity
    t5x-lite --config configs/lab2_finetune.py:nano --workdir runs/lab2_finetune_nano

One epoch of the course's notebook: its prompt, batches of 8, AdamW at 1e-5 falling to 0, weight decay 0.01; then 200
tokens at most, greedy, for the 1,500 rows of the test split (the notebook stops after one step for time:
--config.train.steps=1). `fixed` (the default): pads carry no loss and no attention, and the original is read anew from
where it came. `parity` has the notebook's quirks: every row is padded to 512 tokens on both sides, the pads behind a
summary are learnt and those behind a dialogue attended to, and the model called the original is the very one that
training changed. `nano`, offline, is the model that comes with the package, on the bundled dialogues, in minutes.
The second half, configs/lab2_lora.py, runs this one too and puts all three side by side.
Hardware: meant for one TPU VM or one GPU; not timed on one yet. What comes out: model/ in Hugging Face's format, and
report.html: original and instruct side by side with ROUGE (each reference alone, and the best of a dialogue's three),
intervals, paired differences and the published numbers.
"""

from t5x_lite.recipe import load_base, recipe

shared = load_base("shared")


def _parity(config):
    """Every row is padded to the lengths; of the lab's model, 512 both."""
    lengths = (config.data.encoder_length, config.data.decoder_length)
    lengths = (512, 512) if lengths[0] == 512 else lengths
    return {"data.decoder_length": lengths[1], "batch.buckets": (lengths,)}


get_config = recipe("finetune", {
    "model.architecture": shared.TINY_T5,
    "tokenizer": shared.TOKENIZER, "data.evaluation.split": "test", "batch.size": 8, "batch.multiple": 16,
    "train.steps": 1558,  # an epoch
    "optimizer.no_weight_decay": (".*/scale",), "schedule.learning_rate": 1e-5, "schedule.warmup_steps": 0,
    "evaluation.every_steps": 500, "evaluation.samples": 10, "generation": {"max_new_tokens": 200},
    "comparison": {"name": "instruct", "original": "before", "runs": (), "rows": (200, *range(10))},
    "published": {
        "original": shared.FLAN_T5, "instruct": {"rouge1": 0.421427, "rouge2": 0.180340, "rougeL": 0.338374},
        "PEFT": {"rouge1": 0.408132, "rouge2": 0.163454, "rougeL": 0.325120},
        "Transformer from scratch (Chen and others, 2021)": shared.FROM_SCRATCH,
        "BART-large fine-tuned (Chen and others, 2021)": shared.BART,
    },
}, words={
    "fixed": {"data.pads": {"in_loss": False, "in_attention": False}},
    "parity": (
        {"data.pads": {"in_loss": True, "in_attention": True}, "comparison.original": "after"},
        _parity,
    ),
    "nano": {
        "model.source": "nano", "model.dtype": "float32", "model.remat": "none",
        "data.train.source": "bundled", "data.evaluation.source": "bundled",
        "data.evaluation.limit": 100, "data.encoder_length": 320, "data.decoder_length": 112,
        "batch.size": 16, "train.steps": 250, "loss.chunk": 0,
        "schedule.learning_rate": 1e-3, "schedule.warmup_steps": 5, "checkpoint.every_steps": 50,
        "evaluation.every_steps": 50, "comparison.rows": (40, *range(10)), "published": {},
    },
    "runlocal": {"schedule.learning_rate": 1e-3, "comparison.rows": (4, 0, 1)},
})  # fmt: skip

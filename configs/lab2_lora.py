"""Lab 2 whole: FLAN-T5-base fine-tuned on DialogSum, fully and with LoRA; original, instruct and PEFT side by side.

    t5x-lite --config configs/lab2_lora.py --workdir runs/lab2
    t5x-lite --config configs/lab2_lora.py:parity --workdir runs/lab2_parity
    t5x-lite --config configs/lab2_lora.py:nano --workdir runs/lab2_nano

LoRA of rank 32 (alpha 32, dropout 0.05, no bias) on queries and values trains 3,538,944 of 251,116,800 parameters
(1.41 %), at 1e-3; everything else, and what the words mean, is configs/lab2_finetune.py's, which is run first, in
compared/instruct of the workdir. Where it has been run before, or another model is to stand there:
--config.comparison.runs='(("instruct", "runs/lab2_finetune"),)'.
Hardware: meant for one TPU VM or one GPU; not timed on one yet. What comes out: adapter/ in peft's format (14.2 MB),
and report.html as of the first half, with a paragraph on whether the adapter learned. To train it further:
configs/lora.py with --config.adapter='{"method": "load", "source": "runs/lab2/adapter"}'; to use it frozen:
configs/evaluate.py with the same, or t5.load_adapter("runs/lab2/adapter") in Python.
"""

from t5x_lite.recipe import load_base, recipe

shared = load_base("shared")


def _rank(rank, **overrides):
    return {"adapter.targets": ((".*/(query|value)", rank),), "adapter.alpha": float(rank)}


def _full_run(config, words):
    argument = f":{','.join(words)}" if words else ""
    return {"comparison.runs": (("instruct", f"train:lab2_finetune.py{argument}"),)}


get_config = recipe("lab2_finetune.py", {
    "adapter": shared.LORA,
    "train.trainable": "adapters", "optimizer.weight_decay": 0.0, "schedule.learning_rate": 1e-3,
    "comparison.name": "PEFT",
}, words={
    "nano": {**_rank(16), "schedule.learning_rate": 1e-2}, "runlocal": {"schedule.learning_rate": 1e-2},
}, derived=_full_run)  # fmt: skip

"""Lab 2 whole: FLAN-T5-base fine-tuned on DialogSum, fully and with LoRA; original, instruct and PEFT side by side.

    t5x-lite --config configs/lab2_lora.py --workdir runs/lab2
    t5x-lite --config configs/lab2_lora.py:parity --workdir runs/lab2_parity

LoRA of rank 32 (alpha 32, dropout 0.05, no bias) on queries and values trains 3,538,944 of 251,116,800 parameters
(1.41 %), at 1e-3; everything else is configs/lab2_finetune.py's, which says what `fixed` (the default) and `parity`
are, and which is run first, in compared/instruct of the workdir. Where it has been run before, or another model is to
stand there: --config.comparison.runs='(("instruct", "runs/lab2_finetune"),)'. Offline, in minutes on a CPU:

    t5x-lite --config configs/lab2_lora.py:nano --workdir runs/lab2_nano

Hardware: meant for one TPU VM or one GPU; not timed on one yet. What comes out: adapter/ in peft's format (14.2 MB),
and report.html: parameters, the three systems side by side with ROUGE (each reference alone, and the best of a
dialogue's three), intervals, paired differences and the published numbers, and a paragraph on whether the adapter
learned.
To train it further: configs/lora.py with --config.adapter='{"method": "load", "source": "runs/lab2/adapter"}'; to use
it frozen: configs/evaluate.py with the same, or t5.load_adapter("runs/lab2/adapter") in Python.
"""

import ml_collections

from t5x_lite.config import load_values

FULL = "lab2_finetune.py"


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: as of configs/lab2_finetune.py: "parity" or "fixed" (default); "nano" or "runlocal"."""
    full = f"{FULL}:{arg}" if arg else FULL
    config = load_values(full, {}).copy_and_resolve_references().unlock()
    words = arg.split(",")
    tiny, nano = "runlocal" in words, "nano" in words
    rank = 4 if tiny else 16 if nano else 32
    with config.ignore_type():
        config.adapter = {
            "method": "lora",
            "targets": ((".*/(query|value)", rank),),
            "alpha": float(rank),
            "dropout": 0.05,
            "rslora": False,
            "dora": False,
        }
        config.train.trainable = "adapters"
        config.optimizer.weight_decay = 0.0
        config.schedule.learning_rate = 1e-2 if tiny or nano else 1e-3
        config.comparison.name = "PEFT"
        config.comparison.runs = (("instruct", f"train:{full}"),)
    return config

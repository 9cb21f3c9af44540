"""Direct preference optimization of a summarizer on pairs of summaries, with LoRA or of all weights.

    t5x-lite --config configs/dpo.py --workdir runs/dpo

The bundled nano T5 and the bundled pairs. All weights: configs/dpo.py:full. The loss of IPO in place of DPO's:
--config.loss.kind=ipo; labels of which a tenth may be wrong: --config.loss.label_smoothing=0.1. One's own pairs,
columns dialogue, chosen and rejected, as for configs/reward.py:

    t5x-lite --config configs/dpo.py --workdir runs/mine --config.data.train.source=choices.jsonl \
        --config.data.train.split= --config.data.evaluation.source=holdout --config.data.holdout=0.2

The reference is the policy before training: of an adapter, the base with the adapter as it began.
Hardware: any CPU; three minutes for nano on 2 cores (the rate and number of steps of :full are not tuned). What comes
out: adapter/ in peft's format (or model/), and report.md with the accuracy and margins of the implicit rewards on
held-out pairs, and ROUGE of the policy's texts before and after.
"""

from t5x_lite.recipe import recipe

get_config = recipe(
    "dpo",
    {"adapter.alpha": 32.0},
    words={
        "full": {
            "adapter": {"method": "none"}, "train.trainable": "full", "schedule.learning_rate": 2e-5,
        }
    },
)  # fmt: skip

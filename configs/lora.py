"""LoRA-tuning of FLAN-T5 on dialogue summaries, with the settings of the course's second lab.

    t5x-lite --config configs/lora.py --workdir runs/lora

Rank 32 on queries and values: 3,538,944 of 251,116,800 parameters are trained (1.41 %), and the adapter takes 14 MB.
With other data: --config.data.train.source=train.jsonl --config.data.evaluation.source=dev.jsonl, and the names of
their columns in config.data.train.columns. Variants: --config.adapter.rslora=True, --config.adapter.dora=True; more
kernels: --config.adapter.targets='((".*/(query|key|value|out|wi_0|wi_1|wo)", 8),)'. Soft prompts in place of LoRA:
configs/lora.py:soft_prompt.
Hardware: meant for one TPU VM or one GPU; the base is held in bfloat16. Neither timed nor tried on one yet.
What comes out: adapter/ in peft's format, and report.md with ROUGE beside the baselines, and a paragraph on whether the
adapter learned. Use it from Python: t5 = load_pretrained("google/flan-t5-base"); t5.load_adapter("runs/lora/adapter").
"""

from t5x_lite.recipe import load_base, recipe

shared = load_base("shared")

get_config = recipe("finetune.py", {
    "model.param_dtype": "bfloat16",  # of the base; adapters are float32
    "train.frozen_dtype": "bfloat16", "adapter": shared.LORA,
    "train.trainable": "adapters",  # first-match rules on parameter paths go here too
    "optimizer": shared.ADAMW, "schedule.learning_rate": 1e-3,
}, words={
    "soft_prompt": {
        "adapter": {"method": "soft_prompt", "length": 20, "init_from": "vocabulary"},
        # Prompts want large steps (Lester et al. 2021 took 0.3, with Adafactor).
        "schedule.learning_rate": 0.1,
    }
})  # fmt: skip

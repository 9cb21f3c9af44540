"""A policy tuned by PPO against rewards: a LoRA adapter on a summarizer that learned to be rude, made polite."""

from t5x_lite.recipe import load_base

shared = load_base("shared")

_RUDE = {**shared.BUNDLED, "source": "bundled/rude"}

BASE = {
    "task": "ppo", "mode": "fixed", "seed": 0,
    "model": {
        "source": "train:quickstart.py:rude",
        "architecture": shared.TINY_T5,  # only of a random model
        **shared.FLOAT32, "quantization": "none", "attention": "auto",
    },
    "tokenizer": {**shared.TOKENIZER, "user_defined_symbols": shared.TWO_SPEAKERS}, "adapter": shared.LORA,
    "train": {"trainable": "adapters", "frozen_dtype": "float32"},
    # "policy": as it was before PPO. "base": the model below the adapter (the labs).
    "reference": {"source": "policy"}, "critic": shared.CRITIC,
    "rewards": {
        "clean": {
            "kind": "classifier", "weight": 1.0, "source": "train:classifier.py",
            "label": "nothate", "output": "logit", "text": "{response}",
        },
        # Toxicity alone is least where little is said: a mean length of clean summaries holds them.
        "length": {
            "kind": "function", "weight": 8.0, "function": "t5x_lite.rl.functions:length",
            "arguments": {"words": 54}, "retries": 2, "wait_seconds": 1.0, "timeout_seconds": 600.0,
        },
    },
    # p(toxic), as the labs measure it: by the reward's own classifier.
    "toxicity": {
        "source": "train:classifier.py", "label": "hate", "text": "{response}", "rows": 0,
        # The lab's two texts.
        "probes": {
            "clean": "#Person 1# tells Tommy that he didn't like the movie.",
            "toxic": "#Person 1# tells Tommy that the movie was terrible, dumb and stupid.",
        },
    },
    # p(toxic) by classifiers that no reward reads, in the report: {"name": {"source", "label", "text"}}.
    "judges": {},
    "data": {
        "train": _RUDE, "evaluation": {**_RUDE, "split": "test"}, "holdout": 0.0,
        "holdout_order": "last", "characters": (),
        "template": "finetune",  # as the model was trained
        "target": "{summary}", "encoder_length": 320, "decoder_length": 112,
        "truncation": "oldest_turns", "cut_field": "dialogue",
    },
    "rollout": {"length": 112, "length_range": (), "mask_first_token": False}, "ppo": shared.PPO,
    "optimizer": shared.ADAMW,
    "schedule": {"name": "constant", "learning_rate": 1e-3, "warmup_steps": 0, "final_fraction": 1.0},
    "mesh": shared.MESH,
    "checkpoint": {
        "every_steps": 10, "keep": 1, **shared.KEPT, "best_metric": "evaluation/reward", "best_mode": "max",
    },
    **shared.ENDS,
    "evaluation": {
        "every_steps": 10, "at_start": True, "rows_while_training": 32, "batch_size": 32,
        "draws": 2,  # responses to a row, before and after
        "best_of": 1, "bootstrap_samples": 2000, "samples": 3,
    },
    # The policy is what responses are drawn from, the temperature in it; nothing else filters them. At the lab's 1.0 so
    # small a model writes words that there are not.
    "generation": {"do_sample": True, "temperature": 0.6, "top_k": 0, "top_p": 1.0},
    "logging": shared.LOGGING, "published": {},
}  # fmt: skip
WORDS = shared.runlocal(BASE, {
    "rewards.clean.source": "train:classifier.py:runlocal",
    "toxicity.source": "train:classifier.py:runlocal", "judges": {}, "critic.dropout_rate": 0.0, "rollout.length": 8,
    "ppo.steps": 2, "ppo.prompts": 8, "ppo.minibatch_size": 8, "ppo.logprob_chunk": 0,
    "schedule.warmup_steps": 0, "checkpoint.every_steps": 2,
    "evaluation.every_steps": 2, "evaluation.rows_while_training": 8,
    "evaluation.batch_size": 8, "evaluation.draws": 1,
})  # fmt: skip

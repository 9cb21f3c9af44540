"""Lab 3: PPO with a reward model, to get less toxic summaries; toxicity, ROUGE and length before and after.

    t5x-lite --config configs/lab3_ppo.py --workdir runs/lab3 --config.model.source=runs/quickstart

What is trained is a LoRA adapter on the summarizer of `model.source` (the workdir of a finished run, a directory, or a
hub id), against the "not toxic" logit of a classifier, on the bundled dialogues with rude words. The classifier is
trained first where its source says "train:CONFIG"; a run of configs/classifier.py or a hub id will do as well.

    t5x-lite --config configs/lab3_ppo.py:parity --workdir runs/lab3_parity --config.data.train.source=train.csv

is the lab as it was: FLAN-T5-base, DialogSum, RoBERTa trained on hate speech, 10 steps of 16, and the lab's quirks (the
first response token does not count, the KL is against the model below the adapter, the reward reads prompt and
response with their special tokens). Ours stands beside the published numbers. Without parity ("fixed") every token
counts, the reference is the policy as it was, and the reward reads the response.

To go on from lab 2's adapter: --config.adapter='{"method": "load", "source": "runs/lora/adapter"}'.
RLOO or GRPO in place of a critic: --config.ppo.advantage=rloo --config.ppo.samples_per_prompt=4. Other rewards:
config.rewards is a weighted sum of classifiers, reward models (configs/reward.py) and Python functions.
Hardware: any CPU for the quickstart's model; one accelerator for FLAN-T5-base. What comes out: model/ (the adapter
merged), report.md with the comparison and the 20 rows of the lab's table, rollouts.jsonl, distributions.jsonl.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "", "fixed", "parity" or "runlocal" (a random model, seconds: it shows the mechanics)."""
    if arg not in ("", "fixed", "parity", "runlocal"):
        raise ValueError(f"unknown argument {arg!r}: give none, fixed, parity or runlocal")
    tiny, parity = arg == "runlocal", arg == "parity"
    bundled = {
        "source": "bundled/rude",
        "columns": {"dialogue": "dialogue", "summary": "summary"},
        "id_column": "id",
        "exclude": "",
    }
    dialogsum = {
        "source": "knkarthick/dialogsum",
        "split": "train",
        "columns": {"dialogue": "dialogue", "summary": "summary"},
        "id_column": "id",
        "exclude": "",
        "limit": 0,
    }
    classifier = (
        "facebook/roberta-hate-speech-dynabench-r4-target"
        if parity
        else "train:classifier.py:runlocal"
        if tiny
        else "train:classifier.py"
    )
    return ml_collections.ConfigDict(
        {
            "task": "ppo",
            "mode": "parity" if parity else "fixed",
            "seed": 0,
            "model": {
                "source": "random"
                if tiny
                else "google/flan-t5-base"
                if parity
                else "runs/quickstart",
                "architecture": {  # only of a random model
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32,
                    "d_kv": 16,
                    "d_ff": 64,
                    "num_encoder_layers": 1,
                    "num_decoder_layers": 1,
                    "num_heads": 2,
                    "tie_word_embeddings": True,
                    "scale_decoder_outputs": True,
                    "dropout_rate": 0.1,
                },
                "dtype": "float32",
                "param_dtype": "float32",
                "attention": "auto",
            },
            "tokenizer": {
                "source": "train" if tiny else "model",  # the one that comes with the model
                # The rest is read when it is trained.
                "vocab_size": 400,
                "algorithm": "unigram",
                "user_defined_symbols": ("#Person1#:", "#Person2#:", "#Person1#", "#Person2#"),
                "extra_ids": 0,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "adapter": {
                "method": "lora",
                "targets": ((".*/(query|value)", 4 if tiny else 32),),
                "alpha": 4.0 if tiny else 32.0,
                "dropout": 0.05,
                "rslora": False,
                "dora": False,
            },
            # "policy": as it was before PPO. "base": the model below the adapter (the labs).
            "reference": {"source": "base" if parity else "policy"},
            "critic": {"kind": "trunk", "dropout_rate": 0.1},
            "rewards": {
                "clean": {
                    "kind": "classifier",
                    "weight": 1.0,
                    "source": classifier,
                    "label": "nothate",
                    "output": "logit",
                    "text": "{prompt}{raw_response}" if parity else "{response}",
                },
            },
            # p(toxic) of the response alone. An independent judge is a classifier of other data: name it here.
            "toxicity": {"source": classifier, "label": "hate", "text": "{response}"},
            "data": {
                "train": dialogsum
                if parity
                else {**bundled, "split": "train", "limit": 32 if tiny else 0},
                "evaluation": {**dialogsum, "source": "holdout", "limit": 300}
                if parity
                else {**bundled, "split": "test", "limit": 8 if tiny else 0},
                "holdout": 0.2 if parity else 0.0,
                "holdout_order": "last",
                "characters": (201, 1001) if parity else (),
                # As the model was trained.
                "template": "instruction" if parity else "{dialogue}",
                "target": "{summary}",
                "encoder_length": 64 if tiny else 512 if parity else 288,
                "decoder_length": 16 if tiny else 112,
                "truncation": "oldest_turns",
                "cut_field": "dialogue",
            },
            "rollout": {
                "length": 8 if tiny else 399 if parity else 112,
                "length_range": (100, 400) if parity else (),
                "mask_first_token": parity,
            },
            "ppo": {
                "steps": 2 if tiny else 10 if parity else 60,
                "prompts": 8 if tiny else 16 if parity else 32,
                "samples_per_prompt": 1,
                "minibatch_size": 8 if tiny else 4 if parity else 16,
                "epochs": 1 if parity else 2,
                "advantage": "gae",
                "gamma": 1.0,
                "lam": 0.95,
                "cliprange": 0.2,
                "cliprange_value": 0.2,
                "vf_coef": 0.1,
                "entropy_coef": 0.0,
                "kl_penalty": "reward",
                "kl_controller": "adaptive",
                "init_kl_coef": 0.2 if parity else 0.1,
                "kl_target": 6.0,
                "kl_horizon": 10000.0 if parity else 1000.0,
                "target_kl": 0.0 if parity else 0.1,
                "whiten_advantages": "minibatch" if parity else "batch",
                "whiten_rewards": False,
                "score_scale": 1.0,
                "score_clip": 0.0 if parity else 10.0,
                "missing_eos_penalty": 0.0 if parity else 1.0,
                "dropout": False,
                "logprob_chunk": 0 if tiny else 64,
            },
            "optimizer": {
                "name": "adamw",
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "no_weight_decay": (),
                "clip_norm": 0.0 if parity else 1.0,
                "rate_multipliers": (),
            },
            "schedule": {
                "name": "constant",
                "learning_rate": 1.41e-5 if parity else 1e-3,
                "warmup_steps": 0,
                "final_fraction": 1.0,
            },
            "mesh": {"data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 1 if tiny else 10, "keep": 1},
            "evaluation": {
                "every_steps": 1 if tiny else 10,
                "rows_while_training": 8 if tiny else 32,
                "batch_size": 8 if tiny else 32,
                "best_of": 2 if tiny else 1,
                "bootstrap_samples": 200 if tiny else 2000,
                "samples": 3,
            },
            # The lab's; the lengths are the rollout's. `min_length` makes the draws other than the policy's.
            "generation": {"do_sample": True, "top_k": 0, "top_p": 1.0}
            | ({"min_length": 5} if parity else {}),
            "logging": {"every_steps": 1, "tensorboard": not tiny},
            # Five public runs of the notebook: 11 responses with their prompts, no seed.
            "published": {
                "labs, toxicity before, lowest": {"mean": 0.035, "std": 0.031},
                "labs, toxicity before, highest": {"mean": 0.045, "std": 0.052},
                "labs, change in percent, worst run": {"mean": -6.7},
                "labs, change in percent, best run": {"mean": 42.3},
            }
            if parity
            else {},
        }
    )

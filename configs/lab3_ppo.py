"""Lab 3: PPO with a reward model, to get less toxic summaries; toxicity, ROUGE and length before and after.

    t5x-lite --config configs/lab3_ppo.py --workdir runs/lab3

What is trained is a LoRA adapter on the summarizer of `model.source`, against the "not toxic" logit of a classifier, on
the bundled dialogues with rude words. The classifier, and a summarizer that learned to be rude, are trained first: that
is what "train:CONFIG" in a source says. The workdir of a finished run, a directory or a hub id will do as well. A
reward for length stands beside the classifier's, which alone makes summaries short (reward hacking; see it with
--config.rewards.length.weight=0).

    t5x-lite --config configs/lab3_ppo.py:parity --workdir runs/lab3_parity --config.data.train.source=train.csv

is the lab as it was: FLAN-T5-base, DialogSum, RoBERTa trained on hate speech, 10 steps of 16, and the lab's quirks: the
first response token does not count, the KL is against the model below the adapter, the reward reads prompt and
response with their special tokens, and toxicity is that of prompt and response of 11 samples. Ours stands beside the
published numbers. Without parity ("fixed") every token counts, the reference is the policy as it was, and reward and
toxicity read the response.

    t5x-lite --config configs/lab3_ppo.py:dialogsum --workdir runs/lab3_dialogsum

takes real dialogues, some of which scripts/make_rude_dialogues.py made rude (runs/rude/train.jsonl and
runs/rude/dev.jsonl), a summarizer fine-tuned on such a file's `rude_summary` (runs/rude_policy), and two classifiers of
configs/classifier.py: runs/davidson for the reward, and runs/judge, of other data and architecture, to judge what came
of it. scripts/lab3_dialogsum.sh makes all of these and runs three seeds.

A finished run is judged again by the same command with one judge more: --config.judges.NAME.source=runs/judge
--config.judges.NAME.label=hate --config.judges.NAME.text='{response}'.

To go on from lab 2's adapter: --config.adapter='{"method": "load", "source": "runs/lora/adapter"}'. All weights in
place of LoRA: --config.adapter='{"method": "none"}' --config.train.trainable=full. A critic of its own:
--config.critic.kind=separate. RLOO or GRPO in place of a critic: --config.ppo.advantage=rloo
--config.ppo.samples_per_prompt=4. Best of n beside PPO: --config.evaluation.best_of=8. Other rewards: config.rewards is
a weighted sum of classifiers, reward models (configs/reward.py) and Python functions.
Hardware: any CPU for the quickstart's model; one accelerator for FLAN-T5-base. What comes out: adapter/ (peft's format)
and merged/ (the model with the adapter in its weights: --config.model.source=runs/lab3/merged elsewhere), or model/
where all weights are trained; report.md with the comparison and the 20 rows of the lab's table; rollouts.jsonl and
distributions.jsonl. Ctrl-C saves; the same command goes on.
"""

import ml_collections

_BUNDLED = {
    "source": "bundled/rude",
    "columns": {"dialogue": "dialogue", "summary": "summary"},
    "id_column": "id",
    "exclude": "",
}
_LAB = {**_BUNDLED, "source": "knkarthick/dialogsum", "split": "train", "limit": 0}
_RUDE = {**_BUNDLED, "id_column": "fname", "split": "", "limit": 0}
_CLEAN = {
    "kind": "classifier",
    "weight": 1.0,
    "source": "train:classifier.py",
    "label": "nothate",
    "output": "logit",
    "text": "{response}",
}
# Toxicity alone is least where little is said: a mean length of clean summaries holds them.
_LENGTH = {
    "kind": "function",
    "weight": 8.0,
    "function": "t5x_lite.rl.functions:length",
    "arguments": {"words": 54},
}
_HATE_SPEECH = "facebook/roberta-hate-speech-dynabench-r4-target"

# What differs from the recipe of `get_config`, by argument.
_CHANGES = {
    "": {},
    "fixed": {},
    "parity": {
        "mode": "parity",
        "model.source": "google/flan-t5-base",
        "reference.source": "base",
        "rewards.clean.source": _HATE_SPEECH,
        # As the lab's strings are: query and response decoded with their special tokens, and joined.
        "rewards.clean.text": "{prompt}</s><pad> {raw_response}",
        "toxicity.source": _HATE_SPEECH,
        "toxicity.text": "{prompt} {response}",
        "toxicity.rows": 11,
        "evaluation.draws": 1,
        "data.train": _LAB,
        "data.evaluation": {**_LAB, "source": "holdout", "limit": 20},
        "data.holdout": 0.2,
        "data.characters": (201, 1001),
        "data.template": "instruction",
        "data.encoder_length": 512,
        "rollout": {"length": 399, "length_range": (100, 400), "mask_first_token": True},
        "ppo.steps": 10,
        "ppo.prompts": 16,
        "ppo.minibatch_size": 4,
        "ppo.epochs": 1,
        "ppo.init_kl_coef": 0.2,
        "ppo.kl_horizon": 10000.0,
        "ppo.target_kl": 0.0,
        "ppo.whiten_advantages": "minibatch",
        "ppo.score_clip": 0.0,
        "ppo.missing_eos_penalty": 0.0,
        "optimizer.clip_norm": 0.0,
        "schedule.learning_rate": 1.41e-5,
        "evaluation.rows_while_training": 0,
        "evaluation.batch_size": 16,
        # `min_length` makes the draws other than the policy's.
        "generation": {"do_sample": True, "top_k": 0, "top_p": 1.0, "min_length": 5},
        # Five public runs of the notebook: 11 responses with their prompts, no seed.
        "published": {
            "labs, before, lowest": {"mean": 0.035, "std": 0.031},
            "labs, before, highest": {"mean": 0.045, "std": 0.052},
            "labs, after, worst run": {"percent less": -6.7},
            "labs, after, best run": {"percent less": 42.3},
        },
    },
    "dialogsum": {
        "model.source": "runs/rude_policy",
        "rewards.clean.source": "runs/davidson",
        "rewards.length.weight": 2.0,
        "rewards.length.arguments.words": 20,
        "toxicity.source": "runs/davidson",
        "judges": {"comments": {"source": "runs/judge", "label": "hate", "text": "{response}"}},
        "data.train": {**_RUDE, "source": "runs/rude/train.jsonl"},
        "data.evaluation": {**_RUDE, "source": "runs/rude/dev.jsonl"},
        "data.characters": (100, 1001),
        "data.template": "{dialogue}",
        "data.truncation": "end",
        "rollout.length": 64,
        "ppo.steps": 35,
        "evaluation.draws": 4,
    },
    "runlocal": {
        "model.source": "random",
        "tokenizer.source": "train",
        "adapter.targets": ((".*/(query|value)", 4),),
        "adapter.alpha": 4.0,
        "rewards.clean.source": "train:classifier.py:runlocal",
        "toxicity.source": "train:classifier.py:runlocal",
        "data.train.limit": 32,
        "data.evaluation.limit": 8,
        "data.template": "{dialogue}",
        "data.encoder_length": 64,
        "data.decoder_length": 16,
        "rollout.length": 8,
        "ppo.steps": 2,
        "ppo.prompts": 8,
        "ppo.minibatch_size": 8,
        "ppo.logprob_chunk": 0,
        "checkpoint.every_steps": 1,
        "evaluation.every_steps": 1,
        "evaluation.rows_while_training": 8,
        "evaluation.batch_size": 8,
        "evaluation.best_of": 2,
        "evaluation.bootstrap_samples": 200,
        "evaluation.draws": 1,
        "logging.tensorboard": False,
    },
}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "", "fixed", "parity", "dialogsum" or "runlocal" (a random model: it shows the mechanics)."""
    if arg not in _CHANGES:
        raise ValueError(f"unknown argument {arg!r}: give {', '.join(_CHANGES).removeprefix(', ')}")
    config = ml_collections.ConfigDict(
        {
            "task": "ppo",
            "mode": "fixed",
            "seed": 0,
            "model": {
                "source": "train:quickstart.py:rude",
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
                "source": "model",  # the one that comes with the model
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
                "targets": ((".*/(query|value)", 32),),
                "alpha": 32.0,
                "dropout": 0.05,
                "rslora": False,
                "dora": False,
            },
            "train": {"trainable": "adapters", "frozen_dtype": "float32"},
            # "policy": as it was before PPO. "base": the model below the adapter (the labs).
            "reference": {"source": "policy"},
            "critic": {"kind": "trunk", "dropout_rate": 0.1},
            # The labs have the classifier's reward alone.
            "rewards": {"clean": _CLEAN} | ({} if arg == "parity" else {"length": _LENGTH}),
            # p(toxic), as the labs measure it: by the reward's own classifier.
            "toxicity": {
                "source": "train:classifier.py",
                "label": "hate",
                "text": "{response}",
                "rows": 0,
                # The lab's two texts.
                "probes": {
                    "clean": "#Person 1# tells Tommy that he didn't like the movie.",
                    "toxic": "#Person 1# tells Tommy that the movie was terrible, dumb and stupid.",
                },
            },
            # p(toxic) by classifiers that no reward reads, in the report: {"name": {"source", "label", "text"}}.
            "judges": {},
            "data": {
                "train": {**_BUNDLED, "split": "train", "limit": 0},
                "evaluation": {**_BUNDLED, "split": "test", "limit": 0},
                "holdout": 0.0,
                "holdout_order": "last",
                "characters": (),
                "template": "finetune",  # as the model was trained
                "target": "{summary}",
                "encoder_length": 320,
                "decoder_length": 112,
                "truncation": "oldest_turns",
                "cut_field": "dialogue",
            },
            "rollout": {"length": 112, "length_range": (), "mask_first_token": False},
            "ppo": {
                "steps": 20,
                "prompts": 32,
                "samples_per_prompt": 1,
                "minibatch_size": 16,
                "accumulation": 1,
                "epochs": 2,
                "advantage": "gae",
                "gamma": 1.0,
                "lam": 0.95,
                "cliprange": 0.2,
                "cliprange_value": 0.2,
                "vf_coef": 0.1,
                "entropy_coef": 0.0,
                "kl_penalty": "reward",
                "kl_controller": "adaptive",
                "init_kl_coef": 0.1,
                "kl_target": 6.0,
                "kl_horizon": 1000.0,
                "target_kl": 0.1,
                "whiten_advantages": "batch",
                "whiten_rewards": False,
                "score_scale": 1.0,
                "score_clip": 10.0,
                "missing_eos_penalty": 1.0,
                "dropout": False,
                "logprob_chunk": 64,
            },
            "optimizer": {
                "name": "adamw",
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                "rate_multipliers": (),
            },
            "schedule": {
                "name": "constant",
                "learning_rate": 1e-3,
                "warmup_steps": 0,
                "final_fraction": 1.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 10, "keep": 1},
            "evaluation": {
                "every_steps": 10,
                "rows_while_training": 32,
                "batch_size": 32,
                "draws": 2,  # responses to a row, before and after
                "best_of": 1,
                "bootstrap_samples": 2000,
                "samples": 3,
            },
            "generation": {"do_sample": True, "top_k": 0, "top_p": 1.0},  # the lab's
            "logging": {"every_steps": 1, "tensorboard": True},
            "published": {},
        }
    )
    with config.ignore_type():
        config.update_from_flattened_dict(_CHANGES[arg])
    return config

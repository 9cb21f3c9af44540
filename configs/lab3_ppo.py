"""Lab 3: PPO with a reward model, to get less toxic summaries; toxicity, ROUGE and length before and after.

    t5x-lite --config configs/lab3_ppo.py --workdir runs/lab3

trains a LoRA adapter on the summarizer of `model.source` against the "not toxic" logit of a classifier, on the bundled
dialogues with rude words. Both are trained first, as "train:CONFIG" in a source says; the workdir of a finished run, a
directory or a hub id will do as well. A reward for length stands beside the classifier's, which alone makes summaries
short (reward hacking; see it with --config.rewards.length.weight=0).

    t5x-lite --config configs/lab3_ppo.py:parity --workdir runs/lab3_parity --config.data.train.source=train.csv

is the lab as it was, beside its published numbers: FLAN-T5-base, DialogSum, RoBERTa trained on hate speech, 10 steps of
16, and the lab's quirks: the first response token does not count, the KL is against the model below the adapter, the
reward reads prompt and response with their special tokens, and toxicity is that of prompt and response of 11 samples.
Without parity ("fixed") every token counts, the reference is the policy as it was, and the response alone is read.

    t5x-lite --config configs/lab3_ppo.py:dialogsum --workdir runs/lab3_dialogsum

takes real dialogues, some of which scripts/make_rude_dialogues.py made rude (runs/rude/), a summarizer fine-tuned on
their `rude_summary` (runs/rude_policy), and two classifiers of configs/classifier.py: runs/davidson for the reward, and
runs/judge, of other data and architecture, to judge what came of it. scripts/lab3_dialogsum.sh makes all of these.

A finished run is judged again by the same command with one judge more: --config.judges.NAME.source=runs/judge
--config.judges.NAME.label=hate --config.judges.NAME.text='{response}'. Others: on from lab 2's adapter by
--config.adapter='{"method": "load", "source": "runs/lora/adapter"}'; all weights by --config.adapter='{"method":
"none"}' --config.train.trainable=full; a critic of its own by --config.critic.kind=separate; RLOO or GRPO by
--config.ppo.advantage=rloo --config.ppo.samples_per_prompt=4; best of n by --config.evaluation.best_of=8.
config.rewards is a weighted sum of classifiers, reward models (configs/reward.py) and Python functions.
Hardware: any CPU for the quickstart's model; one accelerator for FLAN-T5-base. What comes out: adapter/ (peft's format)
and merged/ (the model with it: --config.model.source=runs/lab3/merged elsewhere), or model/ where all weights are
trained; report.md with the comparison and the 20 rows of the lab's table; rollouts.jsonl and distributions.jsonl.
"""

from t5x_lite.recipe import load_base, recipe

shared = load_base("shared")

base = load_base("ppo").BASE
_LAB = {**shared.HUB, "limit": 0}
_RUDE = {**shared.BUNDLED, "id_column": "fname", "split": ""}
_HATE_SPEECH = "facebook/roberta-hate-speech-dynabench-r4-target"

get_config = recipe("ppo", {
    # Another architecture, tokenizer and seed than the reward's, on the same bundled texts.
    "judges": {"bert": {"source": "train:classifier.py:judge", "label": "hate", "text": "{response}"}},
}, words={
    "fixed": {"mode": "fixed"},
    "parity": {
        "mode": "parity", "model.source": "google/flan-t5-base", "reference.source": "base",
        "rewards": {  # the classifier's alone
            "clean": {
                **base["rewards"]["clean"], "source": _HATE_SPEECH,
                # As the lab's strings are: query and response decoded with their special tokens, and joined.
                "text": "{prompt}</s><pad> {raw_response}",
            }
        },
        "toxicity.source": _HATE_SPEECH, "toxicity.text": "{prompt} {response}",
        "toxicity.rows": 11, "judges": {}, "evaluation.draws": 1,
        "data.train": _LAB, "data.evaluation": {**_LAB, "source": "holdout", "limit": 20},
        "data.holdout": 0.2, "data.characters": (201, 1001), "data.template": "instruction",
        "data.encoder_length": 512,
        "rollout": {"length": 399, "length_range": (100, 400), "mask_first_token": True},
        "ppo.steps": 10, "ppo.prompts": 16, "ppo.minibatch_size": 4, "ppo.epochs": 1,
        "ppo.init_kl_coef": 0.2, "ppo.kl_horizon": 10000.0, "ppo.target_kl": 0.0,
        "ppo.whiten_advantages": "minibatch", "ppo.score_clip": 0.0, "ppo.missing_eos_penalty": 0.0,
        "optimizer.clip_norm": 0.0, "schedule.learning_rate": 1.41e-5,
        "evaluation.rows_while_training": 0, "evaluation.batch_size": 16,
        # `min_length` makes the draws other than the policy's.
        "generation": {**base["generation"], "temperature": 1.0, "min_length": 5},
        # Five public runs of the notebook: 11 responses with their prompts, no seed.
        "published": {
            "labs, before, lowest": {"mean": 0.035, "std": 0.031},
            "labs, before, highest": {"mean": 0.045, "std": 0.052},
            "labs, after, worst run": {"percent less": -6.7}, "labs, after, best run": {"percent less": 42.3},
        },
    },
    "dialogsum": {
        "model.source": "runs/rude_policy",
        "rewards.clean.source": "runs/davidson", "rewards.length.weight": 2.0,
        "rewards.length.arguments.words": 20, "toxicity.source": "runs/davidson",
        "judges": {"comments": {"source": "runs/judge", "label": "hate", "text": "{response}"}},
        "data.train": {**_RUDE, "source": "runs/rude/train.jsonl"},
        "data.evaluation": {**_RUDE, "source": "runs/rude/dev.jsonl"},
        "data.characters": (100, 1001), "data.template": "{dialogue}", "data.truncation": "end",
        "rollout.length": 64, "ppo.steps": 35, "evaluation.draws": 4, "generation.temperature": 1.0,
    },
})  # fmt: skip

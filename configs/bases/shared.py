"""What several bases and recipes hold alike, stated once."""

# How a mesh is laid out: as many devices as there are share each batch.
MESH = {"slice": 1, "data": -1, "fsdp": 1, "model": 1}
LOGGING = {"every_steps": 1, "tensorboard": True, "trackers": ()}
# When a run that trains ends early: as long as fewer updates than that are skipped, and no time is set, it goes on.
ENDS = {
    "divergence": {
        "in_a_row": 5, "window": 100, "in_window": 30, "spike": 7.0, "spikes_count": False, "action": "stop",
        "rollbacks": 2,
    },
    "stop_after": "", "stop_on_preemption": False,
}  # fmt: skip
LOSS = {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 0}
GENERATED = {
    "every_steps": 200, "at_start": True, "batch_tokens": 4096, "mbr_candidates": 0, "bootstrap_samples": 2000,
    "samples": 3,
}  # fmt: skip
EVALUATION = {
    **GENERATED,
    "beside_rouge": (),  # "bleu", "chrf", "bertscore", of which the last wants an encoder
    "bertscore_source": "",
}
ADAMW = {
    "name": "adamw", "b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.0,
    "no_weight_decay": (), "clip_norm": 1.0, "rate_multipliers": (),
}  # fmt: skip
# For T5s from scratch. T5 folds attention's 1/sqrt(d_kv) into the initial query kernels, which Adam and Muon do not
# know of: at the others' rate, attention saturates within a few steps and never finds the dialogue. The position biases
# must grow by several nats before a head looks at the previous token, embeddings start at RMS 1.
MUON = {
    **ADAMW, "name": "muon", "b2": 0.98,
    "rate_multipliers": (
        (".*/query/kernel", 0.177),  # 1 / sqrt(d_kv = 32)
        (".*/rel_embedding", 30.0),
        ("token_embedder/embedding", 5.0),
    ),
}  # fmt: skip

# Each token of a speaker is one: a turn starts with it, a summary speaks of it.
TWO_SPEAKERS = ("#Person1#:", "#Person2#:", "#Person1#", "#Person2#")
THREE_SPEAKERS = (*TWO_SPEAKERS[:2], "#Person3#:", *TWO_SPEAKERS[2:], "#Person3#")
TOKENIZER = {
    "source": "model",  # the one that comes with the model
    # The rest is read when it is trained.
    "vocab_size": 400, "algorithm": "unigram", "user_defined_symbols": (), "extra_ids": 0,
    "keep_newlines": True, "byte_fallback": False, "max_sentences": 0,
}  # fmt: skip

# A T5 from random weights.
SMALL_T5 = {
    "vocab_size": 0,  # the tokenizer's
    "d_model": 128, "d_kv": 32, "d_ff": 512, "num_encoder_layers": 3, "num_decoder_layers": 3,
    "num_heads": 4, "tie_word_embeddings": True, "scale_decoder_outputs": True,
    "feed_forward_proj": "relu", "dropout_rate": 0.0,
}  # fmt: skip
TINY_T5 = {
    **SMALL_T5, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_encoder_layers": 1,
    "num_decoder_layers": 1, "num_heads": 2,
}  # fmt: skip
FLOAT32 = {"dtype": "float32", "param_dtype": "float32"}

LORA = {
    "method": "lora", "targets": ((".*/(query|value)", 32),), "alpha": 32.0, "dropout": 0.05,
    "rslora": False, "dora": False,
}  # fmt: skip

# Which checkpoints are kept beside the last ones.
KEPT = {
    "keep_every": 0, "keep_best": 0, "best_metric": "evaluation/loss", "best_mode": "min", "export": "last",
}  # fmt: skip
BUNDLED = {
    "source": "bundled", "split": "train", "columns": {"dialogue": "dialogue", "summary": "summary"},
    "id_column": "id", "exclude": "", "limit": 0,
}  # fmt: skip
HUB = {**BUNDLED, "source": "knkarthick/dialogsum"}
PREFERENCES = {
    **BUNDLED, "source": "bundled/preferences",
    "columns": {"dialogue": "dialogue", "chosen": "chosen", "rejected": "rejected", "kind": "kind"},
}  # fmt: skip
IN_DETAIL = "Summarize the following conversation in detail.\n\n{dialogue}\n\nSummary: "

PPO = {
    "steps": 20, "prompts": 32, "samples_per_prompt": 1, "minibatch_size": 16, "accumulation": 1, "epochs": 2,
    "advantage": "gae", "gamma": 1.0, "lam": 0.95, "cliprange": 0.2, "cliprange_value": 0.2,
    "vf_coef": 0.1, "entropy_coef": 0.0, "kl_penalty": "reward", "kl_controller": "adaptive",
    "init_kl_coef": 0.1, "kl_target": 6.0, "kl_horizon": 1000.0, "target_kl": 0.1,
    "whiten_advantages": "batch", "whiten_rewards": False, "score_scale": 1.0, "score_clip": 10.0,
    "missing_eos_penalty": 1.0, "dropout": False, "logprob_chunk": 64,
}  # fmt: skip
CRITIC = {"kind": "trunk", "dropout_rate": 0.1}

# On DialogSum, by others.
FLAN_T5 = {"rouge1": 0.233278, "rouge2": 0.076052, "rougeL": 0.201543}
FROM_SCRATCH = {"rouge1": 0.3591, "rouge2": 0.0874, "rougeL": 0.3350}
BART = {"rouge1": 0.4728, "rouge2": 0.2118, "rougeL": 0.4483}


def of_dialogsum(folder, split, near_duplicates=False, **changed):
    """Rows of DialogSum's first release in a folder, those that train nearly holds left out."""
    return {
        **BUNDLED,
        "source": f"{folder}/dialogsum.{split}.jsonl",
        "split": "",
        "id_column": "fname",
        "exclude": f"{folder}/near_duplicates_vs_train.json:{split}" if near_duplicates else "",
        **changed,
    }


# What the word `runlocal` changes wherever a base has the field: a model that compiles in seconds (of one layer, of one
# shape, without dropout, which takes long to compile), a few steps, one evaluation, short greedy answers.
RUNLOCAL = {
    "model.source": "random", "model.architecture": TINY_T5, "model.dtype": "float32",
    "model.param_dtype": "float32", "model.remat": "none",
    "tokenizer.source": "train", "tokenizer.vocab_size": 400,
    "data.train.limit": 64, "data.evaluation.limit": 8, "data.template": "{dialogue}",
    "data.encoder_length": 64, "data.decoder_length": 16,
    "batch.size": 8, "batch.tokens": 0, "batch.buckets": 1, "batch.multiple": 16, "train.steps": 4,
    "loss.chunk": 0, "train.frozen_dtype": "float32", "schedule.warmup_steps": 1, "checkpoint.every_steps": 4,
    "evaluation.every_steps": 4, "evaluation.at_start": False, "evaluation.bootstrap_samples": 200, "published": {},
}  # fmt: skip


def runlocal(base, own=None):
    """The word `runlocal` of a base: RUNLOCAL as far as it has the fields, and what is its own."""
    overrides = {}
    for name, value in RUNLOCAL.items():
        section = base
        for part in name.split("."):
            section = section.get(part) if isinstance(section, dict) else None
        if section is not None:
            overrides[name] = value
    if "max_new_tokens" in base.get("generation", {}):
        overrides["generation"] = {"max_new_tokens": 8}
    return {"runlocal": ({**overrides, **(own or {})}, _small_adapter)}


def _small_adapter(config):
    """LoRA of rank 4, whose alpha is 4."""
    if config.get("adapter", {}).get("method") != "lora":
        return {}
    targets = tuple((pattern, 4) for pattern, _ in config.adapter.targets)
    return {"adapter.targets": targets, "adapter.alpha": 4.0, "adapter.dropout": 0.0}

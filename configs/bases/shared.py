"""What several bases and recipes hold alike, stated once."""

# How a mesh is laid out: as many devices as there are share each batch.
MESH = {"slice": 1, "data": -1, "fsdp": 1, "model": 1}
LOGGING = {"every_steps": 1, "tensorboard": True}
LOSS = {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 0}
EVALUATION = {
    "every_steps": 200,
    "batch_tokens": 4096,
    "mbr_candidates": 0,
    "bootstrap_samples": 2000,
    "samples": 3,
}
ADAMW = {
    "name": "adamw",
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "no_weight_decay": (),
    "clip_norm": 1.0,
    "rate_multipliers": (),
}
# For T5s from scratch. T5 folds attention's 1/sqrt(d_kv) into the initial query kernels, which Adam and Muon do not
# know of: at the others' rate, attention saturates within a few steps and never finds the dialogue. The position biases
# must grow by several nats before a head looks at the previous token, embeddings start at RMS 1.
MUON = {
    **ADAMW,
    "name": "muon",
    "b2": 0.98,
    "rate_multipliers": (
        (".*/query/kernel", 0.177),  # 1 / sqrt(d_kv = 32)
        (".*/rel_embedding", 30.0),
        ("token_embedder/embedding", 5.0),
    ),
}

# Each token of a speaker is one: a turn starts with it, a summary speaks of it.
TWO_SPEAKERS = ("#Person1#:", "#Person2#:", "#Person1#", "#Person2#")
THREE_SPEAKERS = (*TWO_SPEAKERS[:2], "#Person3#:", *TWO_SPEAKERS[2:], "#Person3#")
TOKENIZER = {
    "source": "model",  # the one that comes with the model
    # The rest is read when it is trained.
    "vocab_size": 400,
    "algorithm": "unigram",
    "user_defined_symbols": (),
    "extra_ids": 0,
    "keep_newlines": True,
    "byte_fallback": False,
    "max_sentences": 0,
}

# A T5 from random weights.
SMALL_T5 = {
    "vocab_size": 0,  # the tokenizer's
    "d_model": 128,
    "d_kv": 32,
    "d_ff": 512,
    "num_encoder_layers": 3,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "tie_word_embeddings": True,
    "scale_decoder_outputs": True,
    "feed_forward_proj": "relu",
    "dropout_rate": 0.0,
}
TINY_T5 = {
    **SMALL_T5,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 2,
    "dropout_rate": 0.1,
}
FLOAT32 = {"dtype": "float32", "param_dtype": "float32"}

LORA = {
    "method": "lora",
    "targets": ((".*/(query|value)", 32),),
    "alpha": 32.0,
    "dropout": 0.05,
    "rslora": False,
    "dora": False,
}

BUNDLED = {
    "source": "bundled",
    "split": "train",
    "columns": {"dialogue": "dialogue", "summary": "summary"},
    "id_column": "id",
    "exclude": "",
    "limit": 0,
}
HUB = {**BUNDLED, "source": "knkarthick/dialogsum"}
PREFERENCES = {
    **BUNDLED,
    "source": "bundled/preferences",
    "columns": {"dialogue": "dialogue", "chosen": "chosen", "rejected": "rejected", "kind": "kind"},
}
IN_DETAIL = "Summarize the following conversation in detail.\n\n{dialogue}\n\nSummary: "

PPO = {
    "steps": 20,
    "prompts": 32,
    "samples_per_prompt": 1,
    "minibatch_size": 16,
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
}
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

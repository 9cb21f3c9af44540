"""A step compiled for a TPU slice that is not there: FLAN-T5-base with all its weights on v5e:2x2."""

from t5x_lite.recipe import load_base

shared = load_base("shared")
_PPO = load_base("ppo").BASE

BASE = {
    "task": "pod_check", "seed": 0, "topology": "v5e:2x2", "step": "train",
    # slice: how many slices of that topology; only the batch goes over several.
    "mesh": {"slice": 1, "data": 1, "fsdp": -1, "model": 1},
    # True: tries the candidates with every mesh of the topology.
    "search": False,
    "candidates": {
        # In the order of what they recompute: the first that fits is taken.
        "remat": ("none", "dots", "full"), "batch_sizes": (128,), "largest_model_axis": 4,
    },
    "model": {
        "architecture": {
            "vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_encoder_layers": 12,
            "num_decoder_layers": 12, "num_heads": 12, "tie_word_embeddings": False,
            "scale_decoder_outputs": False, "feed_forward_proj": "gated-gelu", "dropout_rate": 0.1,
        },
        "dtype": "bfloat16",
        "param_dtype": "float32",  # of weights that are not trained, train.frozen_dtype
        "attention": "auto", "remat": "full", "scan_layers": True,
    },
    "adapter": {"method": "none"}, "train": {"steps": 1000, "trainable": "full", "frozen_dtype": "bfloat16"},
    # Lengths of the texts in tokens; of PPO, of prompts and responses, whose number is in the section ppo.
    "batch": {"size": 128, "accumulation": 1, "encoder_length": 512, "decoder_length": 128},
    "loss": shared.LOSS, "optimizer": {**shared.ADAMW, "weight_decay": 0.01},
    "schedule": {"name": "constant", "learning_rate": 1e-4, "warmup_steps": 0, "final_fraction": 1.0},
    "generation": {"max_new_tokens": 128}, "critic": shared.CRITIC,
    "reference": {"source": "policy"},
    # As in the config of the run; of a source, only what model it is counts here.
    "rewards": _PPO["rewards"], "toxicity": _PPO["toxicity"], "judges": {},
    "ppo": {**shared.PPO, "steps": 100, "prompts": 128, "minibatch_size": 64, "logprob_chunk": 0},
}  # fmt: skip


def _short(config):
    return {"generation.max_new_tokens": 32} if "max_new_tokens" in config.generation else {}


WORDS = {
    "runlocal": (
        {
            "model.architecture.vocab_size": 1024, "batch.size": 8, "batch.encoder_length": 64,
            "batch.decoder_length": 32, "candidates.batch_sizes": (8,), "candidates.largest_model_axis": 2,
            "rewards.clean.source": "train:classifier.py:runlocal", "toxicity.source": "train:classifier.py:runlocal",
            "ppo.prompts": 8, "ppo.minibatch_size": 8,
        },
        _short,
    )
}  # fmt: skip

"""Whether a step fits on a TPU slice, and what it costs there, before anyone pays for one: no TPU is needed.

    t5x-lite --config configs/pod_check.py:xxl,full --workdir runs/pod_check --config.topology=v5e:16x16

compiles the step that the tasks run, for that slice, from shapes alone. The argument names a FLAN-T5 (small, base,
large, xl, xxl) and a step: full (all weights trained), lora, reward, generate, ppo_rollout, ppo_update, or ppo (both of
them). Slices: v4, v5e, v5p and v6e with a size in chips (v5e:4x4, v5p:2x2x2); config.mesh lays the model out on it.

    t5x-lite --config configs/pod_check.py:xl,lora --workdir runs/search --config.search=true --config.topology=v5e:2x4

tries what config.candidates names with every mesh, and prints the flags of the best that fits.

Hardware: any Linux machine on x86-64 with libtpu (pip install 't5x-lite[pods]'); seconds to two minutes a compile and
4 GB of memory for XXL (PPO, whose layers are not scanned: ten minutes and 11 GB from large on). Without libtpu the
CPU's compiler stands in, and the report says what it cannot know. What comes out: report.md with the memory of a chip,
FLOPs, traffic over each mesh axis, an estimate of the step's time, the largest buffers, and what to change where it
does not fit.
"""

import ml_collections

# FLAN-T5 as its checkpoints are: d_model, d_ff, layers (of encoder and decoder each), heads.
_SIZES = {
    "small": (512, 1024, 8, 6),
    "base": (768, 2048, 12, 12),
    "large": (1024, 2816, 24, 16),
    "xl": (2048, 5120, 24, 32),
    "xxl": (4096, 10240, 24, 64),
    "runlocal": (256, 512, 2, 4),
}
_STEPS = {
    "full": "train",
    "lora": "train",
    "reward": "reward",
    "generate": "generate",
    "ppo_rollout": "ppo_rollout",
    "ppo_update": "ppo_update",
    "ppo": "ppo",
}
_TINY_VOCABULARY = 1024
# What configs/tpu.py launches: the slice, its mesh (data, fsdp, model), and into how many parts a batch is split
# (of PPO, the rows of a minibatch).
_LAUNCHES = {
    ("small", "full"): ("v5e:1x1", (1, 1, 1), 4),
    ("base", "full"): ("v5e:2x4", (1, 8, 1), 1),
    ("large", "full"): ("v5e:2x4", (1, 8, 1), 1),
    ("xl", "full"): ("v5e:4x4", (1, 16, 1), 1),
    ("xxl", "full"): ("v5e:8x8", (1, 16, 4), 1),
    ("small", "lora"): ("v5e:1x1", (1, 1, 1), 4),
    ("base", "lora"): ("v5e:1x1", (1, 1, 1), 4),
    ("large", "lora"): ("v5e:2x4", (1, 8, 1), 1),
    ("xl", "lora"): ("v5e:2x4", (1, 8, 1), 1),
    ("xxl", "lora"): ("v5e:2x4", (1, 8, 1), 1),
    ("small", "ppo"): ("v5e:1x1", (1, 1, 1), 16),
    ("base", "ppo"): ("v5e:2x4", (1, 8, 1), 64),
    ("large", "ppo"): ("v5e:2x4", (1, 8, 1), 32),
    ("xl", "ppo"): ("v5e:2x4", (1, 4, 2), 16),
    # On v5p:2x2x1 as (1, 1, 4), libtpu 0.0.52 dies while it compiles the rollout (an internal check fails).
    ("xxl", "ppo"): ("v5e:4x4", (1, 4, 4), 16),
}
_ANY = ("v5e:2x2", (1, -1, 1), 1)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: a size and a step with a comma between, either may be left out (base, full); "runlocal" (a tiny model)."""
    words = set(filter(None, arg.split(",")))
    if unknown := words - set(_SIZES) - set(_STEPS):
        raise ValueError(
            f"unknown argument {sorted(unknown)[0]!r}: give a size ({', '.join(_SIZES)}) and a step"
            f" ({', '.join(_STEPS)})"
        )
    if len(words & set(_SIZES)) > 1 or len(words & set(_STEPS)) > 1:
        raise ValueError(f"give one size and one step, not {arg!r}")
    size = next(iter(words & set(_SIZES)), "base")
    mode = next(iter(words & set(_STEPS)), "full")
    tiny = size == "runlocal"
    d_model, d_ff, layers, heads = _SIZES[size]
    adapted = mode in ("lora", "ppo", "ppo_rollout", "ppo_update")
    lora = {
        "method": "lora",
        "targets": ((".*/(query|value)", 32),),
        "alpha": 32.0,
        "dropout": 0.05,
        "rslora": False,
        "dora": False,
    }
    sampled = {"do_sample": True, "top_k": 0, "top_p": 1.0}
    trains = _STEPS[mode] == "train"
    of_ppo = mode.startswith("ppo")
    topology, mesh, parts = _LAUNCHES.get((size, "ppo" if of_ppo else mode), _ANY)
    return ml_collections.ConfigDict(
        {
            "task": "pod_check",
            "seed": 0,
            "topology": topology,
            "step": _STEPS[mode],
            # slice: how many slices of that topology; only the batch goes over several.
            "mesh": {"slice": 1, **dict(zip(("data", "fsdp", "model"), mesh, strict=True))},
            # True: tries the candidates with every mesh of the topology.
            "search": False,
            "candidates": {
                # In the order of what they recompute: the first that fits is taken.
                "remat": ("none", "dots", "full") if trains else ("none",),
                "batch_sizes": (8,) if tiny else (128,),
                "largest_model_axis": 2 if tiny else 4,
            },
            "model": {
                "architecture": {
                    "vocab_size": _TINY_VOCABULARY if tiny else 32128,
                    "d_model": d_model,
                    "d_kv": 64,
                    "d_ff": d_ff,
                    "num_encoder_layers": layers,
                    "num_decoder_layers": layers,
                    "num_heads": heads,
                    "tie_word_embeddings": False,
                    "scale_decoder_outputs": False,
                    "feed_forward_proj": "gated-gelu",
                    "dropout_rate": 0.1,
                },
                "dtype": "bfloat16",
                # Of weights that are not trained, train.frozen_dtype.
                "param_dtype": "bfloat16" if mode == "generate" else "float32",
                "attention": "auto",
                "remat": "full" if trains else "none",
                "scan_layers": trains,
            },
            "adapter": lora if adapted else {"method": "none"},
            "train": {
                "steps": 1000,
                "trainable": "adapters" if adapted else "full",
                "frozen_dtype": "bfloat16",
            },
            # Lengths of the texts in tokens; of PPO, of prompts and responses, whose number is in the section ppo.
            "batch": {
                "size": 8 if tiny else 128,
                "accumulation": parts if trains else 1,
                "encoder_length": 64 if tiny else 512,
                "decoder_length": 32 if tiny else 128,
            },
            "loss": {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 0},
            "optimizer": {
                "name": "adamw",
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.01,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                "rate_multipliers": (),
            },
            "schedule": {
                "name": "constant",
                "learning_rate": 1e-4,
                "warmup_steps": 0,
                "final_fraction": 1.0,
            },
            "generation": sampled if adapted else {"max_new_tokens": 32 if tiny else 128},
            "reference": {"source": "policy"},
            "critic": {"kind": "trunk", "dropout_rate": 0.1},
            "ppo": {
                "steps": 100,
                "prompts": 8 if tiny else 128,
                "samples_per_prompt": 1,
                "minibatch_size": 8 if tiny else parts if of_ppo else 64,
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
                "logprob_chunk": 0,
            },
        }
    )

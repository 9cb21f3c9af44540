"""Whether a step fits on a TPU slice, and what it costs there, before anyone pays for one: no TPU is needed.

    t5x-lite --config configs/pod_check.py:xxl,full --workdir runs/pod_check --config.topology=v5e:16x16

compiles the step that the tasks run, for that slice, from shapes alone. The argument names a FLAN-T5 (small, base,
large, xl, xxl) and a step: full (all weights trained), lora, reward, generate, ppo_rollout, ppo_update, or ppo (both of
them). Slices: v4, v5e, v5p and v6e with a size in chips (v5e:4x4, v5p:2x2x2); config.mesh lays the model out on it.

    t5x-lite --config configs/pod_check.py:xl,lora --workdir runs/search --config.search=true --config.topology=v5e:2x4

tries what config.candidates names (of PPO, numbers of prompts) with every mesh, and prints the flags of the best that
fits. Of PPO, the models of config.rewards, config.toxicity and config.judges are counted: name them as the run does.

Hardware: any Linux machine on x86-64 with libtpu (pip install 't5x-lite[pods]'); seconds to two minutes a compile and
4 GB of memory for XXL (PPO, whose layers are not scanned: ten minutes and 11 GB from large on). Without libtpu the
CPU's compiler stands in, and the report says what it cannot know. What comes out: report.md with the memory of a chip,
FLOPs, traffic over each mesh axis, an estimate of the step's time, the largest buffers, and what to change where it
does not fit.
"""

from t5x_lite.recipe import load_base, recipe

shared = load_base("shared")

# FLAN-T5 as its checkpoints are: d_model, d_ff, layers (of encoder and decoder each), heads.
_SIZES = {
    "small": (512, 1024, 8, 6), "base": (768, 2048, 12, 12), "large": (1024, 2816, 24, 16),
    "xl": (2048, 5120, 24, 32), "xxl": (4096, 10240, 24, 64),
}  # fmt: skip
# What configs/tpu.py launches: the slice, its mesh (data, fsdp, model), and into how many parts a batch is split
# (of PPO, the rows of a minibatch).
_LAUNCHES = {
    "small,full": ("v5e:1x1", (1, 1, 1), 4), "base,full": ("v5e:2x4", (1, 8, 1), 1),
    "large,full": ("v5e:2x4", (1, 8, 1), 1), "xl,full": ("v5e:4x4", (1, 16, 1), 1),
    "xxl,full": ("v5e:8x8", (1, 16, 4), 1),
    "small,lora": ("v5e:1x1", (1, 1, 1), 4), "base,lora": ("v5e:1x1", (1, 1, 1), 4),
    "large,lora": ("v5e:2x4", (1, 8, 1), 1), "xl,lora": ("v5e:2x4", (1, 8, 1), 1),
    "xxl,lora": ("v5e:2x4", (1, 8, 1), 1),
    "small,ppo": ("v5e:1x1", (1, 1, 1), 16), "base,ppo": ("v5e:2x4", (1, 8, 1), 64),
    "large,ppo": ("v5e:2x4", (1, 8, 1), 32), "xl,ppo": ("v5e:2x4", (1, 4, 2), 16),
    # On v5p:2x2x1 as (1, 1, 4), libtpu 0.0.52 dies while it compiles the rollout (an internal check fails).
    "xxl,ppo": ("v5e:4x4", (1, 4, 4), 16),
}  # fmt: skip
_LORA = {
    "adapter": shared.LORA, "train.trainable": "adapters",
    "generation": {"do_sample": True, "top_k": 0, "top_p": 1.0},
}  # fmt: skip
_UNSCANNED = {"candidates.remat": ("none",), "model.remat": "none", "model.scan_layers": False}


def _size(*sizes):
    names = "d_model d_ff num_encoder_layers num_heads".split()
    fields = {f"model.architecture.{name}": size for name, size in zip(names, sizes, strict=True)}
    return {**fields, "model.architecture.num_decoder_layers": sizes[2]}


def _launch(config, words):
    size = next((word for word in words if word in _SIZES), "base")
    mode = next((word.partition("_")[0] for word in words if word not in _SIZES), "full")
    if "runlocal" in words or f"{size},{mode}" not in _LAUNCHES:
        return {}
    topology, mesh, parts = _LAUNCHES[f"{size},{mode}"]
    axes = dict(zip(("slice", "data", "fsdp", "model"), (1, *mesh), strict=True))
    of_batch = "ppo.minibatch_size" if mode == "ppo" else "batch.accumulation"
    return {"topology": topology, "mesh": axes, of_batch: parts}


get_config = recipe("pod_check", {}, words={
    **{name: _size(*sizes) for name, sizes in _SIZES.items()},
    "full": {"step": "train", "adapter": {"method": "none"}}, "lora": {"step": "train", **_LORA},
    "reward": {"step": "reward", **_UNSCANNED},
    "generate": {"step": "generate", **_UNSCANNED, "model.param_dtype": "bfloat16"},
    **{step: {"step": step, **_UNSCANNED, **_LORA} for step in ("ppo_rollout", "ppo_update", "ppo")},
    "runlocal": _size(256, 512, 2, 4),
}, derived=_launch)  # fmt: skip

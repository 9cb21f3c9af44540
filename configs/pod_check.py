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


def _size(d_model, d_ff, layers, heads):
    return {
        "model.architecture.d_model": d_model,
        "model.architecture.d_ff": d_ff,
        "model.architecture.num_encoder_layers": layers,
        "model.architecture.num_decoder_layers": layers,
        "model.architecture.num_heads": heads,
    }


def _step(step, adapted=False):
    overrides = {
        "step": step,
        "adapter": shared.LORA if adapted else {"method": "none"},
        "train.trainable": "adapters" if adapted else "full",
    }
    if step != "train":
        overrides |= {
            "candidates.remat": ("none",),
            "model.remat": "none",
            "model.scan_layers": False,
        }
    if adapted:
        overrides["generation"] = {"do_sample": True, "top_k": 0, "top_p": 1.0}
    return overrides


def _launch(config, words):
    """The slice, its mesh and its parts, of what configs/tpu.py launches."""
    if "runlocal" in words:
        return {}
    size = next((word for word in words if word in _SIZES), "base")
    mode = next((word for word in words if word not in _SIZES), "full")
    of_ppo = mode.startswith("ppo")
    launch = _LAUNCHES.get((size, "ppo" if of_ppo else mode))
    if launch is None:
        return {}
    topology, (data, fsdp, model), parts = launch
    mesh = {"slice": 1, "data": data, "fsdp": fsdp, "model": model}
    field = "ppo.minibatch_size" if of_ppo else "batch.accumulation"
    return {"topology": topology, "mesh": mesh, field: parts}


_TINY = {
    "model.architecture.vocab_size": 1024,
    "batch.size": 8, "batch.encoder_length": 64, "batch.decoder_length": 32,
    "candidates.batch_sizes": (8,), "candidates.largest_model_axis": 2,
    "ppo.prompts": 8, "ppo.minibatch_size": 8,
}  # fmt: skip


def _short(config):
    return {"generation.max_new_tokens": 32} if "max_new_tokens" in config.generation else {}


get_config = recipe(
    "pod_check",
    {},
    words={
        **{name: _size(*size) for name, size in _SIZES.items()}, "full": _step("train"),
        "lora": _step("train", adapted=True), "reward": _step("reward"),
        "generate": {**_step("generate"), "model.param_dtype": "bfloat16"},
        **{step: _step(step, adapted=True) for step in ("ppo_rollout", "ppo_update", "ppo")},
        "runlocal": ({**_size(256, 512, 2, 4), **_TINY}, _short),
    },
    derived=_launch,
)  # fmt: skip

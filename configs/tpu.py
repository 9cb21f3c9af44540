"""FLAN-T5 of any size on the TPU slice that it was checked for: full fine-tuning, LoRA, or PPO.

    t5x-lite --config configs/tpu.py:xl,lora --workdir runs/xl_lora

The argument is a size (small, base, large, xl, xxl) and full, lora or ppo. The recipe is that of configs/finetune.py,
configs/lora.py or configs/lab3_ppo.py; slice, mesh, remat, batch and lengths are those that
configs/pod_check.py:SIZE,MODE compiles for:

FIGURES

Hardware: one slice as in the table; on several hosts, the same command on each (not PPO, which runs in one process).
Checked by the compiler, not yet run on a TPU. What comes out: what the recipe says.
"""

import ml_collections

from t5x_lite.config import load_config

_SIZES = ("small", "base", "large", "xl", "xxl")
_RECIPES = {"full": "finetune.py", "lora": "lora.py", "ppo": "lab3_ppo.py"}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: a size and a mode with a comma between, either may be left out (base, full); "runlocal": the recipe's."""
    words = set(filter(None, arg.split(",")))
    if unknown := words - {*_SIZES, *_RECIPES, "runlocal"}:
        raise ValueError(
            f"unknown argument {sorted(unknown)[0]!r}: give a size ({', '.join(_SIZES)}) and a mode"
            f" ({', '.join(_RECIPES)}), or runlocal"
        )
    size = next(iter(words & set(_SIZES)), "base")
    mode = next(iter(words & set(_RECIPES)), "full")
    if words - {size, mode, "runlocal"}:
        raise ValueError(f"give one size and one mode, not {arg!r}")
    if "runlocal" in words:
        return load_config(f"{_RECIPES[mode]}:runlocal", {})
    checked = load_config(f"pod_check.py:{size},{mode}", {})
    config = load_config(_RECIPES[mode], {}).copy_and_resolve_references().unlock()
    with config.ignore_type():
        for name in ("dtype", "param_dtype"):
            config.model[name] = checked.model[name]
        config.model.source = config.tokenizer.source = f"google/flan-t5-{size}"
        config.mesh = checked.mesh
        config.adapter = checked.adapter
        config.train.trainable = checked.train.trainable
        config.train.frozen_dtype = checked.train.frozen_dtype
        config.data.encoder_length = checked.batch.encoder_length
        config.data.decoder_length = checked.batch.decoder_length
        if mode == "ppo":
            config.rollout.length = checked.batch.decoder_length
            for name in ("prompts", "samples_per_prompt", "minibatch_size", "epochs"):
                config.ppo[name] = checked.ppo[name]
            config.ppo.logprob_chunk = checked.ppo.logprob_chunk
        else:
            config.model.remat = checked.model.remat
            config.model.scan_layers = checked.model.scan_layers
            config.batch.size = checked.batch.size
            config.batch.accumulation = checked.batch.accumulation
            config.loss.chunk = checked.loss.chunk
    return config

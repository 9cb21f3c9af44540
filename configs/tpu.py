"""FLAN-T5 of any size on the TPU slice that it was checked for: full fine-tuning, LoRA, or PPO.

    t5x-lite --config configs/tpu.py:xl,lora --workdir runs/xl_lora

The argument is a size (small, base, large, xl, xxl) and full, lora or ppo. The recipe is that of configs/finetune.py,
configs/lora.py or configs/lab3_ppo.py; slice, mesh, remat, batch and lengths are those that
configs/pod_check.py:SIZE,MODE compiles for (global batch 128, 512 / 128 tokens). Slice and mesh (data, fsdp, model),
GiB a chip, FLOPs over the model's, seconds a step (an estimate):

           full                                lora                                ppo
    small  v5e:1x1 (1, 1, 1)   2.1  1.25  0.13  v5e:1x1 (1, 1, 1)  0.9  1.39  0.12  v5e:1x1 (1, 1, 1)   4.6  1.05  0.45
    base   v5e:2x4 (1, 8, 1)   1.3  1.26  0.05  v5e:1x1 (1, 1, 1)  1.6  1.41  0.60  v5e:2x4 (1, 8, 1)   4.1  1.02  0.21
    large  v5e:2x4 (1, 8, 1)   2.7  1.27  0.21  v5e:2x4 (1, 8, 1)  1.3  1.41  0.21  v5e:2x4 (1, 8, 1)   4.6  1.01  0.75
    xl     v5e:4x4 (1, 16, 1)  4.1  1.27  0.28  v5e:2x4 (1, 8, 1)  2.9  1.41  0.53  v5e:2x4 (1, 4, 2)   6.1  1.01  2.00
    xxl    v5e:8x8 (1, 16, 4)  4.1  1.27  0.28  v5e:2x4 (1, 8, 1)  7.2  1.41  1.65  v5e:4x4 (1, 4, 4)  11.9  1.00  3.78

(of PPO, 128 prompts and as many responses: rollout, scores and two epochs; the most that one of its programs holds).
Any of them is had again by t5x-lite --config configs/pod_check.py:xl,ppo --workdir runs/pod_xl_ppo

Hardware: one slice as in the table; on several hosts, the same command on each. Checked by the compiler, not yet run on
a TPU. What comes out: what the recipe says.
"""

import operator

from t5x_lite.errors import InputError
from t5x_lite.recipe import recipe

_SIZES = ("small", "base", "large", "xl", "xxl")
_RECIPES = {"full": "finetune.py", "lora": "lora.py", "ppo": "lab3_ppo.py"}
_CHECKED = "model.dtype model.param_dtype mesh adapter train.trainable train.frozen_dtype"
_OF_TRAINING = "model.remat model.scan_layers batch.size batch.accumulation loss.chunk"
_OF_PPO = "ppo.prompts ppo.samples_per_prompt ppo.minibatch_size ppo.epochs ppo.logprob_chunk"


def get_config(arg=""):
    """arg: a size and a mode with a comma between, either may be left out (base, full); "runlocal": the recipe's."""
    words = [word for word in arg.split(",") if word]
    if unknown := set(words) - {*_SIZES, *_RECIPES, "runlocal"}:
        raise InputError(
            f"unknown argument {sorted(unknown)[0]!r}: give a size ({', '.join(_SIZES)}) and a mode"
            f" ({', '.join(_RECIPES)}), or runlocal"
        )
    chosen = [word for word in words if word != "runlocal"]
    checked = recipe("pod_check.py", {})(",".join(chosen))  # refuses two sizes or two modes
    size = next((word for word in chosen if word in _SIZES), "base")
    mode = next((word for word in chosen if word in _RECIPES), "full")
    if "runlocal" in words:
        return recipe(_RECIPES[mode], {})("runlocal")
    source = f"google/flan-t5-{size}"
    overrides = {"model.source": source, "tokenizer.source": source}
    for name in (_CHECKED + " " + (_OF_PPO if mode == "ppo" else _OF_TRAINING)).split():
        overrides[name] = operator.attrgetter(name)(checked)
    for name in ("encoder_length", "decoder_length"):
        overrides[f"data.{name}"] = checked.batch[name]
    if mode == "ppo":
        overrides["rollout.length"] = checked.batch.decoder_length
        overrides["judges"] = {}  # as checked
    return recipe(_RECIPES[mode], overrides)()

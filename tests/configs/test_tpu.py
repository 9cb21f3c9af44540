"""configs/tpu.py launches what configs/pod_check.py checks."""

import math

import pytest

from t5x_lite.config import load_config
from t5x_lite.models.config import T5Config
from t5x_lite.pods.chips import topology_of

SIZES, MODES = ("small", "base", "large", "xl", "xxl"), ("full", "lora", "ppo")
# Of the checkpoints on the hub: parameters, as their papers and model cards count.
PARAMETERS = {"small": 77e6, "base": 248e6, "large": 783e6, "xl": 2.85e9, "xxl": 11.1e9}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_what_is_launched_is_what_was_checked(size: str, mode: str):
    checked = load_config(f"pod_check.py:{size},{mode}", {})
    config = load_config(f"tpu.py:{size},{mode}", {})
    assert config.model.source == config.tokenizer.source == f"google/flan-t5-{size}"
    assert config.task == ("ppo" if mode == "ppo" else "finetune")
    assert config.mesh == checked.mesh
    assert math.prod(config.mesh.sizes().values()) == topology_of(checked.topology).chips
    assert config.adapter == checked.adapter
    for name in ("dtype", "param_dtype"):
        assert getattr(config.model, name) == getattr(checked.model, name)
    for name in ("trainable", "frozen_dtype"):
        assert getattr(config.train, name) == getattr(checked.train, name)
    share = config.mesh.data * config.mesh.fsdp
    if mode == "ppo":
        for name in ("prompts", "samples_per_prompt", "minibatch_size", "epochs", "advantage"):
            assert getattr(config.ppo, name) == getattr(checked.ppo, name)
        assert config.rollout.length == checked.batch.decoder_length
        for name in ("rewards", "toxicity", "judges"):
            assert getattr(config, name) == getattr(checked, name)
        assert config.ppo.prompts % share == config.ppo.minibatch_size % share == 0
    else:
        for name in ("remat", "scan_layers"):
            assert getattr(config.model, name) == getattr(checked.model, name)
        for name in ("size", "accumulation"):
            assert getattr(config.batch, name) == getattr(checked.batch, name)
        assert config.batch.size % (share * config.batch.accumulation) == 0
    for name in ("encoder_length", "decoder_length"):
        assert getattr(config.data, name) == getattr(checked.batch, name)


@pytest.mark.parametrize("size", SIZES)
def test_the_sizes_are_flan_t5s(size: str):
    config = T5Config(**load_config(f"pod_check.py:{size}", {}).model.architecture)
    inner, d = config.num_heads * config.d_kv, config.d_model
    attention, mlp = 4 * d * inner, 3 * d * config.d_ff
    total = 2 * d * config.vocab_size + config.num_encoder_layers * (3 * attention + 2 * mlp)
    assert total == pytest.approx(PARAMETERS[size], rel=0.01)


@pytest.mark.parametrize("argument", ["xl,xxl", "lora,ppo", "full,lora,base"])
def test_two_of_a_kind_are_refused(argument: str):
    for file in ("tpu.py", "pod_check.py"):
        with pytest.raises(ValueError, match="one size and one|exclude each other"):
            load_config(f"{file}:{argument}", {})

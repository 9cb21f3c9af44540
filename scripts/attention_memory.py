"""What a train step needs at its worst moment, by kind of attention and length of the input: the compiler's figure.

    python scripts/attention_memory.py --lengths 512 4096 16384

Two layers a stack of FLAN-T5-small's sizes, one row in float32, targets of 128 tokens, AdamW. Compiled from shapes
alone: nothing runs. What came out is in docs/performance.md.
"""

from __future__ import annotations

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import optax

from t5x_lite import streams
from t5x_lite.models.config import Execution, T5Config
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5
from t5x_lite.optim.sections import LossSettings
from t5x_lite.train.state import init_state
from t5x_lite.train.step import make_train_step

_SIZES = T5Config(
    vocab_size=32128, d_model=512, d_kv=64, d_ff=1024, num_heads=6, num_encoder_layers=2, num_decoder_layers=2,
    feed_forward_proj="gated-gelu", tie_word_embeddings=False, scale_decoder_outputs=False,
)  # fmt: skip
_TARGET = 128


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 4096, 16384])
    options = parser.parse_args()
    kinds = ("einsum", "rowwise", "blockwise")
    print("| tokens | " + " | ".join(kinds) + " |", "|---" * (1 + len(kinds)) + "|", sep="\n")
    for length in options.lengths:
        found = (f"{temporaries(kind, length) / 2**20:,.0f} MiB" for kind in kinds)
        print(f"| {length:,} | " + " | ".join(found) + " |", flush=True)


def temporaries(attention: str, length: int) -> int:
    """Bytes beside weights and optimizer state."""
    model = T5(_SIZES, Execution(attention=attention))
    optimizer, schedule = optax.adamw(1e-4), optax.constant_schedule(1e-4)
    loss = LossSettings(label_smoothing=0.0, z_loss=0.0, chunk=0)
    step = jax.jit(make_train_step(model, optimizer, schedule, loss), donate_argnums=0)
    state = jax.eval_shape(lambda params: init_state(params, optimizer), abstract_params(model))
    target = jax.ShapeDtypeStruct((1, _TARGET), jnp.int32)
    batch = {
        "encoder_input_tokens": jax.ShapeDtypeStruct((1, length), jnp.int32),
        "decoder_input_tokens": target,
        "decoder_target_tokens": target,
        "decoder_loss_weights": jax.ShapeDtypeStruct(target.shape, jnp.float32),
    }
    key = jax.eval_shape(lambda: streams.key(0, "dropout"))
    memory: Any = step.lower(state, batch, key).compile().memory_analysis()
    return memory.temp_size_in_bytes


if __name__ == "__main__":
    main()

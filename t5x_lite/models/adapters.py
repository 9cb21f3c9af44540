"""How a model applies the adapters beside its parameters: the `adapters` collection, laid out as `params/lora.py` says.

A model called with {"params": ...} alone has none; with {"params": ..., "adapters": ...} each module looks up its own.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from t5x_lite.models.precision import precision_for
from t5x_lite.params.lora import LORA_LEAVES, output_scale
from t5x_lite.params.partition import ADAPTERS

Adapted = dict[str, jax.Array]


def adapter_of(module: nn.Module) -> Adapted:
    """The LoRA leaves of this module; {} without an adapter."""
    return {
        name: module.get_variable(ADAPTERS, name)
        for name in LORA_LEAVES
        if module.has_variable(ADAPTERS, name)
    }


def input_mask(module: nn.Module, adapted: Adapted, x: jax.Array) -> jax.Array | None:
    """Dropout on the adapter's input, [batch, 1, *inputs], one mask along the length; None where there is none."""
    if "lora_dropout" not in adapted or not module.has_rng("dropout"):
        return None
    keep = 1.0 - adapted["lora_dropout"]
    mask = jax.random.bernoulli(module.make_rng("dropout"), keep, (x.shape[0], 1, *x.shape[2:]))
    return (mask / keep).astype(x.dtype)


def adapt(
    y: jax.Array,
    x: jax.Array,
    kernel: jax.Array,
    adapted: Adapted,
    mask: jax.Array | None,
) -> jax.Array:
    """The output of an adapted kernel, from that of the kernel alone.

    Frozen kernels get no gradient from here: the norm that DoRA divides by is a constant. In training, peft drops
    DoRA's input before the kernel too, at the price of a second product with it; here, as in LoRA, before the adapter
    alone.

    Args:
      y: [..., *outputs], x times the kernel.
      x: [..., *inputs] in the compute type.
      kernel: [*inputs, *outputs].
      mask: of `input_mask`.

    Where `adapted` has "lora_rows" (`params.side_by_side`), y is [rows, length, *outputs], and each row has an adapter
    of its own.
    """
    a, b = adapted["lora_a"], adapted["lora_b"]
    dropped = x if mask is None else x * mask
    precision = precision_for(x.dtype)
    # [..., lora_rank]
    low = jnp.tensordot(dropped, a.astype(x.dtype), axes=a.ndim - 1, precision=precision)
    by_row = "lora_rows" in adapted
    if by_row:
        low = low * adapted["lora_rows"][:, None].astype(low.dtype)
    # The scaling on the small factor: in half precision, a product would first have to hold the unscaled numbers.
    b = (b * adapted["lora_scaling"]).astype(x.dtype)
    y = y + jnp.tensordot(low, b, axes=1, precision=precision).astype(y.dtype)
    if "lora_magnitude" in adapted:
        adapted = {**adapted, "lora_output_scale": output_scale(kernel, adapted)}
    if "lora_output_scale" in adapted:
        scale = adapted["lora_output_scale"].astype(y.dtype)
        y = y * jnp.expand_dims(scale, 1 if by_row else tuple(range(y.ndim - scale.ndim)))
    return y


def prepend(prompt: jax.Array, x: jax.Array) -> jax.Array:
    """A soft prompt [prompt_length, embed] before every row of [batch, length, embed]."""
    rows = jnp.broadcast_to(prompt.astype(x.dtype)[None], (x.shape[0], *prompt.shape))
    return jnp.concatenate([rows, x], axis=1)


def prepend_ids(prompt: jax.Array, segment_ids: jax.Array) -> jax.Array:
    """The segment ids [batch, length] of `prepend`'s result: a prompt is of segment 1."""
    ones = jnp.ones((segment_ids.shape[0], prompt.shape[0]), segment_ids.dtype)
    return jnp.concatenate([ones, segment_ids], axis=1)


def output_kernel(module: nn.Module, kernel: jax.Array, rows: int | None) -> Any:
    """What `models.t5.project` multiplies with: the kernel alone or, with an adapter, {"kernel", "lora_a", ...}.

    rows: of the batch, where the adapter's dropout may act; the mask then is one of the entries.
    """
    adapted = adapter_of(module)
    if not adapted:
        return kernel
    if "lora_magnitude" in adapted:  # once, not with every chunk of the loss
        adapted["lora_output_scale"] = output_scale(kernel, adapted)
        del adapted["lora_magnitude"]
    entries: dict[str, jax.Array] = {"kernel": kernel, **adapted}
    if rows is not None:
        like = jax.ShapeDtypeStruct((rows, 1, kernel.shape[0]), jnp.float32)
        mask = input_mask(module, adapted, like)  # type: ignore[arg-type]
        if mask is not None:
            entries["mask"] = mask
    return entries

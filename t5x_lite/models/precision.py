"""How exactly products are computed: in the one place that decides it.

A TPU makes a product of float32 matrices from bfloat16 passes unless it is told otherwise, a GPU from TensorFloat-32:
logits then have relative errors of 1e-3 where float32 has 1e-6. Whoever computes in float32 asks for float32 (torch's
default too); the types for speed are bfloat16 and float16, whose products are left to the device.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

EXACT = jax.lax.Precision.HIGHEST


def precision_for(dtype: jax.typing.DTypeLike) -> jax.lax.Precision | None:
    """The precision of a product whose operands are computed in this type; None leaves it to the device.

    >>> precision_for("float32").name
    'HIGHEST'
    >>> precision_for("bfloat16") is None
    True
    """
    return EXACT if jnp.dtype(dtype) == jnp.float32 else None

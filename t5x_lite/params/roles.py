"""What a parameter is. Meaning that hangs on the spelling of paths hangs on it here; the models' logical axes agree,
which a test holds for each family."""

from __future__ import annotations

import re

# "layers_3" of an unrolled stack, "layers" of a stacked one.
_LAYER = re.compile(r"layers(_\d+)?")
# Attention's output projection contracts heads and kv, every other kernel one axis.
_OUT = "out"


def in_layer(path: str) -> bool:
    """Whether a parameter belongs to one of the layers of a stack.

    >>> in_layer("encoder/layers_0/mlp/wo/kernel"), in_layer("layers_0/wi/kernel"), in_layer("head/kernel")
    (True, True, False)
    """
    return any(_LAYER.fullmatch(part) for part in path.split("/"))


def is_kernel(path: str) -> bool:
    """Whether a parameter is the matrix of a projection.

    >>> is_kernel("encoder/layers_0/mlp/wo/kernel"), is_kernel("token_embedder/embedding")
    (True, False)
    """
    return path.rpartition("/")[2] == "kernel"


def matrix_inputs(path: str, ndim: int) -> int | None:
    """How many of its axes a projection contracts, the others being those that it makes; None of no projection.

    ndim: the axes of one layer's array.

    >>> matrix_inputs("decoder/layers_0/self_attention/query/kernel", 3)  # [embed, heads, kv]
    1
    >>> matrix_inputs("decoder/layers_0/self_attention/out/kernel", 3)  # [heads, kv, embed]
    2
    >>> matrix_inputs("encoder/encoder_norm/scale", 1) is None
    True
    """
    if not is_kernel(path) or ndim < 2:
        return None
    return ndim - 1 if path.split("/")[-2] == _OUT else 1

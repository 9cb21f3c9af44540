"""A hash of weights: are these the weights they were, is this the base an adapter belongs to?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np

from t5x_lite.params.gather import whole
from t5x_lite.params.paths import flatten


def fingerprint(tree: Any, *, rounded: bool) -> str:
    """sha256 over paths, shapes and values of all leaves, in the order of their paths.

    Args:
      tree: nested dicts of arrays in the canonical, unrolled layout; with several processes all must call this.
      rounded: hash each weight rounded to bfloat16, so that the same weights in float32 and in bfloat16 have one
        fingerprint. False: every bit counts, and so does the type.
    """
    return fingerprint_of(
        ((path, whole(leaf)) for path, leaf in sorted(flatten(tree).items())), rounded
    )


def fingerprint_of(leaves: Iterable[tuple[str, np.ndarray]], rounded: bool) -> str:
    """`fingerprint` of leaves that come one by one, in the order of their paths."""
    digest = hashlib.sha256()
    for path, array in leaves:
        if rounded:
            array = array.astype(ml_dtypes.bfloat16)
        digest.update(f"{path} {array.shape} {array.dtype}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

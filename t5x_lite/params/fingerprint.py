"""A hash of weights: are these the weights they were, is this the base an adapter belongs to?"""

from __future__ import annotations

import hashlib
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
    digest = hashlib.sha256()
    for path, leaf in sorted(flatten(tree).items()):
        array = whole(leaf)
        if rounded:
            array = array.astype(ml_dtypes.bfloat16)
        digest.update(f"{path} {array.shape} {array.dtype}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

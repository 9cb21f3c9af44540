"""Weights that are numbers: asked where they are read from a file, and before they are written to one."""

from __future__ import annotations

import numpy as np

from t5x_lite.errors import InputError

# Of the two types of 16 bits: where all bits of the exponent are set, a number is infinite or none.
_EXPONENTS = {"bfloat16": 0x7F80, "float16": 0x7C00}
# Elements looked at in one go, so that no second array of the size of the first is made.
_PIECE = 1 << 22


def is_finite(array: np.ndarray) -> bool:
    """Whether all numbers of a float array are finite."""
    flat = np.ascontiguousarray(array).reshape(-1)
    mask = _EXPONENTS.get(array.dtype.name)
    if mask is not None:  # a view: numpy's isfinite takes these types number by number
        bits = flat.view(np.uint16)
        return not any(
            np.any((bits[at : at + _PIECE] & mask) == mask) for at in range(0, len(bits), _PIECE)
        )
    return all(np.isfinite(flat[at : at + _PIECE]).all() for at in range(0, len(flat), _PIECE))


def checked(array: np.ndarray, where: str, advice: str) -> np.ndarray:
    """The array, when all its numbers are finite.

    Raises:
      InputError: they are not; `where` names the tensor, `advice` says what to do.
    """
    if is_finite(array):
        return array
    bad = int(np.sum(~np.isfinite(array.astype(np.float32))))
    raise InputError(
        f"{where}: {bad} of its {array.size} numbers are not finite (NaN or infinite); {advice}"
    )


READ = "fetch the file again, or take another checkpoint"
WRITTEN = "nothing was written; such weights are of no use (a run that diverged?)"

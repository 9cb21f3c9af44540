"""Floating-point operations of the two instructions that multiply matrices. A multiply-add counts two."""

from __future__ import annotations

import math
import re

import numpy as np

from t5x_lite.pods.hlo_text import Array, Instruction

_WINDOW = re.compile(r"window=\{([^}]*)\}")
_DIM_LABELS = re.compile(r"dim_labels=([^\s,_]+)_([^\s,_]+)->([^\s,]+)")


def dot_flops(dot: Instruction, lhs: Array) -> int:
    """Of a dot: 2 x elements of the result x contracted elements."""
    contracted = dot.attribute(r"lhs_contracting_dims=\{([\d,]*)\}") or ""
    sizes = [lhs.dims[int(dim)] for dim in contracted.split(",") if dim]
    return 2 * dot.arrays[0].size * math.prod(sizes)


def convolution_flops(convolution: Instruction, lhs: Array, rhs: Array) -> int:
    """Of a convolution, which is what a TPU's compiler makes of every dot.

    Its batch axes come as spatial ones, dilated so that a window holds one element that is not padding: as in
    XLA's own cost analysis, only the places of a window that hold an element count.
    """
    labels = _DIM_LABELS.search(convolution.attributes)
    assert labels, convolution.attributes[:200]
    of_lhs, of_rhs, of_result = labels.groups()
    result = convolution.arrays[0]
    window = _window(convolution.attributes)
    flops = 2 * rhs.dims[of_rhs.index("i")]
    flops *= result.dims[of_result.index("b")] * result.dims[of_result.index("f")]
    for dim in range(len(of_lhs) - 2):
        label = str(dim)
        flops *= _products(
            lhs.dims[of_lhs.index(label)],
            rhs.dims[of_rhs.index(label)],
            result.dims[of_result.index(label)],
            stride=window["stride"][dim] if "stride" in window else 1,
            low=window["pad"][dim] if "pad" in window else 0,
            lhs_dilation=window["lhs_dilate"][dim] if "lhs_dilate" in window else 1,
            rhs_dilation=window["rhs_dilate"][dim] if "rhs_dilate" in window else 1,
        )
    return flops


def _window(attributes: str) -> dict[str, list[int]]:
    """{"size": [4], "stride": [3], "pad": [0], ...}; of a pad the low side, a number a spatial axis."""
    found = _WINDOW.search(attributes)
    fields = (field.split("=") for field in found[1].split()) if found else ()
    return {name: [int(part.split("_")[0]) for part in value.split("x")] for name, value in fields}


def _products(
    lhs: int, rhs: int, result: int, *, stride: int, low: int, lhs_dilation: int, rhs_dilation: int
) -> int:
    """How many pairs (place of the result, place of the window) along an axis meet an element of `lhs`."""
    first = np.arange(result) * stride - low  # where each window begins, in the dilated `lhs`
    end = (lhs - 1) * lhs_dilation + 1
    if rhs_dilation == 1:  # at once: the windows of a TPU's dots may be as long as a batch
        low_ends = -(-np.maximum(first, 0) // lhs_dilation)
        high_ends = -(-np.minimum(first + rhs, end) // lhs_dilation)
        return int(np.maximum(high_ends - low_ends, 0).sum())
    count = 0
    for offset in range(rhs):
        at = first + offset * rhs_dilation
        count += int(((at >= 0) & (at < end) & (at % lhs_dilation == 0)).sum())
    return count

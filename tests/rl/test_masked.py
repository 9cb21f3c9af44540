"""Means, variances and whitening over what a mask counts, against slow loops over lists."""

import math

import numpy as np

from t5x_lite.rl.masked import masked_mean, masked_var, whiten
from tests.rl.cases import (
    Case,
    arrays,
    every_mask,
    slow_mean,
    slow_var,
    slow_whiten,
)


@every_mask
def test_mean_variance_and_whitening(name):
    case = Case(name)
    values, mask = arrays(case.values, case.mask)
    assert math.isclose(masked_mean(values, mask), slow_mean(case.values, case.mask), abs_tol=1e-6)
    assert math.isclose(masked_var(values, mask), slow_var(case.values, case.mask), abs_tol=1e-5)
    for shift in (True, False):
        expected = slow_whiten(case.values, case.mask, shift)
        np.testing.assert_allclose(whiten(values, mask, shift_mean=shift), expected, atol=1e-4)

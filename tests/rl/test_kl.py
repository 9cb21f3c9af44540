"""KL estimates and controllers against their formulas."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from t5x_lite.errors import InputError
from t5x_lite.rl.kl import KLController, k1, k3
from t5x_lite.rl.sections import ControllerSettings
from tests.rl.cases import (
    arrays,
)


def test_controllers_follow_the_formula():
    controller = KLController("adaptive", target=6.0, horizon=10000.0)
    coefficient, slow = jnp.float32(0.2), 0.2
    for kl in (0.0, 30.0, 6.0, 6.5, -4.0, 5.9):
        coefficient = controller.next(coefficient, jnp.float32(kl), 16)
        slow *= 1 + min(max(kl / 6.0 - 1, -0.2), 0.2) * 16 / 10000
        assert math.isclose(coefficient, slow, rel_tol=1e-6)
    assert controller.next(coefficient, jnp.float32(jnp.nan), 16) == coefficient
    assert KLController("fixed", 6.0, 1.0).next(
        jnp.float32(0.2), jnp.float32(99), 16
    ) == np.float32(0.2)
    with pytest.raises(InputError, match="kl_target"):
        ControllerSettings("adaptive", 0.0, 1.0)


def test_k1_and_k3_estimate_the_kl():
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])
    exact = float(np.sum(p * np.log(p / q)))
    for estimator in (k1, k3):
        estimates = estimator(*arrays(np.log(p), np.log(q)))
        assert math.isclose(np.sum(p * np.asarray(estimates)), exact, rel_tol=1e-5)
    assert (np.asarray(k3(*arrays(np.log(p), np.log(q)))) >= 0).all()

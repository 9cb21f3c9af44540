"""How the tests of whole runs are compiled."""

from collections.abc import Iterator
from typing import Any

import jax
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[Any]:
    """For a conftest whose tests are of runs of tiny models: compiling them well would take longer than running them.

    Not a fixture: those of a session are made before it, and a run must be compiled as the one that it is compared
    with. The environment is for programs that a test starts.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        jax.config.update("jax_disable_most_optimizations", True)
        try:
            return (yield)
        finally:
            jax.config.update("jax_disable_most_optimizations", False)

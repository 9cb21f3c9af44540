"""What XLA compiled, kept for the next start of the program."""

from __future__ import annotations

import hashlib
import os
import pathlib
import platform
from typing import Any

import jax
import jaxlib

from t5x_lite.console import log

# A start reads one program in the time in which it compiles a tenth of a second's.
_WORTH_KEEPING_SECONDS = 0.1
_MOST_BYTES = 4 << 30
_CPU_INFO = pathlib.Path("/proc/cpuinfo")


def keep_compiled_programs() -> None:
    """Turns jax's persistent compilation cache on, in the user's cache folder; for programs, before they compile.

    Where jax was told about a cache already (JAX_COMPILATION_CACHE_DIR, JAX_ENABLE_COMPILATION_CACHE=0), nothing
    changes. The cache holds 4 GiB at most: what was not read for longest goes first.
    """
    config: Any = jax.config  # whose fields types do not know
    told = config.jax_compilation_cache_dir or "JAX_COMPILATION_CACHE_DIR" in os.environ
    if told or not config.jax_enable_compilation_cache:
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.debug("%s: %s; compiled programs are not kept", folder, error.strerror)
        return
    if not os.access(folder, os.W_OK):  # jax would warn at each program
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING_SECONDS)


def cache_folder() -> pathlib.Path:
    """$XDG_CACHE_HOME/t5x_lite/compiled/<jaxlib's version>-<kind of CPU>: homes are shared between machines, and what
    was compiled for one CPU may hold instructions that another does not have."""
    caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(caches) / "t5x_lite" / "compiled" / f"{jaxlib.__version__}-{_kind_of_cpu()}"


def _kind_of_cpu() -> str:
    """A short hash of the CPU's model and instruction sets."""
    described = [platform.machine(), platform.processor()]
    if _CPU_INFO.exists():
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
        names = ("model name", "flags", "Features")
        described += sorted({line for line in lines if line.startswith(names)})
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:12]

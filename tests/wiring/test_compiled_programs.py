"""Compiled programs are kept for the next start, unless somebody said otherwise."""

import pathlib

import jax
import pytest

from t5x_lite.wiring import compiled_programs
from t5x_lite.wiring.compiled_programs import cache_folder, keep_compiled_programs

_SET = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def caches(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """A user's cache folder, and a jax that was told nothing about one."""
    before = {name: getattr(jax.config, name) for name in _SET}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)


def test_they_lie_in_the_users_cache_folder_a_folder_a_machine(caches, monkeypatch):
    keep_compiled_programs()
    folder = pathlib.Path(jax.config.jax_compilation_cache_dir)
    assert folder == cache_folder() and folder.is_dir()
    assert folder.parent == caches / "t5x_lite" / "compiled"

    # Of another CPU, in the same home.
    info = caches / "cpuinfo"
    info.write_text("model name\t: another\nflags\t\t: sse2\n")
    monkeypatch.setattr(compiled_programs, "_CPU_INFO", info)
    assert cache_folder() not in (folder, folder.parent)


@pytest.mark.parametrize("told", ["/somewhere", ""])
def test_what_the_environment_says_stands(caches, monkeypatch, told):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", told)
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir is None and not list(caches.iterdir())


def test_a_home_that_cannot_be_written_is_no_trouble(caches, monkeypatch):
    (caches / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(caches / "file"))
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir is None

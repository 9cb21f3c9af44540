"""Inputs drawn at random: never a traceback, a hang, all memory, or another value in silence.

500 inputs; T5X_LITE_FUZZ=10000 python -m pytest tests/foreign/test_fuzz.py draws so many, anew each time.
"""

import contextlib
import functools
import json
import os
import pathlib
import resource
import shutil
import signal
import tempfile

import jax
import jax.numpy as jnp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from t5x_lite.checkpoints.manager import Checkpoints
from t5x_lite.config import load_config
from t5x_lite.data.sources import load_rows
from t5x_lite.data.templates import Template
from t5x_lite.errors import InputError
from t5x_lite.evaluation.rouge import score_rows, split_sentences
from t5x_lite.foreign.visible import one_line
from t5x_lite.reports.tables import html_table, markdown_table
from t5x_lite.sections import describe
from tests.foreign.samples import KINDS

INPUTS = int(os.environ.get("T5X_LITE_FUZZ", "500"))
SECONDS, GROWTH = 20, 2 << 30


def draws(share: float):
    """So many of the inputs; the same ones each time, unless their number was asked for."""
    return settings(
        max_examples=max(1, int(INPUTS * share)),
        derandomize="T5X_LITE_FUZZ" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def bounded():
    """Within the time and memory that an input may take; an InputError is an answer if it is one line."""

    def hang(*_):
        raise TimeoutError(f"over {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    earlier = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, 1)
    try:
        yield
    except InputError as error:
        assert "\n" not in str(error), error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < GROWTH


@functools.cache
def whole(kind):
    """The folder of a kind, its files, and what is read there."""
    folder = pathlib.Path(tempfile.mkdtemp()) / "files"
    KINDS[kind].write(folder)
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return folder, files, KINDS[kind].read(folder)


TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", "false", "1", "\x1b[31m", "\u202e", "../x", "(a+)+$", "\ud83d", "x" * 5000, "1e999", "1" * 5000]
)  # fmt: skip
NUMBERS = (
    st.integers()
    | st.integers(-3, 50)
    | st.floats()
    | st.sampled_from([2**31, 2**63, 10**30, 1e38, -0.0])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)


def places(value, before=()):
    """Every place of a JSON value, as the keys that lead there."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield (*before, key)
        yield from places(value[key], (*before, key))


def change_json(draw, file: pathlib.Path):
    """Another value in one place, a field that is gone, or one more."""
    content = json.loads(file.read_text())
    place = draw(st.sampled_from(sorted(places(content), key=repr) or [()]))
    if not place:
        content = draw(VALUES)
    else:
        inner = functools.reduce(lambda outer, key: outer[key], place[:-1], content)
        if draw(st.booleans()) or draw(st.booleans()):
            inner[place[-1]] = draw(VALUES)
        elif draw(st.booleans()):
            del inner[place[-1]]
        elif isinstance(inner, dict):
            inner[draw(TEXTS)] = draw(VALUES)
    file.write_text(json.dumps(content))


def change_bytes(draw, file: pathlib.Path):
    """Bytes that are other ones, gone, more or twice, most often near the beginning."""
    data = bytearray(file.read_bytes())
    at = draw(st.integers(0, min(len(data), 400)) | st.integers(0, len(data)))
    some = draw(st.binary(min_size=1, max_size=8))
    match draw(st.sampled_from(["replace", "flip", "insert", "cut", "end", "twice", "deep"])):
        case "replace":
            data[at : at + len(some)] = some
        case "flip" if at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        case "insert":
            data[at:at] = some
        case "cut":
            del data[at : at + draw(st.integers(1, 200))]
        case "twice":
            data[at:at] = data[at : at + 100]
        case "deep":
            data[at:at] = b"[" * draw(st.sampled_from([70, 3000, 100_000]))
        case _:
            del data[at:]
    file.write_bytes(data)


@given(st.data(), st.sampled_from(sorted(KINDS)))
@draws(0.42)
def test_files_of_others(data, kind):
    folder, files, before = whole(kind)
    with tempfile.TemporaryDirectory() as place:
        copy = pathlib.Path(place) / "copy"
        shutil.copytree(folder, copy)
        name = data.draw(st.sampled_from(files))
        by_field = name.endswith((".json", ".zarray")) and data.draw(st.booleans())
        (change_json if by_field else change_bytes)(data.draw, copy / name)
        with bounded():
            found = KINDS[kind].read(copy)
            if "hashes.json" in files and name.endswith(".safetensors"):
                assert found == before, f"{name} was changed, and another model read"
            if by_field and name == "config.json":
                said = json.loads((copy / name).read_text())
                for field, value in found[0].items():
                    # Taken as it is, or as it was where the file no longer says it.
                    if said.get(field) is not None and field in before[0]:
                        assert value in (said[field], before[0][field]) or field == "eos_token_id"


@functools.cache
def fields_of(spec):
    config = load_config(spec, {})
    return {field.name: field.value for field in describe(type(config), config)}


@given(
    st.data(), st.sampled_from(["finetune.py:runlocal", "lora.py:runlocal", "lab3_ppo.py:runlocal"])
)
@draws(0.2)
def test_config_values(data, spec):
    name = data.draw(st.sampled_from(sorted(fields_of(spec))))
    value = data.draw(VALUES | st.sampled_from([2**31, 10**12, "9" * 5000, "[" * 300]))
    text = value if isinstance(value, str) else repr(value)
    with bounded():
        config = load_config(spec, {name: text})
        now = {field.name: field.value for field in describe(type(config), config)}.get(name)
        assert repr(now) == repr(now)  # can be shown
        if not isinstance(now, str) and isinstance(value, bool | int | float):
            assert now == value, f"{name} = {value!r} became {now!r}"


ROWS = st.lists(
    st.dictionaries(st.sampled_from(["id", "text", "split"]) | TEXTS, VALUES, max_size=4),
    max_size=4,
)


@given(ROWS, st.sampled_from([".json", ".jsonl", ".csv", ".tsv"]), st.binary(max_size=30))
@draws(0.2)
def test_data_files(rows, ending, more):
    with tempfile.TemporaryDirectory() as place:
        file = pathlib.Path(place) / f"rows{ending}"
        lines = [json.dumps(row) for row in rows]
        text = "[" + ",".join(lines) + "]" if ending == ".json" else "\n".join(lines)
        file.write_bytes(text.encode() + more)
        with bounded():
            for row in load_rows(
                str(file), "", {"text": "text"}, id_column="id", exclude="", limit=0
            ):
                "".join(row.values()).encode()  # whole characters


@given(st.lists(TEXTS, min_size=1, max_size=4))
@draws(0.1)
def test_texts(texts):
    with bounded():
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        scores = score_rows(clean, [split_sentences(text) for text in clean], use_stemmer=True)
        assert all(((column >= 0) & (column <= 1)).all() for column in scores.values())
        for shown in (markdown_table(texts, [texts]), html_table(texts, [texts])):
            assert "\x1b" not in shown and "\u202e" not in shown
            shown.encode()
        assert "\n" not in one_line(texts[0])
        Template(texts[0])


ABSTRACT = {"w": jax.ShapeDtypeStruct((40,), jnp.float32)}


@functools.cache
def checkpoints_of_a_run():
    """The folder with checkpoints of steps 3 and 6, and its files."""
    folder = pathlib.Path(tempfile.mkdtemp()) / "checkpoints"
    checkpoints = Checkpoints(folder, keep=2)
    for step in (3, 6):
        state = {"w": jnp.arange(40, dtype=jnp.float32) + step}
        checkpoints.save(step, state, {"examples": "x", "metrics": {"loss": 1.0 / step}})
    checkpoints.close()
    return folder, sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )


@given(st.data())
@draws(0.08)
def test_checkpoints_of_a_run(data):
    """One of them is taken, as it was saved; or both are refused."""
    folder, files = checkpoints_of_a_run()
    with tempfile.TemporaryDirectory() as place:
        copy = pathlib.Path(place) / "checkpoints"
        shutil.copytree(folder, copy)
        for name in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=2)):
            is_json = name.endswith(("manifest.json", "_METADATA", "metadata/metadata"))
            by_field = is_json and data.draw(st.booleans())
            with contextlib.suppress(ValueError, OSError):  # it was changed before
                (change_json if by_field else change_bytes)(data.draw, copy / name)
        with bounded():
            checkpoints = Checkpoints(copy, keep=2, keep_best=1, best_metric="loss")
            try:
                state, metadata = checkpoints.restore(ABSTRACT)
                step = int(state["w"][0])
                assert step in (3, 6) and metadata["metrics"] == {"loss": 1.0 / step}
                assert (state["w"] == jnp.arange(40) + step).all()
                checkpoints.save(9, {"w": state["w"]}, {})
            finally:
                checkpoints.close()


def test_the_bounds_bind():
    """A fuzz that cannot fail says nothing."""
    with pytest.raises(AssertionError), bounded():
        raise InputError("two\nlines")
    with pytest.raises(KeyError), bounded():
        raise KeyError("a traceback")

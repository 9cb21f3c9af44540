"""The programs of an export in a process without this package: the tokens of `generate`, whatever batch and length."""

import json
import subprocess
import sys

import numpy as np
import pytest

from t5x_lite import load_pretrained
from t5x_lite.export.stablehlo import LOADER, PLATFORMS, save_stablehlo
from tests.interop.conftest import make_oracle

MOST = 12
RUN = """
import sys
import numpy as np
from run_exported import load

programs = load(".")
for name in ("one", "many"):
    tokens, lengths = programs["generate"](np.load(f"../{name}.npy"))
    np.savez(f"../{name}_out.npz", tokens=tokens, lengths=lengths)
rows = np.load("../many.npy")
state, tokens, out = programs["prefill"](rows), np.zeros(len(rows), np.int32), []
for position in range(4):
    logits, state = programs["step"](tokens, np.int32(position), state)
    tokens = np.argmax(np.asarray(logits), axis=1).astype(np.int32)
    out.append(tokens)
np.savez("../steps.npz", tokens=np.stack(out, axis=1), encoded=programs["encode"](rows))
print(*[m for m in sys.modules if m.split(".")[0] in ("t5x_lite", "flax", "torch", "transformers")])
"""


@pytest.fixture(scope="module", params=[pytest.param("t5_1.0", marks=pytest.mark.slow), "t5_1.1"])
def exported(request, tmp_path_factory):
    """The model, the inputs, and the folder in which a bare process ran the programs on them."""
    folder = tmp_path_factory.mktemp("exported")
    t5 = load_pretrained(make_oracle(request.param, folder).directory)
    # Random weights repeat themselves; and a processor has to work on symbolic rows as well.
    t5.settings = t5.settings.updated({"repetition_penalty": 3.0})
    save_stablehlo(folder / "stablehlo", t5, MOST)
    rng = np.random.default_rng(0)
    inputs = {"one": rng.integers(2, 96, (1, 37)), "many": rng.integers(2, 96, (20, 150))}
    for row, length in zip(inputs["many"], rng.integers(1, 150, 20), strict=True):
        row[length:] = 0
    for name, rows in inputs.items():
        np.save(folder / f"{name}.npy", rows.astype(np.int32))
    run = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder / "stablehlo",
        env={"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.strip() == "", "the loader needs jax and safetensors alone"
    return t5, inputs, folder


def test_the_loop_gives_the_tokens_of_generate(exported):
    t5, inputs, folder = exported
    for name, rows in inputs.items():
        found = np.load(folder / f"{name}_out.npz")
        expected = t5.generate_tokens(rows.astype(np.int32), max_new_tokens=MOST)
        np.testing.assert_array_equal(found["tokens"], expected)
    assert len({tuple(row) for row in found["tokens"]}) > 10


def test_steps_one_by_one_give_the_first_tokens(exported):
    t5, inputs, folder = exported
    found = np.load(folder / "steps.npz")
    expected = t5.generate_tokens(
        inputs["many"].astype(np.int32), max_new_tokens=4, repetition_penalty=1.0
    )
    ended = np.cumsum(expected == 1, axis=1) - (expected == 1) > 0
    np.testing.assert_array_equal(np.where(ended, 0, found["tokens"]), expected)
    assert found["encoded"].shape == (20, 150, t5.config.d_model)


def test_what_the_export_says_of_itself(exported):
    _, _, folder = exported
    said = json.loads((folder / "stablehlo" / "export.json").read_text())
    assert said["platforms"] == list(PLATFORMS) and said["max_new_tokens"] == MOST
    assert said["programs"]["generate"]["takes"] == ["int32[batch,length]"]
    assert said["programs"]["generate"]["gives"] == [f"int32[batch,{MOST}]", "int32[batch]"]
    assert {"jax", "calling_convention_version", "made", "pad_token_id"} <= said.keys()


def test_the_loader_is_short():
    assert len(LOADER.read_text().strip().splitlines()) <= 20


@pytest.mark.slow  # half a minute: a real vocabulary, 200 prompts
def test_two_hundred_prompts_of_the_nano_model(tmp_path):
    from jax import export

    from t5x_lite.data.sources import load_rows

    rows = load_rows(
        "bundled", "test", {"dialogue": "dialogue"}, id_column="", exclude="", limit=200
    )
    t5 = load_pretrained("nano")
    save_stablehlo(tmp_path / "out", t5, 24)
    program = export.deserialize(bytearray((tmp_path / "out" / "generate.stablehlo").read_bytes()))
    from safetensors.numpy import load_file

    tokens = t5.encode([f"Summarize: {row['dialogue']}" for row in rows])
    found, _ = program.call(load_file(tmp_path / "out" / "weights.safetensors"), tokens)
    np.testing.assert_array_equal(found, t5.generate_tokens(tokens, max_new_tokens=24))

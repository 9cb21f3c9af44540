"""Loads the programs of this folder: `tokens, lengths = load("stablehlo")["generate"](encoder_input_tokens)`."""

import functools
import pathlib

from jax import device_put, export, jit
from safetensors import safe_open


def load(folder="."):
    """Name -> function: encode, prefill, step and generate, the weights put in; export.json says what they take."""
    folder = pathlib.Path(folder)
    with safe_open(folder / "weights.safetensors", framework="numpy") as file:
        weights = {name: device_put(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    programs = {}
    for file in folder.glob("*.stablehlo"):
        call = jit(export.deserialize(bytearray(file.read_bytes())).call)
        programs[file.stem] = functools.partial(call, weights)
    return programs

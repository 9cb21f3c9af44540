"""Loads the programs of this folder: `tokens, lengths = load("stablehlo")["generate"](encoder_input_tokens)`."""

import functools
import pathlib

from jax import export, jit
from safetensors.flax import load_file


def load(folder="."):
    """Name -> function: encode, prefill, step and generate, the weights put in; export.json says what they take."""
    folder = pathlib.Path(folder)
    weights = load_file(folder / "weights.safetensors")
    programs = {}
    for file in folder.glob("*.stablehlo"):
        call = jit(export.deserialize(bytearray(file.read_bytes())).call)
        programs[file.stem] = functools.partial(call, weights)
    return programs

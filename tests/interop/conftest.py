"""The oracle: tiny T5 models of transformers' torch, with random weights, and the files they lie in."""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

HEAD = "lm_head.weight"
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# Heads times kv (24) is not d_model, and the stacks differ in depth: a mix-up cannot go unseen.
SHAPE = dict(vocab_size=96, d_model=32, d_kv=6, d_ff=40, num_heads=4, num_layers=2)
FAMILIES: dict[str, dict[str, Any]] = {
    "t5_1.0": {"feed_forward_proj": "relu"},
    "t5_1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}


class Oracle(NamedTuple):
    """A torch model, its tensors without duplicates, and a Hugging Face directory that holds both."""

    model: Any
    tensors: dict[str, torch.Tensor]
    directory: pathlib.Path


def hf_config(family: str) -> dict[str, Any]:
    """A config.json as the hub's files of this family have it (written by transformers 4)."""
    return dict(
        model_type="t5",
        architectures=["T5ForConditionalGeneration"],
        decoder_start_token_id=0,
        num_decoder_layers=3,
        dropout_rate=0.0,
        **SHAPE,
        **FAMILIES[family],
    )


def random_tensors(family: str, seed: int = 0) -> dict[str, torch.Tensor]:
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(**SHAPE, num_decoder_layers=3, **FAMILIES[family])
    )
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, value in sorted(model.state_dict().items()):
        if name in COPIES or (name == HEAD and family == "t5_1.0"):
            continue
        draw = rng.normal(size=value.shape)
        if "norm" in name:
            draw = 1 + 0.2 * draw
        elif "shared" not in name and "relative" not in name:
            draw = draw * value.shape[1] ** -0.5
        tensors[name] = torch.tensor(draw, dtype=torch.float32)
    return tensors


def write_directory(
    directory: pathlib.Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> pathlib.Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def oracle(family: str, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    torch.set_num_threads(1)
    tensors = random_tensors(family)
    directory = write_directory(
        tmp_path_factory.mktemp("oracle") / family, hf_config(family), tensors
    )
    model = transformers.T5ForConditionalGeneration.from_pretrained(directory).eval()
    # transformers 5 ties what it can: see that the untied oracle really has a head of its own.
    untied = family == "t5_1.1"
    assert (model.lm_head.weight is not model.shared.weight) == untied
    assert (not torch.equal(model.lm_head.weight, model.shared.weight)) == untied
    assert model.config.scale_decoder_outputs == (not untied)
    return Oracle(model, tensors, directory)


@pytest.fixture(scope="session")
def tied_directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A T5 1.0 as a Hugging Face directory, where one family is enough."""
    return write_directory(
        tmp_path_factory.mktemp("tied") / "model", hf_config("t5_1.0"), random_tensors("t5_1.0")
    )

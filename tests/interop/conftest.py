"""The oracle: tiny T5 models of transformers' torch, with random weights, and the files they lie in."""

import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from t5x_lite.interop.hf import load_hf

HEAD = "lm_head.weight"
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# Heads times kv (24) is not d_model, and the stacks differ in depth: a mix-up cannot go unseen.
SHAPE = dict(
    vocab_size=96, d_model=32, d_kv=6, d_ff=40, num_heads=4, num_layers=2, num_decoder_layers=3
)
UNTIED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
FAMILIES: dict[str, dict[str, Any]] = {
    "t5_1.0": {"feed_forward_proj": "relu"},
    "t5_1.1": UNTIED,
}
# As the hub's config.json of google/mt5-*, byt5-* (encoders deeper than decoders) and umt5-* say.
RELATIVES: dict[str, dict[str, Any]] = {
    "mt5": {**UNTIED, "model_type": "mt5"},
    "byt5": {**UNTIED, "vocab_size": 384, "num_layers": 3, "num_decoder_layers": 1},
    "umt5": {**UNTIED, "model_type": "umt5"},
    "umt5_tied": {"feed_forward_proj": "gated-gelu", "model_type": "umt5"},
}
TIED = ("t5_1.0", "umt5_tied")
MODELS = {
    "t5": transformers.T5ForConditionalGeneration,
    "mt5": transformers.MT5ForConditionalGeneration,
    "umt5": transformers.UMT5ForConditionalGeneration,
}


class Oracle(NamedTuple):
    """A torch model, its tensors without duplicates, and a Hugging Face directory that holds both."""

    model: Any
    tensors: dict[str, torch.Tensor]
    directory: pathlib.Path


def hf_config(family: str) -> dict[str, Any]:
    """A config.json as the hub's files of this family have it (written by transformers 4)."""
    fields = {
        "model_type": "t5",
        "decoder_start_token_id": 0,
        "dropout_rate": 0.0,
        **SHAPE,
        **(FAMILIES | RELATIVES)[family],
    }
    return fields | {"architectures": [MODELS[fields["model_type"]].__name__]}


def random_tensors(family: str, seed: int = 0) -> dict[str, torch.Tensor]:
    fields = hf_config(family)
    model_class = MODELS[fields.pop("model_type")]
    model = model_class(model_class.config_class(**fields))
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, value in sorted(model.state_dict().items()):
        if name in COPIES or (name == HEAD and family in TIED):
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


def make_oracle(family: str, folder: pathlib.Path) -> Oracle:
    torch.set_num_threads(1)
    tensors = random_tensors(family)
    directory = write_directory(folder / family, hf_config(family), tensors)
    return Oracle(load_torch(directory), tensors, directory)


def load_torch(directory: pathlib.Path) -> Any:
    """transformers' model of a directory, seen to be tied or not as its config.json says."""
    fields = json.loads((directory / "config.json").read_text())
    model_type = fields["model_type"]
    model = MODELS[model_type].from_pretrained(directory).float().eval()
    # transformers 5 ties what it can: see that the untied oracle really has a head of its own.
    tied = fields.get("tie_word_embeddings") is not False
    assert (model.lm_head.weight is model.shared.weight) == tied
    assert torch.equal(model.lm_head.weight, model.shared.weight) == tied
    if model_type == "t5":
        assert model.config.scale_decoder_outputs == tied
    if model_type == "umt5":
        # transformers 5 forces the flag, and with it the scaling of the logits, on models that say otherwise.
        assert model.config.tie_word_embeddings
        model.config.tie_word_embeddings = tied
    return model


@pytest.fixture(scope="session")
def oracle(family: str, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """T5 1.0 and T5 1.1."""
    return make_oracle(family, tmp_path_factory.mktemp("oracle"))


@pytest.fixture(scope="session", params=FAMILIES | RELATIVES)
def any_family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def any_oracle(any_family: str, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """T5, mT5, ByT5 and UMT5."""
    return make_oracle(any_family, tmp_path_factory.mktemp("oracle"))


@pytest.fixture(scope="session")
def torch_of() -> Callable[[pathlib.Path], Any]:
    """torch_of(directory): the torch model, without transformers 5's scaling of an untied UMT5."""
    return load_torch


@pytest.fixture(scope="session")
def tied_directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A T5 1.0 as a Hugging Face directory, where one family is enough."""
    return write_directory(
        tmp_path_factory.mktemp("tied") / "model", hf_config("t5_1.0"), random_tensors("t5_1.0")
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, Any, Any]:
    """What adapters lie on: a T5 1.1's directory, and what is read of it: its config and parameters."""
    torch.set_num_threads(1)
    where = tmp_path_factory.mktemp("base") / "t5"
    write_directory(where, hf_config("t5_1.1"), random_tensors("t5_1.1"))
    return where, *load_hf(where, param_dtype="float32")

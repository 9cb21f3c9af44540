"""Hugging Face directories in and out: bit-identical, sharded, loadable by transformers, and refused by name."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.torch import load_file, save_file

from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf, save_hf
from t5x_lite.interop.hub import model_directory
from t5x_lite.interop.names import name_table
from t5x_lite.models.config import Execution
from t5x_lite.models.init import abstract_params
from t5x_lite.models.t5 import T5

TOKENS = np.array([[5, 9, 17, 3, 1, 0], [8, 4, 1, 0, 0, 0]], np.int32)
DECODER = np.array([[0, 7, 30], [0, 12, 11]], np.int32)


def torch_logits(directory):
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory).float().eval()
    tokens = torch.tensor(TOKENS).long()
    with torch.no_grad():
        return model, model(
            input_ids=tokens,
            attention_mask=(tokens != 0).long(),
            decoder_input_ids=torch.tensor(DECODER).long(),
        ).logits.numpy()


@functools.partial(jax.jit, static_argnums=0)
def apply(model, params):
    return model.apply({"params": params}, TOKENS, DECODER)


def our_logits(config, params):
    return np.asarray(apply(T5(config, Execution()), params))


def edit_config(directory, **changes):
    path = directory / "config.json"
    fields = json.loads(path.read_text()) | changes
    path.write_text(
        json.dumps({name: value for name, value in fields.items() if value != "absent"})
    )


@pytest.fixture
def copied(oracle, tmp_path):
    """The oracle's directory, free to be changed."""
    return shutil.copytree(oracle.directory, tmp_path / "copied")


def test_the_name_table_covers_the_model_and_runs_both_ways(any_oracle):
    oracle = any_oracle
    config, _ = load_hf(oracle.directory, param_dtype=None)
    table = name_table(config)
    leaves = jax.tree_util.tree_leaves_with_path(abstract_params(T5(config, Execution())))
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves
    }
    assert {entry.path: entry.shape for entry in table} == shapes
    assert {e.hf_name: e.hf_shape for e in table} == {n: t.shape for n, t in oracle.tensors.items()}
    for entry in table:
        tensor = oracle.tensors[entry.hf_name].numpy()
        np.testing.assert_array_equal(entry.to_hf(entry.to_canonical(tensor)), tensor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("max_shard_size", [10**9, 10_000])
def test_there_and_back_is_bit_identical(oracle, copied, tmp_path, dtype, max_shard_size):
    tensors = {name: tensor.to(dtype) for name, tensor in oracle.tensors.items()}
    save_file(tensors, copied / "model.safetensors")
    config, params = load_hf(copied, param_dtype=None)
    save_hf(tmp_path / "out", config, params, max_shard_size=max_shard_size)
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert (len(files) > 1) == (max_shard_size == 10_000)
    again = {}
    for file in files:
        again |= load_file(file)
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again[name].dtype == dtype
        assert torch.equal(again[name], tensor), name
    assert load_hf(tmp_path / "out", param_dtype=None)[0] == config


@pytest.mark.parametrize("max_shard_size", [10**9, 10_000])
def test_transformers_loads_the_export_with_equal_logits(oracle, tmp_path, max_shard_size):
    config, params = load_hf(oracle.directory, param_dtype="float32")
    save_hf(tmp_path / "out", config, params, max_shard_size=max_shard_size)
    model, logits = torch_logits(tmp_path / "out")
    assert (model.lm_head.weight is model.shared.weight) == config.tie_word_embeddings
    np.testing.assert_array_equal(logits, torch_logits(oracle.directory)[1])
    assert model.generation_config.decoder_start_token_id == 0
    # What transformers 4 goes by, for the head and for the scaling alike.
    fields = json.loads((tmp_path / "out" / "config.json").read_text())
    assert fields["tie_word_embeddings"] == config.tie_word_embeddings


def test_a_checkpoint_saved_again_by_transformers_5_keeps_its_scaling(oracle, tmp_path):
    """It says tie_word_embeddings: true whatever the truth (the trap); ours and its own reading must agree."""
    oracle.model.save_pretrained(tmp_path / "resaved")
    fields = json.loads((tmp_path / "resaved" / "config.json").read_text())
    assert fields["tie_word_embeddings"] is True
    config, params = load_hf(tmp_path / "resaved", param_dtype="float32")
    assert config == load_hf(oracle.directory, param_dtype="float32")[0]
    expected = torch_logits(oracle.directory)[1]
    np.testing.assert_allclose(
        our_logits(config, params), expected, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("tie", [True, False, "absent"])
@pytest.mark.parametrize("scale", [True, False, "absent"])
@pytest.mark.parametrize("head", ["none", "copy", "own"])
def test_every_mix_of_flags_and_head_is_read_as_transformers_reads_it(
    tied_directory, tmp_path, tie, scale, head
):
    directory = shutil.copytree(tied_directory, tmp_path / "mixed")
    tensors = load_file(directory / "model.safetensors")
    if head != "none":
        own = torch.flip(tensors["shared.weight"], (0,)).contiguous()
        tensors["lm_head.weight"] = tensors["shared.weight"].clone() if head == "copy" else own
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    edit_config(directory, tie_word_embeddings=tie, scale_decoder_outputs=scale)
    config, params = load_hf(directory, param_dtype="float32")
    assert config.tie_word_embeddings == (head == "none" or (head == "copy" and tie is not False))
    expected = torch_logits(directory)[1]
    np.testing.assert_allclose(
        our_logits(config, params), expected, atol=1e-5 * np.abs(expected).max()
    )


def test_the_embedding_may_go_by_its_other_names(oracle, copied):
    expected = load_hf(oracle.directory, param_dtype=None)[1]["token_embedder"]["embedding"]
    shared = oracle.tensors["shared.weight"]
    rest = {name: tensor for name, tensor in oracle.tensors.items() if name != "shared.weight"}
    unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    save_file(
        rest | {"decoder.embed_tokens.weight": shared, unread: torch.ones(32, 4)},
        copied / "model.safetensors",
    )
    params = load_hf(copied, param_dtype=None)[1]
    np.testing.assert_array_equal(params["token_embedder"]["embedding"], expected)
    tensors = oracle.tensors | {"encoder.embed_tokens.weight": shared + 1}
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(InputError, match="encoder.embed_tokens.weight differs from shared.weight"):
        load_hf(copied, param_dtype=None)


def test_tensors_go_straight_into_their_shards(oracle, tmp_path):
    mesh = jax.make_mesh((2, 4), ("fsdp", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def shardings(config):
        def one(leaf):
            even = leaf.shape[0] % 2 == 0 and len(leaf.shape) == 2 and leaf.shape[1] % 4 == 0
            return NamedSharding(mesh, PartitionSpec("fsdp", "model") if even else PartitionSpec())

        return jax.tree.map(one, abstract_params(T5(config, Execution())))

    config, params = load_hf(oracle.directory, param_dtype="float32", shardings=shardings)
    embedding = params["token_embedder"]["embedding"]
    assert embedding.addressable_shards[0].data.shape == (48, 8)
    assert jax.tree.map(lambda leaf: leaf.sharding, params) == shardings(config)
    alone = load_hf(oracle.directory, param_dtype="float32")[1]
    jax.tree.map(np.testing.assert_array_equal, params, alone)
    save_hf(tmp_path / "out", config, params)
    again = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in oracle.tensors.items())


def test_types_are_converted_only_as_asked(oracle, copied, tmp_path):
    config, params = load_hf(oracle.directory, param_dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("bfloat16")}
    save_hf(tmp_path / "out", config, params, dtype="float32")
    again = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in oracle.tensors.items():
        assert torch.equal(again[name], tensor.bfloat16().float()), name
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "float32"
    save_file(
        oracle.tensors | {"shared.weight": torch.full((96, 32), 1e5)}, copied / "model.safetensors"
    )
    with pytest.raises(InputError, match="shared.weight has values beyond float16's range"):
        load_hf(copied, param_dtype="float16")
    doubles = {name: tensor.double() for name, tensor in oracle.tensors.items()}
    save_file(doubles, copied / "model.safetensors")
    with pytest.raises(InputError, match="float64; say which param_dtype"):
        load_hf(copied, param_dtype=None)
    assert load_hf(copied, param_dtype="float32")[0] == config


def test_an_export_replaces_an_earlier_one_and_leaves_other_files(oracle, tmp_path):
    config, params = load_hf(oracle.directory, param_dtype="float32")
    (tmp_path / "README.md").write_text("mine")
    save_hf(tmp_path, config, params, max_shard_size=10_000)
    save_hf(tmp_path, config, params)
    names = {path.name for path in tmp_path.iterdir()}
    files = "README.md config.json generation_config.json hashes.json model.safetensors"
    assert names == set(files.split())


def test_a_failed_export_leaves_the_earlier_one(oracle, tmp_path):
    config, params = load_hf(oracle.directory, param_dtype="float32")

    class FullDisk:
        def save(self, directory):
            raise OSError(28, "No space left on device")

    save_hf(tmp_path, config, params)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"cannot write the export \(No space left on device\)"):
        save_hf(tmp_path, config, jax.tree.map(jnp.zeros_like, params), FullDisk())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_parameters_of_another_model_are_not_exported(oracle, tmp_path):
    config, params = load_hf(oracle.directory, param_dtype=None)
    params["encoder"]["extra"] = params["encoder"].pop("encoder_norm")
    expected = (
        "only in the model: encoder/encoder_norm/scale;"
        " only in the parameters given: encoder/extra/scale"
    )
    with pytest.raises(InputError, match=expected):
        save_hf(tmp_path / "out", config, params)


def test_tensors_that_do_not_match_come_as_two_lists(oracle, copied):
    tensors = dict(oracle.tensors)
    tensors["encoder.final_layer_norm.bias"] = tensors.pop("encoder.final_layer_norm.weight")
    tensors["decoder.final_layer_norm.weight"] = torch.ones(31)
    save_file(tensors, copied / "model.safetensors")
    expected = (
        "copied: only in the model: encoder.final_layer_norm.weight; only in the checkpoint:"
        r" encoder.final_layer_norm.bias; other shapes \(the model's against the checkpoint's\):"
        r" decoder.final_layer_norm.weight \(32,\) against \(31,\)$"
    )
    with pytest.raises(InputError, match=expected):
        load_hf(copied, param_dtype=None)


def test_a_config_of_another_depth_is_refused(copied):
    edit_config(copied, num_layers=4)
    with pytest.raises(InputError, match=r"only in the model: encoder.block.2.* and \d+ more$"):
        load_hf(copied, param_dtype=None)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
            r"model_type is 'bert' \(BertForMaskedLM\); expected 't5', 'mt5', 'umt5'",
        ),
        ({"model_type": "absent", "architectures": "absent"}, "model_type is None"),
        ({"d_model": "absent", "num_heads": "8"}, "no whole number in d_model, num_heads"),
        ({"feed_forward_proj": "gated-tanh"}, "feed_forward_proj is 'gated-tanh'; supported: relu"),
        ({"eos_token_id": ["x"]}, r"eos_token_id is .*; expected a token id or several"),
    ],
)
def test_a_config_that_is_no_t5_is_refused(copied, changes, message):
    edit_config(copied, **changes)
    with pytest.raises(InputError, match=f"config.json: {message}"):
        load_hf(copied, param_dtype=None)


def test_a_hub_id_brings_one_format_of_weights_and_its_revision(
    tied_directory, tmp_path, monkeypatch
):
    asked = []

    def download(name, revision, allow_patterns):
        """A hub that has no safetensors, a Flax file, and a .bin which comes first in preference."""
        asked.append(
            (name, revision, [p for p in allow_patterns if "model" in p and p != "*.model"])
        )
        shutil.copy(tied_directory / "config.json", tmp_path)
        if "pytorch_model.bin" in allow_patterns:
            (tmp_path / "pytorch_model.bin").write_bytes(b"")
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert model_directory("google/t5-v1_1-small@abc") == tmp_path
    assert asked == [
        ("google/t5-v1_1-small", "abc", ["model.safetensors", "model-*-of-*.safetensors"]),
        ("google/t5-v1_1-small", "abc", ["pytorch_model.bin", "pytorch_model-*-of-*.bin"]),
    ]
    with pytest.raises(InputError, match="which has no revision 'main'"):
        model_directory(tmp_path, "main")


def test_sources_that_are_not_there_take_one_line(tmp_path):
    for source, message in (
        (tmp_path / "absent", "no such directory"),
        ("./absent", "no such directory"),
        ("google/no-such-t5", "not to be had from the Hugging Face hub"),
        (
            "google/no-such-t5@main",
            "google/no-such-t5 at main: no such directory, and not to be had",
        ),
        ("nanoo", r"did you mean nano, which comes along\? Or check the name"),
        (tmp_path, "config.json: cannot read it"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load_hf(source, param_dtype=None)
        assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json: not valid JSON"):
        load_hf(tmp_path, param_dtype=None)

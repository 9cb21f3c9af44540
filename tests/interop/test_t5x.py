"""t5x checkpoints: every array accounted for, all layouts the same model, and it is torch's of the same weights."""

import json
import logging
import pathlib
import shutil

import jax
import numpy as np
import pytest
import tensorstore
import torch
import transformers
from flax import serialization, traverse_util

from t5x_lite.api import load_pretrained
from t5x_lite.errors import InputError
from t5x_lite.interop.hf import load_hf, save_hf
from t5x_lite.interop.names import name_table
from t5x_lite.interop.t5x import is_t5x, left_out, open_t5x
from t5x_lite.models.config import Execution
from t5x_lite.models.t5 import T5

LAYERS, EMBED, HEADS, KV, MLP, VOCAB, BUCKETS = 2, 8, 4, 3, 16, 40, 32
TARGET = "optimizer/target/"


def made_up(gated=True, tied=False) -> dict[str, np.ndarray]:
    """The arrays of a small t5x checkpoint, by "/"-joined keys, as examples/t5 names and shapes them."""
    rng = np.random.default_rng(0)
    shapes = {"token_embedder/embedding": (VOCAB, EMBED)}
    for stack, attentions in (
        ("encoder", ["attention"]),
        ("decoder", ["self_attention", "encoder_decoder_attention"]),
    ):
        norms = {"self_attention": "pre_self_attention", "attention": "pre_attention"}
        shapes[f"{stack}/relpos_bias/rel_embedding"] = (HEADS, BUCKETS)
        shapes[f"{stack}/{stack}_norm/scale"] = (EMBED,)
        for layer in (f"{stack}/layers_{i}" for i in range(LAYERS)):
            for attention in attentions:
                norm = norms.get(attention, "pre_cross_attention")
                shapes[f"{layer}/{norm}_layer_norm/scale"] = (EMBED,)
                for kernel in ("query", "key", "value"):
                    shapes[f"{layer}/{attention}/{kernel}/kernel"] = (EMBED, HEADS * KV)
                shapes[f"{layer}/{attention}/out/kernel"] = (HEADS * KV, EMBED)
            shapes[f"{layer}/pre_mlp_layer_norm/scale"] = (EMBED,)
            for wi in ("wi_0", "wi_1") if gated else ("wi",):
                shapes[f"{layer}/mlp/{wi}/kernel"] = (EMBED, MLP)
            shapes[f"{layer}/mlp/wo/kernel"] = (MLP, EMBED)
    if not tied:
        shapes["decoder/logits_dense/kernel"] = (EMBED, VOCAB)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def tree_of(parameters: dict) -> dict:
    """The whole state that t5x saves around its parameters."""
    state = {f"{name}/{slot}": np.zeros((1,), np.float32) for name in parameters for slot in "mv"}
    return {
        "version": 3,
        "optimizer": {
            "target": traverse_util.unflatten_dict(parameters, sep="/"),
            "state": {
                "step": np.int32(7),
                "param_states": traverse_util.unflatten_dict(state, sep="/"),
            },
        },
    }


def write(file: pathlib.Path, parameters: dict) -> pathlib.Path:
    file.write_bytes(serialization.msgpack_serialize(tree_of(parameters)))
    return file


def scanned(parameters: dict, axis: int, name="layers", bias="relpos_bias") -> dict:
    """Each layer's arrays stacked; the bias, which scalable_t5 has in every layer, repeated for each."""
    result = {}
    for path, array in parameters.items():
        if "/relpos_bias/" in path:
            stack = path.split("/")[0]
            copies = [array + layer for layer in range(LAYERS)]
            result[f"{stack}/{name or stack}/{bias}/rel_embedding"] = np.stack(copies, axis)
        elif "/layers_0/" in path:
            stack, _, rest = path.split("/", 2)
            layers = [parameters[f"{stack}/layers_{i}/{rest}"] for i in range(LAYERS)]
            result[f"{stack}/{name or stack}/{rest}"] = np.stack(layers, axis)
        elif "/layers_" not in path:
            result[path] = array
    return result


def assert_read(source, parameters: dict) -> None:
    """Every parameter, in our shapes, is read as it is in the file."""
    opened = open_t5x(source)
    params = traverse_util.flatten_dict(opened.read(None), sep="/")
    assert params.keys() == {entry.path for entry in name_table(opened.config)}
    for name, array in params.items():
        assert array.dtype == np.float32
        if "/relpos_bias/" in name and "/layers_" in name:
            stack, layer, _ = name.split("/", 2)
            expected = parameters[f"{stack}/relpos_bias/rel_embedding"] + int(layer[-1])
        else:
            expected = parameters[name].reshape(array.shape)
        np.testing.assert_array_equal(array, expected, err_msg=name)


@pytest.fixture(scope="module")
def published(shared_data: pathlib.Path) -> pathlib.Path:
    return shared_data / "t5x_checkpoint" / "test_t5_tiny.checkpoint_0"


def test_every_array_of_a_real_checkpoint_is_accounted_for(published, caplog):
    tree = serialization.msgpack_restore(published.read_bytes())
    everything = traverse_util.flatten_dict(tree, sep="/")
    arrays = {name for name, value in everything.items() if hasattr(value, "shape")}
    with caplog.at_level(logging.INFO):
        opened = open_t5x(published)
    parameters = {TARGET + name for name, _ in opened.stored.values()}
    left = {name for name in arrays if not name.startswith(TARGET)}
    assert parameters | left == arrays and not parameters & left
    assert (len(parameters), len(left), len(arrays)) == (52, 209, 261)
    groups = {"optimizer/state/param_states": 208, "optimizer/state/step": 1}
    assert left_out(dict.fromkeys(arrays)) == groups
    said = caplog.records[-1].getMessage()
    assert "52 of 261 arrays are parameters" in said
    assert all(f"{name} ({count})" in said for name, count in groups.items())
    config = opened.config
    assert (config.d_model, config.num_heads, config.d_kv, config.d_ff) == (8, 4, 3, 16)
    assert (config.num_encoder_layers, config.num_decoder_layers) == (2, 2)
    assert (config.vocab_size, config.tie_word_embeddings) == (32128, False)
    assert_read(published, traverse_util.flatten_dict(tree["optimizer"]["target"], sep="/"))


@pytest.mark.parametrize("kind", ["gated", "plain_tied"])
def test_the_model_is_torchs_of_the_same_weights(tmp_path, kind):
    """Its weights put into transformers' model by hand: kernels transposed, names as they are."""
    gated = kind == "gated"
    weights = made_up(gated=gated, tied=not gated)
    opened = open_t5x(write(tmp_path / "checkpoint_1", weights))
    assert opened.config.scale_decoder_outputs == (not gated)
    hf = transformers.T5Config(
        vocab_size=VOCAB, d_model=EMBED, d_kv=KV, d_ff=MLP, num_heads=HEADS, num_layers=LAYERS,
        feed_forward_proj="gated-gelu" if gated else "relu", tie_word_embeddings=not gated,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(hf).eval()
    if gated:
        model.lm_head = torch.nn.Linear(EMBED, VOCAB, bias=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            ours = name
            for pattern, ours_is in (
                ("shared.weight", "token_embedder/embedding"),
                ("lm_head.weight", "decoder/logits_dense/kernel"),
                (".final_layer_norm.weight", f"/{name.split('.')[0]}_norm/scale"),
                (".block.0.layer.0.SelfAttention.relative_attention_bias.weight", "/relpos_bias/rel_embedding"),
                (".block.", "/layers_"),
                (".DenseReluDense.", "/mlp/"),
                (".layer.0.layer_norm.weight", "/pre_self_attention_layer_norm/scale"),
                (".layer.1.layer_norm.weight", "/pre_cross_attention_layer_norm/scale"),
                (".layer.2.layer_norm.weight", "/pre_mlp_layer_norm/scale"),
                (".layer.0.SelfAttention.", "/self_attention/"),
                (".layer.1.EncDecAttention.", "/encoder_decoder_attention/"),
                (".layer.1/mlp", "/mlp"), (".layer.2/mlp", "/mlp"),
                ("/q.weight", "/query/kernel"), ("/k.weight", "/key/kernel"),
                ("/v.weight", "/value/kernel"), ("/o.weight", "/out/kernel"),
                (".weight", "/kernel"),
            ):  # fmt: skip
                ours = ours.replace(pattern, ours_is)
            if name.startswith("encoder"):
                ours = ours.replace("self_attention", "attention")
                ours = ours.replace("pre_cross_attention", "pre_mlp")
            value = weights[ours]
            parameter.copy_(torch.tensor(value if "embedding" in ours.split("/") else value.T))
    tokens = np.array([[5, 9, 17, 3, 1, 0], [0, 0, 8, 4, 30, 1]])
    decoder = np.array([[0, 7, 30], [0, 12, 11]])
    with torch.no_grad():
        expected = model(
            input_ids=torch.tensor(tokens),
            attention_mask=torch.tensor(tokens != 0).long(),
            decoder_input_ids=torch.tensor(decoder),
        ).logits.numpy()
    variables = {"params": opened.read(None)}
    logits = jax.jit(T5(opened.config, Execution()).apply)(variables, tokens, decoder)
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name, bias", [("layers", "relative_posemb"), ("", "relpos_bias")])
def test_scanned_layers_come_apart(tmp_path, axis, name, bias):
    """examples/scalable_t5's names and flaxformer's, stacked along either axis; a bias a layer is UMT5's."""
    weights = made_up()
    stacked = scanned(weights, axis, name, bias)
    file = write(tmp_path / "checkpoint_5", stacked)
    assert_read(file, weights)
    assert open_t5x(file).config.model_type == "umt5"
    assert len(open_t5x(file).stored) == len(weights) + 2 * (LAYERS - 1)
    # With the bias beside the stack it is a T5.
    shared = {k: v for k, v in stacked.items() if "rel_embedding" not in k}
    shared |= {k: v for k, v in weights.items() if "rel_embedding" in k}
    write(file, shared)
    assert_read(file, weights)
    assert open_t5x(file).config.model_type == "t5"


def write_directory(
    folder: pathlib.Path, parameters: dict, dtype="<f4", compressor="gzip", chunk=None
) -> pathlib.Path:
    """As t5x's trainer: a zarr array a parameter, written by tensorstore, and descriptions of them in `checkpoint`."""
    folder.mkdir()
    described = {}
    for name, array in parameters.items():
        spec = {
            "driver": "zarr",
            "kvstore": {"driver": "file", "path": "target." + name.replace("/", ".")},
            "metadata": {
                "shape": list(array.shape),
                "chunks": [min(chunk or size, size) for size in array.shape],
                "dtype": dtype,
                "compressor": compressor and {"id": compressor, "level": 1},
            },
        }
        here = {
            **spec,
            "kvstore": {"driver": "file", "path": str(folder / spec["kvstore"]["path"])},
        }
        store = tensorstore.open(here, create=True).result()
        store.write(array.astype(store.dtype.numpy_dtype)).result()
        described[name] = spec
    return write(folder / "checkpoint", described).parent


@pytest.mark.parametrize(
    "dtype, compressor, chunk",
    [("<f4", "gzip", None), (">f4", "zlib", 5), ("bfloat16", "gzip", 3), ("<f4", None, 7)],
)
def test_directories_of_zarr_arrays(tmp_path, dtype, compressor, chunk):
    weights = made_up()
    folder = write_directory(tmp_path / "checkpoint_9", weights, dtype, compressor, chunk)
    params = traverse_util.flatten_dict(open_t5x(folder).read("float32"), sep="/")
    assert len(params) == len(weights)
    for name, array in params.items():
        expected = weights[name].astype(jax.numpy.bfloat16 if dtype == "bfloat16" else np.float32)
        np.testing.assert_array_equal(array, expected.astype(np.float32).reshape(array.shape), name)


def test_what_zarr_cannot_be_is_named(tmp_path):
    folder = write_directory(tmp_path / "checkpoint_9", made_up())
    array = folder / "target.encoder.encoder_norm.scale"
    fields = json.loads((array / ".zarray").read_text())
    (array / ".zarray").write_text(json.dumps(fields | {"compressor": {"id": "blosc"}}))
    with pytest.raises(InputError, match="scale/.zarray: compressed by blosc; gzip, zlib and none"):
        open_t5x(folder)
    (array / ".zarray").write_text(json.dumps(fields | {"dtype": "<i4"}))
    with pytest.raises(InputError, match="scale/.zarray: has type <i4; weights must be floats"):
        open_t5x(folder)
    (array / ".zarray").write_text(json.dumps(fields))
    (array / "0").write_bytes((array / "0").read_bytes()[:-9])
    with pytest.raises(InputError, match="scale/0: truncated or damaged"):
        open_t5x(folder).read(None)
    shutil.rmtree(array)
    with pytest.raises(InputError, match="scale/.zarray: cannot read it"):
        open_t5x(folder)


def test_what_does_not_match_comes_as_two_lists(tmp_path):
    weights = made_up()
    weights["encoder/encoder_norm/bias"] = weights.pop("encoder/encoder_norm/scale")
    weights["decoder/decoder_norm/scale"] = np.ones(9, np.float32)
    expected = (
        "checkpoint_1: only in the model: encoder/encoder_norm/scale; only in the checkpoint:"
        r" encoder/encoder_norm/bias; other shapes .*: decoder/decoder_norm/scale \(8,\) against \(9,\)$"
    )
    with pytest.raises(InputError, match=expected):
        open_t5x(write(tmp_path / "checkpoint_1", weights))


def test_files_that_are_no_t5x_model_take_one_line(tmp_path):
    file = tmp_path / "checkpoint_1"
    for content, message in (
        (b"\x81", "truncated or damaged"),
        (serialization.msgpack_serialize({"a": np.ones(3)}), r"version 3 \(its version is None\)"),
        (serialization.msgpack_serialize({"version": 3}), "no t5x model; .* found no arrays"),
        (
            serialization.msgpack_serialize(tree_of({"a/b": np.ones(3, np.float32)})),
            "expected optimizer/target/token_embedder/embedding, found optimizer/state/param_states",
        ),
    ):
        file.write_bytes(content)
        assert is_t5x(file)
        with pytest.raises(InputError, match=message) as caught:
            open_t5x(file)
        assert "\n" not in str(caught.value)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert not is_t5x(tmp_path / "model.safetensors") and not is_t5x(tmp_path)


def test_it_becomes_a_hugging_face_directory(tmp_path):
    opened = open_t5x(write(tmp_path / "checkpoint_1", made_up()))
    save_hf(tmp_path / "hf", opened.config, opened.read(None))
    config, params = load_hf(tmp_path / "hf", param_dtype=None)
    assert config == opened.config
    jax.tree.map(np.testing.assert_array_equal, params, opened.read(None))


def test_the_python_surface_takes_it_with_a_tokenizer(tmp_path):
    weights = made_up()
    rng = np.random.default_rng(1)
    weights["token_embedder/embedding"] = rng.normal(size=(384, EMBED)).astype(np.float32)
    weights["decoder/logits_dense/kernel"] = rng.normal(size=(EMBED, 384)).astype(np.float32)
    file = write(tmp_path / "checkpoint_1", weights)
    with pytest.raises(InputError, match="comes without a tokenizer; give load_pretrained"):
        load_pretrained(file)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    t5 = load_pretrained(file, tokenizer=tmp_path)
    tokens = t5.encode(["hé"])
    assert tokens[0, :4].tolist() == [107, 198, 172, 1]
    assert t5.generate_tokens(tokens, max_new_tokens=3).shape == (1, 3)


def test_what_the_arrays_do_not_say_can_be_said(tmp_path):
    """UL2's gate is SiLU, and nothing in its checkpoint says so."""
    file = write(tmp_path / "checkpoint_1", made_up())
    assert open_t5x(file).config.feed_forward_proj == "gated-gelu"
    said = {"feed_forward_proj": "gated-silu", "layer_norm_epsilon": 1e-5, "eos_token_id": 2}
    config = open_t5x(file, said).config
    assert {name: getattr(config, name) for name in said} == said
    for wrong, message in (
        ({"feed_forward_proj": "silu"}, "feed_forward_proj = 'silu', but .* layer is gated"),
        (
            {"d_model": 9},
            "d_model is not to be set; a t5x checkpoint leaves open feed_forward_proj",
        ),
        ({"feed_forward_proj": "gated-tanh"}, "must be one of"),
    ):
        with pytest.raises(InputError, match=message):
            open_t5x(file, wrong)
    with pytest.raises(InputError, match="architecture is for t5x checkpoints"):
        load_pretrained("nano", architecture=said)


@pytest.mark.parametrize("ocdbt", [True, False])
@pytest.mark.parametrize("place", ["", "state"])
def test_checkpoints_that_t5x_wrote_through_orbax(tmp_path, ocdbt, place):
    """Its later trainers keep {"target", "state"} under state/, without a version."""
    import orbax.checkpoint as ocp

    weights = made_up()
    tree = tree_of(weights)["optimizer"]
    where = tmp_path / "checkpoint_7"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt)) as writer:
        writer.save(where / place, tree)
    assert is_t5x(where)
    found = open_t5x(where)
    expected = open_t5x(write(tmp_path / "checkpoint_1", weights))
    assert found.config == expected.config
    jax.tree.map(np.testing.assert_array_equal, found.read(None), expected.read(None))
    assert not is_t5x(tmp_path)
    # What another trainer wrote through orbax is no t5x checkpoint.
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as writer:
        writer.save(tmp_path / "other", {"params": {"a": np.ones(2, np.float32)}})
    assert not is_t5x(tmp_path / "other")

"""Whole files of others, changed in one place: each is loaded as before, or refused in one line that names the file."""

import json
import os
import pathlib
import shutil
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from t5x_lite.errors import InputError
from tests.foreign.samples import CONFIG, KINDS

DEEP = "[" * 100_000 + "]" * 100_000
NEVER_ENDS = "(" * 12 + "a*" + ")*" * 12 + "b"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """whole(kind): the folder of a kind, and what is read there."""
    made = {}

    def of(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp("whole") / "files"
            KINDS[kind].write(folder)
            made[kind] = (folder, KINDS[kind].read(folder))
        return made[kind]

    return of


@pytest.fixture
def changed(whole, tmp_path):
    """changed(kind): a copy to change; without hashes, as files of others are."""

    def of(kind, hashes=False):
        folder = tmp_path / "copy"
        shutil.copytree(whole(kind)[0], folder)
        if not hashes:
            (folder / "hashes.json").unlink(missing_ok=True)
        return folder

    return of


def set_field(file: pathlib.Path, **fields) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def refused(kind: str, folder: pathlib.Path) -> str:
    with pytest.raises(InputError) as error:
        KINDS[kind].read(folder)
    message = str(error.value)
    assert "\n" not in message and len(message) < 1000
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_of_every_kind_are_read(kind, whole):
    assert whole(kind)[1] == KINDS[kind].read(whole(kind)[0])


CONFIG_FILES = {
    "model": "config.json",
    "adapter": "adapter_config.json",
    "classifier": "config.json",
    "tokenizer": "tokenizer_config.json",
    "zarr": "target.token_embedder.embedding/.zarray",
    "list": "rows.json",
}


@pytest.mark.parametrize("kind", CONFIG_FILES)
@pytest.mark.parametrize("text", [DEEP, '{"a":' * 70 + "1" + "}" * 70, "null", "", '{"a": ' + "1" * 5000 + "}"],
                         ids=["very deep", "deep", "null", "empty", "digits"])  # fmt: skip
def test_json_that_is_none_or_too_much(kind, text, changed):
    folder = changed(kind)
    (folder / CONFIG_FILES[kind]).write_text(text)
    assert pathlib.Path(CONFIG_FILES[kind]).name in refused(kind, folder) or kind == "tokenizer"


@pytest.mark.parametrize("kind", CONFIG_FILES)
def test_a_byte_order_mark_is_no_part_of_json(kind, changed, whole):
    folder = changed(kind)
    file = folder / CONFIG_FILES[kind]
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert KINDS[kind].read(folder) == whole(kind)[1]


@pytest.mark.parametrize("kind", ["model", "adapter", "classifier"])
def test_a_pipe_in_place_of_a_file_does_not_block(kind, changed):
    folder = changed(kind)
    (folder / CONFIG_FILES[kind]).unlink()
    os.mkfifo(folder / CONFIG_FILES[kind])
    refused(kind, folder)


MODEL_FIELDS = [
    *({"scale_decoder_outputs": value} for value in ("false", 0, [])),
    *({"tie_word_embeddings": value} for value in ("false", "true", 1)),
    *({"num_layers": value} for value in (True, -1, 10**9, "2", 2.0)),
    *({"num_decoder_layers": value} for value in (0, 10**9, "1")),
    *({"vocab_size": value} for value in (0, 1 << 62, None)),
    *({"pad_token_id": value} for value in (-1, 40, "0", 1.5, [0], True)),
    *({"decoder_start_token_id": value} for value in (-1, 40, "0", float("nan"))),
    *({"eos_token_id": value} for value in (-1, 40, "1", [[1]], 2**40)),
    *({"layer_norm_epsilon": value} for value in ("1e-6", -1, float("inf"), [], True)),
    *({"dropout_rate": value} for value in ("0.1", 1.0, float("nan"))),
    *({"initializer_factor": value} for value in ("1", -1)),
    *({"feed_forward_proj": value} for value in ([], {}, "double-gelu")),
    *({"model_type": value} for value in ([], "bert", 5)),
    *({"relative_attention_num_buckets": value} for value in (3, 1 << 40, "32")),
    *({"relative_attention_max_distance": value} for value in (1 << 40, 1.5)),
]  # fmt: skip


@pytest.mark.parametrize("fields", MODEL_FIELDS, ids=str)
def test_fields_of_a_model(fields, changed):
    folder = changed("model")
    set_field(folder / "config.json", **fields)
    message = refused("model", folder)
    name = next(iter(fields))
    assert name.removeprefix("num_") in message and "config.json" in message


@pytest.mark.parametrize(
    "fields",
    [{"layer_norm_epsilon": None}, {"eos_token_id": [1, 3]}, {"num_layers_of_another": "x"},
     {"dropout_rate": 0.1}, {"architectures": None}, {"task_specific_params": {"a": [1]}}],
    ids=str,
)  # fmt: skip
def test_what_transformers_accepts_is_accepted(fields, changed, whole):
    folder = changed("model")
    set_field(folder / "config.json", **fields)
    assert KINDS["model"].read(folder)[:2] == whole("model")[1][:2]


@pytest.mark.parametrize(
    "fields",
    [{"num_beams": "4"}, {"num_beams": [2]}, {"max_new_tokens": "9"}, {"max_new_tokens": []},
     {"max_new_tokens": 2**31}, {"num_beams": 2**62}, {"do_sample": "false"}, {"top_k": {}}],
    ids=str,
)  # fmt: skip
def test_fields_of_generation_settings(fields, changed):
    folder = changed("model")
    set_field(folder / "generation_config.json", **fields)
    assert next(iter(fields)) in refused("model", folder)


@pytest.mark.parametrize(
    "fields",
    [{"id2label": {"0": "a", "2": "b"}}, {"id2label": {"x": "a", "1": "b"}}, {"id2label": "ab"},
     {"id2label": None, "num_labels": 10**12}, {"hidden_dropout_prob": "0.1"},
     {"layer_norm_eps": "1"}, {"hidden_act": []}, {"problem_type": "x"}, {"pad_token_id": 30},
     {"num_attention_heads": 0}, {"num_hidden_layers": 10**9}],
    ids=str,
)  # fmt: skip
def test_fields_of_a_classifier(fields, changed):
    folder = changed("classifier")
    set_field(folder / "config.json", **fields)
    refused("classifier", folder)


ADAPTER_FIELDS = [
    *({"lora_alpha": value} for value in (float("inf"), float("nan"), "4", None, True)),
    *({"r": value} for value in (0, -1, "2")),
    *({"use_rslora": value} for value in ("false", 1)),
    *({"use_dora": value} for value in ("false", [])),
    *({"lora_dropout": value} for value in ("0", 1.0, -0.1, float("nan"))),
    *({"alpha_pattern": value} for value in ([], {"(": 1}, {"(?=a)": 1}, {"q": "1"}, {"q": float("inf")})),
    *({"rank_pattern": value} for value in ({"q": 0}, {"q": "2"}, "q")),
    {"base_model_name_or_path": [1]},
    {"peft_type": []},
]  # fmt: skip


@pytest.mark.parametrize("fields", ADAPTER_FIELDS, ids=str)
def test_fields_of_an_adapter(fields, changed):
    folder = changed("adapter")
    set_field(folder / "adapter_config.json", **fields)
    assert next(iter(fields)) in refused("adapter", folder)


def test_a_pattern_that_never_ends_ends(changed, whole):
    folder = changed("adapter")
    set_field(folder / "adapter_config.json", alpha_pattern={NEVER_ENDS: 3, "(.*)*x": 5})
    assert KINDS["adapter"].read(folder)[1] == whole("adapter")[1][1]


@pytest.mark.parametrize("kind", ["rank 0", "nan", "no shape"])
def test_tensors_of_an_adapter(kind, changed):
    folder = changed("adapter")
    tensors = load_file(folder / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_A" in name)
    if kind == "rank 0":
        other = name.replace("lora_A", "lora_B")
        tensors |= {name: tensors[name][:0], other: tensors[other][:, :0]}
    else:
        tensors[name] = np.float32(1) if kind == "no shape" else tensors[name] * np.float32("nan")
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    refused("adapter", folder)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.safetensors", "a/../../secret.safetensors", "", 5, "..\\x"]
)
def test_shards_lie_in_their_folder(name, changed):
    folder = changed("shards")
    shards = sorted(folder.glob("*.safetensors"))
    shutil.copy(shards[0], folder.parent / "secret.safetensors")
    index = folder / "model.safetensors.index.json"
    fields = json.loads(index.read_text())
    fields["weight_map"] = {
        tensor: name if file == shards[0].name else file
        for tensor, file in fields["weight_map"].items()
    }
    index.write_text(json.dumps(fields))
    refused("shards", folder)


def test_shards_may_be_links(changed, whole):
    """The hub's cache is made of links that lead elsewhere."""
    folder = changed("shards")
    file = sorted(folder.glob("*.safetensors"))[0]
    elsewhere = folder.parent / "blob"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert KINDS["shards"].read(folder) == whole("shards")[1]


@pytest.mark.parametrize(
    "fields",
    [{"dimension_separator": "/../"}, {"shape": [1 << 40, 8]}, {"shape": [-1, 8]},
     {"shape": "x"}, {"chunks": [1 << 40, 8]}, {"chunks": [1, True]}, {"order": "x"}, {"fill_value": "x"}],
    ids=str,
)  # fmt: skip
def test_fields_of_zarr(fields, changed):
    folder = changed("zarr")
    set_field(folder / "target.token_embedder.embedding/.zarray", **fields)
    assert ".zarray" in refused("zarr", folder)


def test_a_chunk_that_unpacks_to_everything(changed):
    import gzip

    folder = changed("zarr")
    chunk = folder / "target.token_embedder.embedding/0.0"
    chunk.write_bytes(gzip.compress(bytes(1 << 28), 1))
    assert "chunk" in refused("zarr", folder)


def test_a_zip_archive_that_torch_did_not_write(changed):
    folder = changed("torch")
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("x", "y")
    assert "data.pkl" in refused("torch", folder)


@pytest.mark.parametrize(
    "fields",
    [{"extra_ids": 10**9}, {"extra_ids": "3"}, {"eos_token": 5}, {"eos_token": {"content": []}},
     {"added_tokens_decoder": {"999999999999": {"content": "x"}}}, {"added_tokens_decoder": [1]},
     {"legacy": "false"}, {"additional_special_tokens": "x"}],
    ids=str,
)  # fmt: skip
def test_fields_of_a_tokenizer(fields, changed):
    folder = changed("spiece")
    set_field(folder / "tokenizer_config.json", **fields)
    assert str(folder) in refused("spiece", folder)


def test_a_tokenizer_whose_parts_do_not_fit(changed):
    """tokenizers' Rust panics, which is no Exception."""
    folder = changed("tokenizer")
    file = folder / "tokenizer.json"
    fields = json.loads(file.read_text())
    fields["post_processor"]["special_tokens"] = {}
    file.write_text(json.dumps(fields))
    # Of a T5's the end of a text is put there anew, whatever the file says of it.
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    other = {**settings, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(other))
    assert str(folder) in refused("tokenizer", folder)


@pytest.mark.parametrize("kind", ["model", "shards", "adapter", "classifier"])
def test_a_flipped_bit_of_an_export_is_told(kind, changed):
    folder = changed(kind, hashes=True)
    file = sorted(folder.glob("*.safetensors"))[-1]
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    message = refused(kind, folder)
    assert file.name in message and "hashes.json" in message
    (folder / "hashes.json").unlink()
    KINDS[kind].read(folder)  # of others' files nothing is known


def test_a_config_that_was_edited_by_hand_is_told_and_read(changed, caplog):
    folder = changed("model", hashes=True)
    set_field(folder / "config.json", eos_token_id=3)
    assert KINDS["model"].read(folder)[0]["eos_token_id"] == 3 != CONFIG.eos_token_id
    assert "config.json: was changed since it was written" in caplog.text


@pytest.mark.parametrize("name", ["../x", "x" * 256, "é" * 200])
def test_hashes_name_no_file_elsewhere(changed, name):
    folder = changed("model", hashes=True)
    set_field(folder / "hashes.json", **{name: "0"})
    refused("model", folder)

"""Small whole files of every kind that is read from others, and what reading each gives, as one comparable value."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.serialization
import jax
import numpy as np
import tensorstore
import torch
from flax import traverse_util

from t5x_lite.data.classifier_text import load_classifier_tokenizer
from t5x_lite.data.sources import load_rows
from t5x_lite.data.vocabulary import load_vocabulary
from t5x_lite.decoding.checkpoint_settings import checkpoint_settings
from t5x_lite.interop.classifiers import name_table_of, open_classifier, save_classifier
from t5x_lite.interop.hf import save_hf
from t5x_lite.interop.names import name_table
from t5x_lite.interop.peft import load_adapter, save_adapter
from t5x_lite.interop.pretrained import open_pretrained
from t5x_lite.interop.t5x import open_t5x
from t5x_lite.models.config import T5Config
from t5x_lite.models.encoder_classifier import EncoderClassifier
from t5x_lite.models.encoder_config import EncoderConfig
from t5x_lite.params.adapters import Adapter
from t5x_lite.params.lora import LoraSettings
from t5x_lite.params.soft_prompts import SoftPromptSettings

CONFIG = T5Config(
    vocab_size=40,
    d_model=8,
    d_kv=4,
    d_ff=12,
    num_encoder_layers=2,
    num_decoder_layers=1,
    num_heads=2,
    tie_word_embeddings=False,
    scale_decoder_outputs=False,
    feed_forward_proj="gated-gelu",
)
ENCODER = EncoderConfig(
    family="bert",
    vocab_size=30,
    d_model=8,
    d_ff=12,
    num_layers=1,
    num_heads=2,
    max_positions=16,
    labels=("bad", "good"),
    type_vocab_size=2,
)
ROWS = [{"id": f"row {n}", "text": f"A text, number {n}.", "label": "good"} for n in range(3)]


class Kind(NamedTuple):
    """write(folder) puts files there; read(folder) gives what the package makes of them."""

    write: Callable[[pathlib.Path], Any]
    read: Callable[[pathlib.Path], Any]


@functools.cache
def params() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    flat = {e.path: rng.normal(size=e.shape).astype(np.float32) for e in name_table(CONFIG)}
    return traverse_util.unflatten_dict(flat, sep="/")


def digest(tree: Any) -> str:
    """Of every value of a tree of arrays, with their paths, types and shapes."""
    found = hashlib.sha256()
    for path, leaf in sorted(traverse_util.flatten_dict(tree, sep="/").items()):
        array = np.asarray(leaf)
        found.update(f"{path}{array.dtype}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def torch_state() -> dict[str, torch.Tensor]:
    flat = traverse_util.flatten_dict(params(), sep="/")
    return {e.hf_name: torch.tensor(e.to_hf(flat[e.path])) for e in name_table(CONFIG)}


def write_model(folder: pathlib.Path) -> None:
    fields = {"num_beams": 2, "max_new_tokens": 9, "do_sample": False, "early_stopping": False}
    save_hf(folder, CONFIG, params(), generation=fields)


def write_shards(folder: pathlib.Path) -> None:
    save_hf(folder, CONFIG, params(), max_shard_size=4000)


def write_torch(folder: pathlib.Path, **options: Any) -> None:
    write_model(folder)
    for name in ("model.safetensors", "hashes.json"):
        (folder / name).unlink()
    torch.save(torch_state(), folder / "pytorch_model.bin", **options)


def write_flax(folder: pathlib.Path) -> None:
    """The tree of transformers 4's FlaxT5ForConditionalGeneration."""
    write_model(folder)
    for name in ("model.safetensors", "hashes.json"):
        (folder / name).unlink()
    tree: dict[str, Any] = {}
    for name, tensor in torch_state().items():
        path = name.split(".")[:-1]
        array = tensor.numpy()
        if "norm" in path[-1]:
            leaf = "weight"
        elif path[-1] in ("shared", "relative_attention_bias"):
            leaf = "embedding"
        else:
            leaf, array = "kernel", array.T
        tree["/".join([*path, leaf])] = array
    data = flax.serialization.to_bytes(traverse_util.unflatten_dict(tree, sep="/"))
    (folder / "flax_model.msgpack").write_bytes(data)


def read_model(folder: pathlib.Path) -> Any:
    opened = open_pretrained(folder)
    settings = {k: v for k, v in vars(checkpoint_settings(folder)).items() if k[0] != "_"}
    return dataclasses.asdict(opened.config), digest(opened.read(None)), settings


def t5x_tree() -> dict[str, Any]:
    flat = traverse_util.flatten_dict(params(), sep="/")
    target = {}
    for path, array in flat.items():
        if array.ndim == 3:  # t5x keeps heads and kv in one axis
            out = path.endswith("out/kernel")
            array = array.reshape((-1, 8) if out else (8, -1))
        target[path] = array
    return target


def write_t5x(folder: pathlib.Path) -> None:
    tree = {
        "target": traverse_util.unflatten_dict(t5x_tree(), sep="/"),
        "state": {"step": np.int32(3)},
    }
    data = flax.serialization.msgpack_serialize({"version": 3, "optimizer": tree})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint").write_bytes(data)


def write_zarr(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    target = {}
    for path, array in t5x_tree().items():
        name = "target." + path.replace("/", ".")
        spec = {
            "driver": "zarr",
            "kvstore": {"driver": "file", "path": str(folder / name)},
            "metadata": {"compressor": {"id": "gzip", "level": 1}},
        }
        store = tensorstore.open(
            spec, create=True, dtype=tensorstore.float32, shape=array.shape
        ).result()
        store.write(array).result()
        target[path] = {"driver": "zarr", "kvstore": {"driver": "file", "path": name}}
    tree = {"target": traverse_util.unflatten_dict(target, sep="/")}
    data = flax.serialization.msgpack_serialize({"version": 3, "optimizer": tree})
    (folder / "checkpoint").write_bytes(data)


def read_t5x(folder: pathlib.Path) -> Any:
    opened = open_t5x(folder)
    return dataclasses.asdict(opened.config), digest(opened.read(None))


def write_adapter(folder: pathlib.Path, dora: bool = False) -> None:
    settings = LoraSettings(
        targets=((".*/(query|value)", 2),), alpha=4.0, dropout=0.0, rslora=False, dora=dora
    )
    tree = settings.init(params(), jax.random.key(0))
    tree = jax.tree.map(lambda leaf: np.asarray(leaf) + (leaf.ndim > 1), tree)
    save_adapter(folder, CONFIG, params(), Adapter(settings, tree), "")


def write_prompt(folder: pathlib.Path) -> None:
    settings = SoftPromptSettings(length=3, init_from="normal")
    tree = settings.init(params(), jax.random.key(0))
    save_adapter(folder, CONFIG, params(), Adapter(settings, tree), "")


def read_adapter(folder: pathlib.Path) -> Any:
    adapter = load_adapter(folder, CONFIG, params())
    return dataclasses.asdict(adapter.settings), digest(adapter.tree)


@functools.cache
def classifier_params() -> Any:
    rng = np.random.default_rng(1)
    table = name_table_of(EncoderClassifier(ENCODER, "float32"))
    flat = {entry.path: rng.normal(size=entry.shape).astype(np.float32) for entry in table}
    return traverse_util.unflatten_dict(flat, sep="/")


def write_classifier(folder: pathlib.Path) -> None:
    save_classifier(folder, EncoderClassifier(ENCODER, "float32"), classifier_params())


def read_classifier(folder: pathlib.Path) -> Any:
    opened = open_classifier(folder)
    return dataclasses.asdict(opened.module.config), digest(opened.read())


PIECES = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁a", -3.0)]
PIECES += [(letter, -4.0) for letter in "abcdefgh.,"]


def write_tokenizer(folder: pathlib.Path) -> None:
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    backend = tokenizers.Tokenizer(models.Unigram(PIECES, unk_id=2, byte_fallback=False))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["<pad>", "</s>", "<unk>", "<extra_id_0>"])
    backend.post_processor = processors.TemplateProcessing(
        single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", 1)]
    )
    backend.save(str(folder / "tokenizer.json"))
    fields = {
        "tokenizer_class": "T5Tokenizer",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "extra_ids": 1,
        "additional_special_tokens": ["<extra_id_0>"],
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(fields))


@functools.cache
def sentencepiece_bytes() -> bytes:
    import io

    import sentencepiece

    model = io.BytesIO()
    lines = [f"{word} is a word and {word} another" for word in "one two three four".split()] * 5
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=40,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


def write_spiece(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(sentencepiece_bytes())
    fields = {"tokenizer_class": "T5Tokenizer", "extra_ids": 3, "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(fields))


def read_tokenizer(folder: pathlib.Path) -> Any:
    vocabulary = load_vocabulary(folder)
    texts = ["a word, and one</s> more <extra_id_0> b", "abc \ud83d x"]
    ids = vocabulary.encode(texts, add_eos=True)
    special = (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id, vocabulary.size)
    return ids, vocabulary.decode(ids), special, vocabulary.sentinel_ids


def write_wordpiece(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c", "text"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    fields = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 16}
    (folder / "tokenizer_config.json").write_text(json.dumps(fields))
    (folder / "reading.json").write_text('{"max_length": 8, "template": ""}')


def read_wordpiece(folder: pathlib.Path) -> Any:
    from t5x_lite.data.classifier_text import read_reading

    tokenizer = load_classifier_tokenizer(folder, 16)
    return tokenizer.encode(["a Text bc", "b"]), read_reading(folder)


def write_rows(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def write_list(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.json").write_text(json.dumps(ROWS))


def write_csv(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["id,text,label", *(f'{r["id"]},"{r["text"]}",{r["label"]}' for r in ROWS)]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")


def write_parquet(folder: pathlib.Path) -> None:
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "rows.parquet")


def read_rows(folder: pathlib.Path) -> Any:
    (file,) = folder.glob("rows.*")
    columns = {"text": "text", "label": "label"}
    return load_rows(str(file), "", columns, id_column="id", exclude="", limit=0)


KINDS = {
    "model": Kind(write_model, read_model),
    "shards": Kind(write_shards, read_model),
    "torch": Kind(write_torch, read_model),
    "old torch": Kind(
        functools.partial(write_torch, _use_new_zipfile_serialization=False), read_model
    ),
    "flax": Kind(write_flax, read_model),
    "t5x": Kind(write_t5x, read_t5x),
    "zarr": Kind(write_zarr, read_t5x),
    "adapter": Kind(write_adapter, read_adapter),
    "dora": Kind(functools.partial(write_adapter, dora=True), read_adapter),
    "prompt": Kind(write_prompt, read_adapter),
    "classifier": Kind(write_classifier, read_classifier),
    "tokenizer": Kind(write_tokenizer, read_tokenizer),
    "spiece": Kind(write_spiece, read_tokenizer),
    "wordpiece": Kind(write_wordpiece, read_wordpiece),
    "rows": Kind(write_rows, read_rows),
    "list": Kind(write_list, read_rows),
    "csv": Kind(write_csv, read_rows),
    "parquet": Kind(write_parquet, read_rows),
}

"""Tiny random models of every family as whole directories, tokenizer included, and what can lie in them otherwise."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tokenizers
import torch
import transformers
from flax import serialization, traverse_util
from safetensors.torch import load_file, save_file

from t5x_lite.interop.hub import BUNDLED

TEXTS = ["Ann: Are you coming on Sunday?", "Bob will be there at nine, he says."]
_T5 = dict(d_model=32, d_kv=6, d_ff=40, num_heads=4, num_layers=2, num_decoder_layers=2)
_UNTIED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
_BERT = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40)
LABELS = {0: "nothate", 1: "hate"}


class Family(NamedTuple):
    """What makes a directory of it. tokenizer: writes the tokenizer's files and returns how many tokens there are."""

    kind: str  # transformers' name of it: T5, MT5, Bert, ...
    tokenizer: Callable[[pathlib.Path], int]
    fields: dict[str, Any]


def _nano(where: pathlib.Path) -> int:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED["nano"] / name, where)
    return 2048


def _bytes(where: pathlib.Path) -> int:
    transformers.ByT5Tokenizer().save_pretrained(where)
    return 384


def _unigram(
    specials: list[str], roles: dict[str, str], template: str
) -> Callable[[pathlib.Path], int]:
    def write(where: pathlib.Path) -> int:
        tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
        tokenizer.decoder = tokenizers.decoders.Metaspace()
        trainer = tokenizers.trainers.UnigramTrainer(
            vocab_size=90, special_tokens=specials, unk_token="<unk>"
        )
        tokenizer.train_from_iterator(TEXTS * 20, trainer)
        ids = [(token, tokenizer.token_to_id(token)) for token in specials]
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single=template, special_tokens=ids
        )
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
        fast.save_pretrained(where)
        return 128

    return write


def _wordpiece(kind: str) -> Callable[[pathlib.Path], int]:
    def write(where: pathlib.Path) -> int:
        words = sorted(set(" ".join(TEXTS).lower().replace(",", " ,").replace(":", " :").split()))
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
        (where / "vocab.txt").write_text("\n".join(vocabulary))
        getattr(transformers, kind)(str(where / "vocab.txt")).save_pretrained(where)
        return 128

    return write


def _byte_pairs(where: pathlib.Path) -> int:
    bpe = tokenizers.ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe.train_from_iterator(
        TEXTS * 20, vocab_size=300, special_tokens=specials, show_progress=False
    )
    bpe.save_model(str(where))
    transformers.RobertaTokenizerFast.from_pretrained(str(where)).save_pretrained(where)
    return 320


_XLM = _unigram(
    ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    dict(bos_token="<s>", cls_token="<s>", pad_token="<pad>", eos_token="</s>", sep_token="</s>",
         unk_token="<unk>", mask_token="<mask>"),
    "<s> $A </s>",
)  # fmt: skip
_MADLAD = _unigram(
    ["<unk>", "<s>", "</s>"],
    dict(unk_token="<unk>", pad_token="<s>", eos_token="</s>"),
    "$A </s>",
)
_ROBERTA = dict(**_BERT, max_position_embeddings=66, pad_token_id=1, type_vocab_size=1)
FAMILIES = {
    "T5 1.0": Family("T5", _nano, {**_T5, "feed_forward_proj": "relu"}),
    "T5 1.1, FLAN-T5": Family("T5", _nano, {**_T5, **_UNTIED}),
    "mT5": Family("MT5", _nano, {**_T5, **_UNTIED}),
    "UMT5": Family("UMT5", _nano, {**_T5, "feed_forward_proj": "gated-gelu"}),
    "ByT5": Family("T5", _bytes, {**_T5, **_UNTIED, "num_layers": 3, "num_decoder_layers": 1}),
    "MADLAD-400": Family(
        "T5", _MADLAD, {**_T5, **_UNTIED, "pad_token_id": 1, "eos_token_id": 2, "d_kv": 12}
    ),
    "BERT": Family("Bert", _wordpiece("BertTokenizerFast"), {**_BERT, "max_position_embeddings": 64}),
    "RoBERTa": Family("Roberta", _byte_pairs, _ROBERTA),
    "DistilBERT": Family(
        "DistilBert",
        _wordpiece("DistilBertTokenizerFast"),
        dict(n_layers=2, n_heads=3, dim=24, hidden_dim=40, max_position_embeddings=64),
    ),
    "XLM-R": Family("XLMRoberta", _XLM, _ROBERTA),
}  # fmt: skip


def write_family(name: str, where: pathlib.Path, task: str = "") -> pathlib.Path:
    """A directory of the family: config, weights, tokenizer. task: of its class, by default the one we serve."""
    kind, tokenizer, fields = FAMILIES[name]
    where.mkdir(parents=True)
    vocab_size = tokenizer(where)
    is_t5 = "T5" in kind
    more = dict(decoder_start_token_id=0) if is_t5 else dict(id2label=LABELS)
    config = getattr(transformers, f"{kind}Config")(vocab_size=vocab_size, **fields, **more)
    task = task or ("ForConditionalGeneration" if is_t5 else "ForSequenceClassification")
    model = getattr(transformers, kind + task)(config)
    state = {}
    rng = np.random.default_rng(3)
    tied = is_t5 and fields.get("tie_word_embeddings") is not False
    for tensor_name, tensor in model.state_dict().items():
        if is_t5 and (
            tensor_name.endswith("embed_tokens.weight") or (tied and "lm_head" in tensor_name)
        ):
            continue
        draw = rng.normal(size=tensor.shape)
        if "norm" in tensor_name.lower() and tensor_name.endswith("weight"):
            draw = 1 + 0.2 * draw
        elif "embed" not in tensor_name and "shared" not in tensor_name and tensor.ndim == 2:
            draw = draw * tensor.shape[1] ** -0.5
        state[tensor_name] = torch.tensor(draw, dtype=torch.float32)
    # As the hub's files say it (transformers 4 wrote them), and not as transformers 5 forces it.
    said = config.to_dict() | {"architectures": [type(model).__name__]} | fields
    said.pop("scale_decoder_outputs", None)
    (where / "config.json").write_text(json.dumps(said, default=str))
    save_file(state, where / "model.safetensors", metadata={"format": "pt"})
    if is_t5:
        ids = dict(pad_token_id=said["pad_token_id"], eos_token_id=said["eos_token_id"])
        write_json(where / "generation_config.json", {**ids, "decoder_start_token_id": 0})
    return where


def write_json(file: pathlib.Path, fields: dict[str, Any]) -> None:
    """Replaces a JSON file."""
    file.write_text(json.dumps(fields))


def edit_json(file: pathlib.Path, **changes: Any) -> None:
    """Changes some fields of a JSON file."""
    write_json(file, json.loads(file.read_text()) | changes)


def rewrite(
    where: pathlib.Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    """Puts other tensors in place of those of the directory's file."""
    file = where / "model.safetensors"
    save_file(
        {n: t.contiguous() for n, t in change(load_file(file)).items()}, file, {"format": "pt"}
    )


def into_shards(where: pathlib.Path, kind: str) -> None:
    """The weights in two files and an index."""
    tensors = load_file(where / "model.safetensors")
    (where / "model.safetensors").unlink()
    stem, ending = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    names = sorted(tensors)
    parts = [names[::2], names[1::2]]
    files = [f"{stem}-{number:05}-of-00002.{ending}" for number in (1, 2)]
    for part, file in zip(parts, files, strict=True):
        state = {name: tensors[name] for name in part}
        if kind == "safetensors":
            save_file(state, where / file, {"format": "pt"})
        else:
            torch.save(state, where / file)
    weight_map = {n: f for part, f in zip(parts, files, strict=True) for n in part}
    write_json(where / f"{stem}.{ending}.index.json", {"metadata": {}, "weight_map": weight_map})


def into_bin(where: pathlib.Path) -> None:
    """The weights as pytorch_model.bin."""
    torch.save(load_file(where / "model.safetensors"), where / "pytorch_model.bin")
    (where / "model.safetensors").unlink()


def into_msgpack(where: pathlib.Path) -> None:
    """The weights of a T5 as transformers' former Flax models wrote them."""
    flat = {}
    for name, tensor in load_file(where / "model.safetensors").items():
        *path, _ = name.split(".")
        array = tensor.numpy()
        if "norm" in path[-1]:
            flat[(*path, "weight")] = array
        elif path[-1] in ("shared", "relative_attention_bias"):
            flat[(*path, "embedding")] = array
        else:
            flat[(*path, "kernel")] = array.T
    (where / "flax_model.msgpack").write_bytes(
        serialization.msgpack_serialize(traverse_util.unflatten_dict(flat))
    )
    (where / "model.safetensors").unlink()

"""Tiny sentence encoders of torch in sentence-transformers' format, and the real MiniLM."""

import json
import pathlib

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import save_file

from t5x_lite.data.vocabulary import load_vocabulary

TEXTS = [
    "When does the train leave, and from which platform?",
    "Ann",
    "She would like a room with a view for two nights in Lisbon, breakfast included. " * 3,
    "",
    "  Two umbrellas  ",
]
_PREFIX = "sentence_transformers.models."


def write_modules(folder: pathlib.Path, kinds: list[str], pooling: dict[str, bool]) -> None:
    """modules.json, and the pooling's config."""
    paths = [f"{number}_{kind}" if number else "" for number, kind in enumerate(kinds)]
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": _PREFIX + kind}
        for number, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(entries))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, **pooling})
    )


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> pathlib.Path:
    """`make_bert`."""
    return make_bert(tmp_path_factory.mktemp("bert"))


def make_bert(folder: pathlib.Path) -> pathlib.Path:
    """A BERT, pooled by the mean and the first token side by side, and normed; with few words, those of TEXTS."""
    torch.manual_seed(0)
    words = sorted({word for text in TEXTS for word in text.lower().replace(",", " , ").split()})
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="[UNK]")
    )
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip
    config = transformers.BertConfig(
        vocab_size=len(names), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    write_modules(folder, ["Transformer", "Pooling", "Normalize"], pooling)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    return folder


@pytest.fixture(scope="session", params=["safetensors", "bin"])
def sentence_t5(request, tmp_path_factory) -> pathlib.Path:
    """A T5's encoder with mean pooling, a projection and a norm, as sentence-T5 and GTR have them."""
    folder = tmp_path_factory.mktemp("t5")
    torch.manual_seed(1)
    vocabulary = load_vocabulary("nano")
    vocabulary.save(folder)
    config = transformers.T5Config(
        vocab_size=vocabulary.padded_size, d_model=32, d_kv=6, d_ff=40, num_heads=4, num_layers=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    transformers.T5EncoderModel(config).save_pretrained(folder)
    pooling = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    write_modules(folder, ["Transformer", "Pooling", "Dense", "Normalize"], pooling)
    dense = folder / "2_Dense"
    dense.mkdir()
    fields = {"in_features": 32, "out_features": 12, "bias": False}
    fields["activation_function"] = "torch.nn.modules.linear.Identity"
    (dense / "config.json").write_text(json.dumps(fields))
    tensors = {"linear.weight": torch.randn(12, 32)}
    if request.param == "bin":
        torch.save(tensors, dense / "pytorch_model.bin")
    else:
        save_file(tensors, dense / "model.safetensors")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 24}')
    return folder


def torch_states(model, ids: list[int]) -> np.ndarray:
    """The last states of one text, without any padding: float32 [length, embed]."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()

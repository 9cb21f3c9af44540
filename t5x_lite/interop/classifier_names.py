"""The name tables of encoder classifiers: which Hugging Face tensor is which of our parameters, in what layout."""

from __future__ import annotations

from collections.abc import Iterator

from t5x_lite.interop.names import Entry
from t5x_lite.models.encoder_config import EncoderConfig

# Where the parts of a layer are: query, key, value, out; attention norm; wi, wo; output norm.
_BERT_LAYER = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "wi": "intermediate.dense",
    "wo": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
_DISTILBERT_LAYER = {
    "attention/query": "attention.q_lin",
    "attention/key": "attention.k_lin",
    "attention/value": "attention.v_lin",
    "attention/out": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "wi": "ffn.lin1",
    "wo": "ffn.lin2",
    "mlp_norm": "output_layer_norm",
}
_LAYERS = {
    "bert": ("bert.encoder.layer", _BERT_LAYER),
    "roberta": ("roberta.encoder.layer", _BERT_LAYER),
    "distilbert": ("distilbert.transformer.layer", _DISTILBERT_LAYER),
}
_HEADS = {
    "bert": ("bert.pooler.dense", "classifier"),
    "roberta": ("classifier.dense", "classifier.out_proj"),
    "distilbert": ("pre_classifier", "classifier"),
}


def classifier_name_table(config: EncoderConfig) -> tuple[Entry, ...]:
    """Every parameter of the classifier, once, in the order in which files are written."""
    embed, family = config.d_model, config.family

    def norm(hf_name: str, path: str) -> Iterator[Entry]:
        yield Entry(f"{hf_name}.weight", f"{path}/scale", (embed,), (embed,), False)
        yield Entry(f"{hf_name}.bias", f"{path}/bias", (embed,), (embed,), False)

    def dense(
        hf_name: str,
        path: str,
        rows: int,
        columns: int,
        inner: tuple[int, ...] = (),
        outer: tuple[int, ...] = (),
    ) -> Iterator[Entry]:
        shape = (*(inner or (rows,)), *(outer or (columns,)))
        yield Entry(f"{hf_name}.weight", f"{path}/kernel", (columns, rows), shape, True)
        yield Entry(f"{hf_name}.bias", f"{path}/bias", (columns,), outer or (columns,), False)

    def entries() -> Iterator[Entry]:
        tables = [
            ("word_embeddings", "token_embedding", config.vocab_size),
            ("position_embeddings", "position_embedding", config.max_positions),
        ]
        if family != "distilbert":
            tables.append(("token_type_embeddings", "type_embedding", config.type_vocab_size))
        for hf_name, name, rows in tables:
            shape = (rows, embed)
            yield Entry(
                f"{family}.embeddings.{hf_name}.weight", f"embeddings/{name}", shape, shape, False
            )
        yield from norm(f"{family}.embeddings.LayerNorm", "embeddings/norm")
        prefix, parts = _LAYERS[family]
        heads = (config.num_heads, embed // config.num_heads)
        for number in range(config.num_layers):
            for path, hf_name in parts.items():
                there, here = f"{prefix}.{number}.{hf_name}", f"layers_{number}/{path}"
                if path.endswith("norm"):
                    yield from norm(there, here)
                elif path == "attention/out":
                    yield from dense(there, here, embed, embed, inner=heads)
                elif path.startswith("attention/"):
                    yield from dense(there, here, embed, embed, outer=heads)
                elif path == "wi":
                    yield from dense(there, here, embed, config.d_ff)
                else:
                    yield from dense(there, here, config.d_ff, embed)
        first, last = _HEADS[family]
        yield from dense(first, "head_dense", embed, embed)
        yield from dense(last, "head_out", embed, len(config.labels))

    return tuple(entries())

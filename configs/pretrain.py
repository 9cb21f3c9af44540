"""A T5 pretrained by denoising: T5's span corruption, or UL2's mixture of denoisers; on any texts.

    t5x-lite --config configs/pretrain.py --workdir runs/pretrain
    t5x-lite --config configs/pretrain.py:ul2 --workdir runs/ul2

Texts of one's own, a JSONL, CSV or Parquet file or a data set of the hub, and a tokenizer of the hub:

    t5x-lite --config configs/pretrain.py --workdir runs/mine --config.data.train.source=train.jsonl \
      --config.data.evaluation.source=dev.jsonl --config.tokenizer.source=google/t5-v1_1-small

Rows are packed: several pieces of text share one, and see only themselves. UL2's seven denoisers (Tay et al. 2022,
table 1) have equal shares and their mode tokens before the input; to go on with a model that is trained so, name it in
config.model.source.
Hardware: 2 CPU cores, five minutes, 2 GB, for the bundled dialogues and a model of 1.6 million parameters. What comes
out: model/ in Hugging Face's format, and report.md with each denoiser's loss on held-out texts.
"""

import ml_collections

# Longer than the noise of any text: one span, at its end.
_ONE_SPAN = 1000.0
_UL2 = {
    "r_3": ("[R] ", 0.15, 3.0),
    "r_8": ("[R] ", 0.15, 8.0),
    "s": ("[S] ", 0.25, _ONE_SPAN),
    "x_3": ("[X] ", 0.5, 3.0),
    "x_8": ("[X] ", 0.5, 8.0),
    "x_64": ("[X] ", 0.15, 64.0),
    "x_64_half": ("[X] ", 0.5, 64.0),
}
_T5 = {"t5": ("", 0.15, 3.0)}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: words with commas between: "ul2"; "runlocal" (4 steps of a tiny model)."""
    words = [word for word in arg.split(",") if word]
    for word in words:
        if word not in ("ul2", "runlocal"):
            raise ValueError(f"unknown argument {word!r}: give ul2 or runlocal")
    tiny = "runlocal" in words
    denoisers = {
        name: {
            "rate": 1.0,
            "noise_density": density,
            "mean_span_length": length,
            "target": "spans",
            "prefix": prefix,
        }
        for name, (prefix, density, length) in (_UL2 if "ul2" in words else _T5).items()
    }
    rows = {
        "source": "bundled",
        "columns": {"text": "dialogue"},
        "id_column": "id",
        "exclude": "",
    }
    return ml_collections.ConfigDict(
        {
            "task": "pretrain",
            "seed": 0,
            "model": {
                "source": "random",
                "architecture": {
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32 if tiny else 128,
                    "d_kv": 16 if tiny else 32,
                    "d_ff": 64 if tiny else 512,
                    "num_encoder_layers": 1 if tiny else 3,
                    "num_decoder_layers": 1 if tiny else 3,
                    "num_heads": 2 if tiny else 4,
                    "tie_word_embeddings": True,
                    "scale_decoder_outputs": True,
                    "feed_forward_proj": "relu",
                    "dropout_rate": 0.0,
                },
                "dtype": "float32",
                "param_dtype": "float32",
                "remat": "none",
                "scan_layers": False,
                "attention": "auto",
            },
            "tokenizer": {
                "source": "train",
                # The rest is read when it is trained.
                "vocab_size": 512 if tiny else 2048,
                "algorithm": "unigram",
                "user_defined_symbols": ("[R]", "[S]", "[X]"),
                "extra_ids": 100,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "train": {**rows, "split": "train", "limit": 32 if tiny else 0},
                "evaluation": {**rows, "split": "validation", "limit": 8 if tiny else 100},
                "field": "text",
                "denoisers": denoisers,
                # Of a piece of text, and of a packed row.
                "encoder_length": 64 if tiny else 256,
                "decoder_length": 64 if tiny else 256,
            },
            "batch": {
                "size": 8 if tiny else 16,
                "tokens": 0,
                "buckets": 1,
                "multiple": 16,
                "pack": True,
                "accumulation": 1,
            },
            "train": {"steps": 4 if tiny else 500},
            "loss": {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 0},
            "optimizer": {
                "name": "muon",
                "b1": 0.9,
                "b2": 0.98,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                # As in configs/dialogsum_scratch.py; 0.177 = 1 / sqrt(d_kv).
                "rate_multipliers": (
                    (".*/query/kernel", 0.177),
                    (".*/rel_embedding", 30.0),
                    ("token_embedder/embedding", 5.0),
                ),
            },
            "schedule": {
                "name": "cosine",
                "learning_rate": 7e-3,
                "warmup_steps": 1 if tiny else 30,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 2 if tiny else 100, "keep": 1},
            "evaluation": {
                "every_steps": 2 if tiny else 100,
                "batch_tokens": 4096,
                "samples": 1 if "ul2" in words else 2,
            },
            "logging": {"every_steps": 1, "tensorboard": True},
        }
    )

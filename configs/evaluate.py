"""Scores a model as it is: summaries of held-out dialogues beside the baselines, and the loss of the references.

    t5x-lite --config configs/evaluate.py --workdir runs/evaluation --config.model.source=runs/quickstart/full

The model is the workdir of a finished run, any directory with a T5 in Hugging Face's format, or a hub id; its
tokenizer comes with it. With other data: --config.data.evaluation.source=test.jsonl, and the names of its columns in
config.data.evaluation.columns. With other decoding: --config.generation.num_beams=4.
Hardware: any; half a minute on a CPU for the quickstart's model. What comes out: report.md and samples.jsonl.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "" or "runlocal" (a tiny model with random weights, so no scores worth reading)."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"unknown argument {arg!r}: give none, or runlocal")
    tiny = arg == "runlocal"
    return ml_collections.ConfigDict(
        {
            "task": "evaluate",
            "seed": 0,
            "model": {
                "source": "random" if tiny else "runs/quickstart/full",
                "architecture": {  # only of a random model
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32,
                    "d_kv": 16,
                    "d_ff": 64,
                    "num_encoder_layers": 2,
                    "num_decoder_layers": 2,
                    "num_heads": 2,
                    "tie_word_embeddings": True,
                    "scale_decoder_outputs": True,
                },
                "dtype": "float32",
                "param_dtype": "float32",
                "attention": "auto",
            },
            # {"method": "load", "source": "runs/lora/adapter"} scores the model with a saved adapter.
            "adapter": {"method": "none"},
            "tokenizer": {
                "source": "train" if tiny else "model",  # the one that comes with the model
                # The rest is read when it is trained.
                "vocab_size": 400,
                "algorithm": "unigram",
                "user_defined_symbols": (),
                "extra_ids": 0,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "evaluation": {
                    "source": "bundled",
                    "split": "test",
                    "columns": {"dialogue": "dialogue", "summary": "summary"},
                    "id_column": "id",
                    "exclude": "",
                    "limit": 8 if tiny else 0,
                },
                # As the model was trained.
                "template": "{dialogue}" if tiny else "finetune",
                "target": "{summary}",
                "encoder_length": 64 if tiny else 320,
                "decoder_length": 16 if tiny else 112,
                "truncation": "oldest_turns",
                "cut_field": "dialogue",
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "evaluation": {
                "batch_tokens": 4096,
                "mbr_candidates": 0,
                "bootstrap_samples": 200 if tiny else 2000,
                "samples": 3,
            },
            "generation": {"max_new_tokens": 16 if tiny else 112},
            "published": {},
        }
    )

"""Lab 2, what fine-tuning forgets: a DialogSum summarizer learns doctors' notes, with all its weights or with LoRA.

    t5x-lite --config configs/lab2_forgetting.py:data --workdir runs/forgetting/full
    t5x-lite --config configs/lab2_forgetting.py:data,lora --workdir runs/forgetting/lora
    t5x-lite --config configs/compare.py:full=runs/forgetting/full,lora=runs/forgetting/lora \
      --workdir runs/forgetting/both

`data` is the folder with dialogsum/ (dialogsum.dev.jsonl, near_duplicates_vs_train.json) and mts_dialog/ (the two CSV
files of MTS-Dialog). The model is that of configs/dialogsum_scratch.py; another one: --config.model.source=... . Both
runs take as many steps on the same batches of MTS-Dialog, and none of DialogSum, which is only scored: a fall there is
what was forgotten. Tasks of one's own stand in config.data.tasks, each with its templates and its rate.
Hardware: 2 CPU cores, 4 GB. What comes out: report.md with ROUGE of both tasks before and after; the third command puts
both runs side by side, with paired differences.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: words with commas between: the data folder ("data" if there is none); "lora"; "runlocal" (20 steps of a tiny
    model with random weights on bundled dialogues).
    """
    words = [word for word in arg.split(",") if word]
    tiny, lora = "runlocal" in words, "lora" in words
    folders = [word for word in words if word not in ("runlocal", "lora")]
    if len(folders) > 1 or (tiny and folders):
        raise ValueError(
            f"unknown argument {folders[-1]!r}: give a folder, lora, or runlocal without a folder"
        )
    folder = folders[0] if folders else "data"

    def rows(source, split, columns, id_column, exclude, limit):
        return {
            "source": source,
            "split": split,
            "columns": columns,
            "id_column": id_column,
            "exclude": exclude,
            "limit": limit,
        }

    if tiny:
        columns = {"dialogue": "dialogue", "summary": "summary", "note": "topic"}
        of_train = of_notes = rows("bundled", "train", columns, "id", "", 32)
        of_dev = of_new_notes = rows("bundled", "test", columns, "id", "", 4)
    else:
        columns = {"dialogue": "dialogue", "summary": "summary"}
        of_train = rows(f"{folder}/dialogsum/dialogsum.train.jsonl", "", columns, "fname", "", 0)
        near = f"{folder}/dialogsum/near_duplicates_vs_train.json:dev"
        of_dev = rows(f"{folder}/dialogsum/dialogsum.dev.jsonl", "", columns, "fname", near, 0)
        columns = {"dialogue": "dialogue", "note": "section_text"}
        mts = f"{folder}/mts_dialog/MTS-Dialog-"
        of_notes = rows(f"{mts}TrainingSet.csv", "", columns, "ID", "", 0)
        of_new_notes = rows(f"{mts}ValidationSet.csv", "", columns, "ID", "", 0)
    task = {"templates": ("{dialogue}",), "cut_field": "dialogue", "shots": 0}
    adapter = {
        "method": "lora",
        "targets": ((".*/(query|value)", 4 if tiny else 32),),
        "alpha": 4.0 if tiny else 32.0,
        "dropout": 0.05,
        "rslora": False,
        "dora": False,
    }
    return ml_collections.ConfigDict(
        {
            "task": "mixture",
            "seed": 0,
            "model": {
                "source": "random" if tiny else "runs/dialogsum_scratch/model",
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
                    "feed_forward_proj": "relu",
                    "dropout_rate": 0.1,
                },
                "dtype": "float32",
                "param_dtype": "float32",
                "remat": "none",
                "scan_layers": False,
                "attention": "auto",
            },
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
                "tasks": {
                    "doctor_notes": {
                        **task,
                        "train": of_notes,
                        "evaluation": of_new_notes,
                        "target": "{note}",
                        "rate": 1.0,
                    },
                    # Only scored; a rate above 0 rehearses it.
                    "summaries": {
                        **task,
                        "train": of_train,
                        "evaluation": of_dev,
                        "target": "{summary}",
                        "rate": 0.0,
                    },
                },
                "temperature": 1.0,
                "maximum": 0,
                "denoising": {
                    "rate": 0.0,
                    "task": "",
                    "field": "",
                    "encoder_length": 96,
                    "noise_density": 0.15,
                    "mean_span_length": 3.0,
                    "target": "text",
                },
                "encoder_length": 64 if tiny else 384,
                "decoder_length": 16 if tiny else 128,
                "truncation": "end",
            },
            "adapter": adapter if lora else {"method": "none"},
            "batch": {
                "size": 8 if tiny else 0,
                "tokens": 0 if tiny else 4096,
                "buckets": 1 if tiny else 4,
                "multiple": 16,
                "pack": False,
                "accumulation": 1,
            },
            "train": {
                "steps": 20 if tiny else 400,
                "trainable": "adapters" if lora else "full",
                "frozen_dtype": "float32",
            },
            "loss": {"label_smoothing": 0.0, "z_loss": 0.0, "chunk": 0},
            "optimizer": {
                "name": "adamw",
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.0,
                "no_weight_decay": (),
                "clip_norm": 1.0,
                "rate_multipliers": (),
            },
            "schedule": {
                "name": "linear",
                "learning_rate": 5e-3 if lora else 5e-4,
                "warmup_steps": 5 if tiny else 20,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 10 if tiny else 100, "keep": 1},
            "evaluation": {
                "every_steps": 10 if tiny else 100,
                "task": "doctor_notes",
                "batch_tokens": 4096,
                "mbr_candidates": 0,
                "bootstrap_samples": 200 if tiny else 2000,
                "samples": 2,
            },
            "generation": {"max_new_tokens": 16 if tiny else 128, "no_repeat_ngram_size": 3},
            "logging": {"every_steps": 1, "tensorboard": True},
        }
    )

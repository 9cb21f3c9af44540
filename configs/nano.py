"""A nano T5 for prompting, from scratch: span corruption and instructions over generated dialogues.

    python scripts/make_corpus.py --train-rows 12000 --out runs/corpus
    t5x-lite --config configs/nano.py:runs/corpus --workdir runs/nano

The argument is the folder with dialogues.jsonl of 12,000 training rows (the rows that are held out are the bundled
ones); without it the 2,000 bundled rows are taken. Hardware: 2 CPU cores, 26 minutes in steps, 4 GB. What comes out:
model/ in Hugging Face's format, which ships as "nano", and report.md with each task's scores on held-out dialogues.

What it learns to answer depends on how it is asked. A dialogue alone is given its topic. An instruction to summarize
is answered with one sentence, what was decided (`brief`). Asked for a detailed summary, or shown solved examples, it
writes the whole `summary`; examples with brief answers are answered briefly, so that it has to look at them. So better
prompts have something to win, and fine-tuning on summaries, too.
"""

import ml_collections

INSTRUCTIONS = (
    "instruction", "what_was_going_on", "finetune",
    "flan_0", "flan_1", "flan_2", "flan_3", "flan_4", "flan_5", "flan_6",
)  # fmt: skip
DETAILED = (
    "Summarize the following conversation in detail.\n\n{dialogue}\n\nSummary: ",
    "{dialogue}\n\nWrite a detailed summary of this dialogue.",
    "Dialogue:\n\n{dialogue}\n\nWhat was going on, in detail?\n",
)
TOPICS = (
    "{dialogue}\n\nWhat is the topic of this dialogue?",
    "Dialogue:\n\n{dialogue}\n\nTopic:\n",
    "Name the topic of the following conversation.\n\n{dialogue}\n\nTopic: ",
)
QUESTIONS = (
    "{dialogue}\n\n{question}",
    "Dialogue:\n\n{dialogue}\n\nQuestion: {question}\n\nAnswer:\n",
    "Read the conversation and answer the question.\n\n{dialogue}\n\n{question}",
)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: the corpus' folder, "" for the bundled one, or "runlocal" (20 steps of a tiny model on the bundled one)."""
    tiny = arg == "runlocal"
    columns = {
        name: name for name in ("dialogue", "summary", "brief", "topic", "question", "answer")
    }
    rows = {
        "source": f"{arg}/dialogues.jsonl" if arg and not tiny else "bundled",
        "columns": columns,
        "id_column": "id",
        "exclude": "",
    }
    task = {
        "train": {**rows, "split": "train", "limit": 32 if tiny else 0},
        "evaluation": {**rows, "split": "test", "limit": 4 if tiny else 100},
        "cut_field": "dialogue",
        "shots": 0,
    }
    one = ("what_was_going_on",)
    summary, brief = {**task, "target": "{summary}"}, {**task, "target": "{brief}"}
    topic = {**task, "target": "{topic}"}
    return ml_collections.ConfigDict(
        {
            "task": "mixture",
            "seed": 0,
            "model": {
                "source": "random",
                "architecture": {
                    "vocab_size": 0,  # the tokenizer's
                    "d_model": 32 if tiny else 128,
                    "d_kv": 16 if tiny else 32,
                    "d_ff": 64 if tiny else 512,
                    "num_encoder_layers": 2 if tiny else 3,
                    "num_decoder_layers": 2 if tiny else 3,
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
                "vocab_size": 512 if tiny else 2048,
                "algorithm": "unigram",
                "user_defined_symbols": (
                    "#Person1#:", "#Person2#:", "#Person3#:", "#Person1#", "#Person2#", "#Person3#",
                ),
                "extra_ids": 64,
                "keep_newlines": True,
                "byte_fallback": False,
                "max_sentences": 0,
            },
            "data": {
                "tasks": {
                    "alone": {**topic, "templates": ("dialogue",), "rate": 0.03},
                    "summarize": {**brief, "templates": INSTRUCTIONS, "rate": 0.15},
                    "summarize_in_detail": {**summary, "templates": DETAILED, "rate": 0.22},
                    "topic": {**topic, "templates": TOPICS, "rate": 0.06},
                    "question": {**task, "target": "{answer}", "templates": QUESTIONS, "rate": 0.12},
                    "one_shot": {**summary, "templates": one, "shots": 1, "rate": 0.1},
                    "one_brief_shot": {**brief, "templates": one, "shots": 1, "rate": 0.04},
                    "three_shots": {**summary, "templates": one, "shots": 3, "rate": 0.03},
                    "three_brief_shots": {**brief, "templates": one, "shots": 3, "rate": 0.01},
                },
                "temperature": 1.0,
                "maximum": 0,
                "denoising": {
                    "rate": 0.24,
                    "task": "summarize_in_detail",
                    "field": "dialogue",
                    "encoder_length": 96,
                    "noise_density": 0.15,
                    "mean_span_length": 3.0,
                    "target": "text",
                },
                "encoder_length": 2048 if tiny else 1024,
                "decoder_length": 112,
                "truncation": "oldest_turns",
            },
            "adapter": {"method": "none"},
            "batch": {
                "size": 0,
                "tokens": 2048 if tiny else 4096,
                "buckets": 2 if tiny else 6,
                "multiple": 16,
                "pack": False,
                "accumulation": 1,
            },
            "train": {
                "steps": 20 if tiny else 4000,
                "trainable": "full",
                "frozen_dtype": "float32",
            },
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
                "warmup_steps": 5 if tiny else 50,
                "final_fraction": 0.0,
            },
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "checkpoint": {"every_steps": 10 if tiny else 250, "keep": 1},
            "evaluation": {
                "every_steps": 10 if tiny else 500,
                "task": "summarize_in_detail",
                "batch_tokens": 8192,
                "mbr_candidates": 0,
                "bootstrap_samples": 200 if tiny else 2000,
                "samples": 1,
            },
            "generation": {"max_new_tokens": 16 if tiny else 112},
            "logging": {"every_steps": 1, "tensorboard": True},
        }
    )  # fmt: skip

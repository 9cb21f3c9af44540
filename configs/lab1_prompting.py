"""Lab 1: summaries of dialogues by prompting alone: prompt kinds and decoding settings side by side, with ROUGE.

    t5x-lite --config configs/lab1_prompting.py --workdir runs/lab1
    t5x-lite --config configs/lab1_prompting.py:parity --workdir runs/lab1_parity

FLAN-T5-base and DialogSum from the Hugging Face hub. `fixed` (the default) takes the solved examples from the training
split and cuts prompts at 512 tokens: whole examples first, then the oldest turns, counted in warnings. `parity` does
what the course's notebook does: examples 40, 80 and 120 of the split that is evaluated, and prompts of any length.
Offline, the nano model that comes with the package answers about the bundled dialogues, in half a minute on a CPU:

    t5x-lite --config configs/lab1_prompting.py:nano --workdir runs/lab1_nano

The model that configs/dialogsum_scratch.py trains, on DialogSum's dev split without the near-duplicates of train; the
argument is the data folder of that config. It was trained on dialogues alone, so `none` is its own prompt, and the
others show what words that a model never saw do to it:

    t5x-lite --config configs/lab1_prompting.py:dialogsum=data/dialogsum --workdir runs/lab1_dialogsum

Another model or data: --config.model.source=runs/quickstart/full, --config.data.evaluation.source=bundled, ...

Hardware: meant for one TPU VM or one GPU; not timed on one yet. `runlocal` takes 15 seconds on a CPU. A killed run goes
on where it was. What comes out: report.html with the side-by-side table, predictions/ (a line a row), samples.jsonl.
"""

import ml_collections

LAB = "what_was_going_on"
QUESTION = "{dialogue}\n\nWhat is the summary of this dialogue? Let's think step by step."
IN_DETAIL = "Summarize the following conversation in detail.\n\n{dialogue}\n\nSummary: "
WITH_DOCUMENTS = (
    "Background:\n\n{documents}\n\nDialogue:\n\n{dialogue}\n\nWhat was going on in the dialogue?\n"
)


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: words with commas between: "parity" or "fixed" (default); "nano" (the bundled model and dialogues),
    "dialogsum=FOLDER" (the model of configs/dialogsum_scratch.py, and its data), "runlocal" (a tiny random model: no
    scores worth reading).
    """
    words = [word for word in arg.split(",") if word]
    folders = [word.partition("=")[2] for word in words if word.startswith("dialogsum=")]
    for word in words:
        if word not in (
            "parity",
            "fixed",
            "nano",
            "runlocal",
            *(f"dialogsum={f}" for f in folders),
        ):
            raise ValueError(
                f"unknown argument {word!r}: give parity, fixed, nano, dialogsum=FOLDER or runlocal"
            )
    parity, nano, tiny = "parity" in words, "nano" in words, "runlocal" in words
    own = bool(folders)
    if nano + tiny + len(folders) > 1:
        raise ValueError("nano, dialogsum=FOLDER and runlocal exclude each other: give one of them")
    folder = folders[0] if own else ""
    if parity and "fixed" in words:
        raise ValueError("parity and fixed exclude each other: give one of them")

    few_shot = {"kind": "few_shot", "template": LAB, "before_answer": "", "separator": "\n\n\n"}
    reasons = {"template": QUESTION, "answer_after": ("the summary is", "the answer is")}
    prompts = {
        "none": {"kind": "none"},
        "instruction": {"kind": "zero_shot", "template": "instruction"},
        LAB: {"kind": "zero_shot", "template": LAB},
        "lab2": {"kind": "zero_shot", "template": "finetune"},
        **{f"flan_{i}": {"kind": "zero_shot", "template": f"flan_{i}"} for i in range(7)},
        "one_shot": {**few_shot, "shots": (40,)},
        "few_shot": {**few_shot, "shots": (40, 80, 120)},
        "reasoning": {"kind": "chain_of_thought", **reasons, "samples": 1},
        "self_consistency": {"kind": "chain_of_thought", **reasons, "samples": 5},
        "documents": {
            "kind": "retrieval",
            "template": WITH_DOCUMENTS,
            "folder": "bundled",
            "passages": 2,
        },
    }
    tokens = 16 if tiny else 112 if nano else 96 if own else 50
    # top_k = 50 is what transformers' generate applies where nothing is said.
    sampled = {"max_new_tokens": tokens, "do_sample": True, "top_k": 50}
    settings = {
        "greedy": {"max_new_tokens": tokens},
        "greedy_10": {"max_new_tokens": 10},
        "temperature_01": {**sampled, "temperature": 0.1},
        "temperature_05": {**sampled, "temperature": 0.5},
        "temperature_1": {**sampled, "temperature": 1.0},
        "top_k_10": {**sampled, "top_k": 10},
        "top_p_09": {**sampled, "top_k": 0, "top_p": 0.9},
        "beams_4": {"max_new_tokens": tokens, "num_beams": 4},
    }
    if own:  # how its own config scores it
        settings["beams_4_trigrams"] = {**settings["beams_4"], "no_repeat_ngram_size": 3}
    scored = [name for name in prompts if name != "self_consistency"]
    if tiny:
        scored = ["none", "instruction", "one_shot", "few_shot", "reasoning", "documents"]
    if nano:  # what it was trained with
        prompts["in_detail"] = {"kind": "zero_shot", "template": IN_DETAIL}
        scored = ["none", "instruction", LAB, "lab2", "in_detail", "one_shot", "few_shot"]
    shown = ["greedy_10", "temperature_01"] if tiny else [s for s in settings if s != "greedy"]
    if own:  # one of FLAN's templates stands for the seven: all are words that the model never saw
        scored = ["none", "instruction", LAB, "lab2", "flan_2", "one_shot", "few_shot", "documents"]
    runs = [(name, "greedy") for name in scored]
    # The settings are compared on one prompt: the one that the model does best with.
    compared = "none" if own else "few_shot"
    if own:
        runs.insert(1, ("none", "beams_4_trigrams"))
    columns = {"dialogue": "dialogue", "summary": "summary"}
    rows = {
        "source": "bundled" if nano or tiny else "knkarthick/dialogsum",
        "columns": columns,
        "id_column": "id",
        "exclude": "",
    }
    evaluation = {**rows, "split": "test", "limit": 8 if tiny else 100 if nano else 0}
    shots = {**rows, "split": "test" if parity else "train", "limit": 0}
    if own:
        of_file = {"split": "", "columns": columns, "id_column": "fname"}
        evaluation = {
            **of_file,
            "source": f"{folder}/dialogsum.dev.jsonl",
            "exclude": f"{folder}/near_duplicates_vs_train.json:dev",
            "limit": 0,
        }
        train = {
            **of_file,
            "source": f"{folder}/dialogsum.train.jsonl",
            "exclude": "",
            "limit": 200,
        }
        shots = evaluation if parity else train
    return ml_collections.ConfigDict(
        {
            "task": "prompt",
            "seed": 0,
            "model": {
                "source": (
                    "random"
                    if tiny
                    else "nano"
                    if nano
                    else "runs/dialogsum_scratch"
                    if own
                    else "google/flan-t5-base"
                ),
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
                "evaluation": evaluation,
                "shots": shots,
                "target": "{summary}",
                "encoder_length": 1024 if nano or tiny or own else 512,
                "truncation": "none" if parity else "oldest_turns",
                "cut_field": "dialogue",
            },
            "prompts": prompts,
            "settings": settings,
            "runs": tuple(runs),
            "side_by_side": {
                "rows": (4, 7) if tiny else (40, 80) if nano else (40, 200),
                "runs": (
                    *((compared, name) for name in shown if (compared, name) not in runs),
                    *(() if nano else (("self_consistency", "temperature_05"),)),
                ),
            },
            "round_trip": "What time is it, Tom?",
            "mesh": {"slice": 1, "data": -1, "fsdp": 1, "model": 1},
            "evaluation": {
                "batch_tokens": 1024 if tiny else 16384,
                # Each output's log-probability (nats), its tokens and a beam's score, in predictions/.
                "with_scores": tiny,
                "bootstrap_samples": 200 if tiny else 2000,
            },
            "published": {}
            if nano or tiny
            else {
                **(
                    {}
                    if own
                    else {
                        "DialogSum test, FLAN-T5-base with the prompt lab2 (course, greedy, 200 tokens)": {
                            "rouge1": 0.233278,
                            "rouge2": 0.076052,
                            "rougeL": 0.201543,
                        },
                    }
                ),
                "DialogSum test, Transformer from scratch (Chen and others, 2021)": {
                    "rouge1": 0.3591,
                    "rouge2": 0.0874,
                    "rougeL": 0.3350,
                },
                "DialogSum test, BART-large fine-tuned (Chen and others, 2021)": {
                    "rouge1": 0.4728,
                    "rouge2": 0.2118,
                    "rougeL": 0.4483,
                },
            },
        }
    )

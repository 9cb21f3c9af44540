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

from t5x_lite.recipe import load_base, recipe

shared = load_base("shared")

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
    "{dialogue}\n\nWhat is the topic of this dialogue?", "Dialogue:\n\n{dialogue}\n\nTopic:\n",
    "Name the topic of the following conversation.\n\n{dialogue}\n\nTopic: ",
)  # fmt: skip
QUESTIONS = (
    "{dialogue}\n\n{question}", "Dialogue:\n\n{dialogue}\n\nQuestion: {question}\n\nAnswer:\n",
    "Read the conversation and answer the question.\n\n{dialogue}\n\n{question}",
)  # fmt: skip
_ONE = ("what_was_going_on",)
_COLUMNS = ("dialogue", "summary", "brief", "topic", "question", "answer")
_ROWS = {**shared.BUNDLED, "columns": {name: name for name in _COLUMNS}}


def _tasks(train, evaluation):
    task = {"train": train, "evaluation": evaluation, "cut_field": "dialogue", "shots": 0}
    summary, brief = {**task, "target": "{summary}"}, {**task, "target": "{brief}"}
    topic = {**task, "target": "{topic}"}
    return {
        "alone": {**topic, "templates": ("dialogue",), "rate": 0.03},
        "summarize": {**brief, "templates": INSTRUCTIONS, "rate": 0.15},
        "summarize_in_detail": {**summary, "templates": DETAILED, "rate": 0.22},
        "topic": {**topic, "templates": TOPICS, "rate": 0.06},
        "question": {**task, "target": "{answer}", "templates": QUESTIONS, "rate": 0.12},
        "one_shot": {**summary, "templates": _ONE, "shots": 1, "rate": 0.1},
        "one_brief_shot": {**brief, "templates": _ONE, "shots": 1, "rate": 0.04},
        "three_shots": {**summary, "templates": _ONE, "shots": 3, "rate": 0.03},
        "three_brief_shots": {**brief, "templates": _ONE, "shots": 3, "rate": 0.01},
    }


def _folder(folder):
    rows = {**_ROWS, "source": f"{folder}/dialogues.jsonl"}
    return {"data.tasks": _tasks(rows, {**rows, "split": "test", "limit": 100})}


get_config = recipe("mixture", {
    "tokenizer.source": "train", "tokenizer.vocab_size": 2048,
    "tokenizer.user_defined_symbols": shared.THREE_SPEAKERS, "tokenizer.extra_ids": 64,
    "data.tasks": _tasks(_ROWS, {**_ROWS, "split": "test", "limit": 100}),
    "data.denoising.rate": 0.24, "data.denoising.task": "summarize_in_detail",
    "data.denoising.field": "dialogue", "data.encoder_length": 1024, "data.decoder_length": 112,
    "data.truncation": "oldest_turns", "batch.buckets": 6, "train.steps": 4000, "optimizer": shared.MUON,
    "schedule.name": "cosine", "schedule.learning_rate": 7e-3, "schedule.warmup_steps": 50,
    "checkpoint.every_steps": 250, "evaluation.every_steps": 500, "evaluation.task": "summarize_in_detail",
    "evaluation.batch_tokens": 8192, "generation.max_new_tokens": 112,
}, words={
    "FOLDER": _folder,
    "runlocal": {
        "tokenizer.vocab_size": 512,
        "data.tasks": _tasks({**_ROWS, "limit": 32}, {**_ROWS, "split": "test", "limit": 4}),
        "data.encoder_length": 1536,  # three solved examples, in the pieces of so small a vocabulary
    },
})  # fmt: skip

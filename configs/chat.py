"""A model in a terminal: paste or type a dialogue, and its summary appears as it is written.

    t5x-lite --config configs/chat.py --workdir runs/chat
    t5x-lite --config configs/chat.py --workdir runs/chat --config.model.source=google/flan-t5-base
    cat dialogue.txt | t5x-lite --config configs/chat.py --workdir runs/chat > summary.txt

The model is "nano" (it comes with the package), a hub id, a directory in Hugging Face's format, or the workdir of a
run: that of an adapter gives its base with the adapter. The template is one of t5x_lite/data/templates.py or a text
with {dialogue} in it; take the one that the model was trained on. An empty line sends what was typed, blank lines
within a paste do not. /help lists the commands (/settings top_k=5, /template flan_2, /again, /quit). Ctrl-C stops an
answer, Ctrl-D leaves. A pipe is one dialogue; whole files of them: configs/lab1_prompting.py.
Hardware: one device; a CPU does for nano. What comes out: transcript.jsonl, a line an answer, with all that it takes to
get it again.
"""

import ml_collections


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """arg: "runlocal" (answers of a few words)."""
    if arg not in ("", "runlocal"):
        raise ValueError(f"unknown argument {arg!r}: give runlocal, or nothing")
    return ml_collections.ConfigDict(
        {
            "task": "chat",
            "seed": 0,
            "model": {"source": "nano", "dtype": "float32", "param_dtype": "float32"},
            "tokenizer": {"source": "model"},  # the one that comes with the model
            "data": {
                "template": "Summarize the following conversation in detail.\n\n{dialogue}\n\nSummary: ",
                "cut_field": "dialogue",
                # A text is padded to the first of these that holds it, each is compiled once; the last is the budget.
                "encoder_lengths": (128,) if arg else (128, 256, 512),
                "truncation": "oldest_turns",
            },
            # Over the model's generation_config.json. Beams are refused: they have nothing to show before the end.
            "generation": {"max_new_tokens": 8 if arg else 128, "num_beams": 1},
        }
    )

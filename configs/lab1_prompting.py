"""Lab 1: summaries of dialogues by prompting alone: prompt kinds and decoding settings side by side, with ROUGE.

    t5x-lite --config configs/lab1_prompting.py --workdir runs/lab1
    t5x-lite --config configs/lab1_prompting.py:parity --workdir runs/lab1_parity
    t5x-lite --config configs/lab1_prompting.py:nano --workdir runs/lab1_nano
    t5x-lite --config configs/lab1_prompting.py:dialogsum=data/dialogsum --workdir runs/lab1_dialogsum

FLAN-T5-base and DialogSum from the Hugging Face hub. `fixed` (the default) takes the solved examples from the training
split and cuts prompts at 512 tokens: whole examples first, then the oldest turns, counted in warnings. `parity` does
what the course's notebook does: examples 40, 80 and 120 of the split that is evaluated, and prompts of any length.
`nano`, offline, is the model that comes with the package, on the bundled dialogues, in half a minute on a CPU.
`dialogsum` is the model of configs/dialogsum_scratch.py on DialogSum's dev split, with that config's data folder. It
was trained on dialogues alone: `none` is its own prompt, the others show what words that a model never saw do to it.

Another model or data: --config.model.source=runs/quickstart/full, --config.data.evaluation.source=bundled, ...
Hardware: meant for one TPU VM or one GPU; not timed on one yet. A killed run goes on where it was. What comes out:
report.html with the side-by-side table, predictions/ (a line a row), samples.jsonl.
"""

from t5x_lite.recipe import load_base, recipe

shared, base = load_base("shared"), load_base("prompt")


# One of FLAN's templates stands for the seven: all are words that the model never saw.
_OWN = ("instruction", base.LAB, "lab2", "flan_2", "one_shot", "few_shot", "documents")


def _dialogsum(folder):
    settings = base.settings(96)
    # How its own config scores it.
    settings["beams_4_trigrams"] = {**settings["beams_4"], "no_repeat_ngram_size": 3}
    return {
        "model.source": "runs/dialogsum_scratch",
        "data.evaluation": shared.of_dialogsum(folder, "dev", near_duplicates=True),
        "data.shots": shared.of_dialogsum(folder, "train", limit=200),
        "data.encoder_length": 1024,
        "settings": settings,
        "runs": (("none", "greedy"), ("none", "beams_4_trigrams"), *base.greedy(*_OWN)),
        "side_by_side.runs": base.side_by_side("none", [("self_consistency", "temperature_05")]),
        "published": dict(list(base.BASE["published"].items())[1:]),
    }


def _parity(config):
    """The examples are rows of the split that is evaluated."""
    return {"data.shots": {**config.data.evaluation.to_dict(), "limit": 0}}


get_config = recipe("prompt", {}, words={
    "fixed": {"data.truncation": "oldest_turns"}, "parity": ({"data.truncation": "none"}, _parity),
    "nano": {
        "model.source": "nano", "data.evaluation.source": "bundled", "data.evaluation.limit": 100,
        "data.shots.source": "bundled", "data.encoder_length": 1024,
        # What it was trained with.
        "prompts": {**base.PROMPTS, "in_detail": {"kind": "zero_shot", "template": shared.IN_DETAIL}},
        "settings": base.settings(112),
        "runs": base.greedy("none", *_OWN[:3], "in_detail", "one_shot", "few_shot"),
        "side_by_side.rows": (40, 80), "side_by_side.runs": base.side_by_side("few_shot"), "published": {},
    },
    "dialogsum=FOLDER": _dialogsum,
})  # fmt: skip

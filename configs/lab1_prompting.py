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

from t5x_lite.recipe import load_base, recipe

shared, base = load_base("shared"), load_base("prompt")


def _greedy(*prompts):
    return tuple((name, "greedy") for name in prompts)


def _dialogsum(folder):
    settings = base.settings(96)
    # How its own config scores it.
    settings["beams_4_trigrams"] = {**settings["beams_4"], "no_repeat_ngram_size": 3}
    own = ("none", "beams_4_trigrams")
    # One of FLAN's templates stands for the seven: all are words that the model never saw.
    others = ("instruction", base.LAB, "lab2", "flan_2", "one_shot", "few_shot", "documents")
    shown = base.side_by_side("none", [("self_consistency", "temperature_05")])
    return {
        "model.source": "runs/dialogsum_scratch",
        "data.evaluation": shared.of_dialogsum(folder, "dev", near_duplicates=True),
        "data.shots": shared.of_dialogsum(folder, "train", limit=200),
        "data.encoder_length": 1024,
        "settings": settings,
        "runs": (*_greedy("none"), own, *_greedy(*others)),
        "side_by_side.runs": shown,
        "published": dict(list(base.BASE["published"].items())[1:]),
    }


def _parity(config):
    """The examples are rows of the split that is evaluated."""
    shots = {**config.data.evaluation.to_dict(), "limit": 0}
    return {"data.shots": shots, "data.truncation": "none"}


get_config = recipe(
    "prompt",
    {},
    words={
        "fixed": {"data.truncation": "oldest_turns"}, "parity": ({"data.truncation": "none"}, _parity),
        "nano": {
            "model.source": "nano", "data.evaluation.source": "bundled", "data.evaluation.limit": 100,
            "data.shots.source": "bundled", "data.encoder_length": 1024,
            "prompts": {
                **base.PROMPTS,
                # What it was trained with.
                "in_detail": {"kind": "zero_shot", "template": shared.IN_DETAIL},
            },
            "settings": base.settings(112),
            "runs": _greedy(
                "none", "instruction", base.LAB, "lab2", "in_detail", "one_shot", "few_shot"
            ),
            "side_by_side.rows": (40, 80), "side_by_side.runs": base.side_by_side("few_shot"), "published": {},
        },
        "dialogsum=FOLDER": _dialogsum,
    },
)  # fmt: skip

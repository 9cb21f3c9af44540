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

from t5x_lite.recipe import load_base, recipe

shared = load_base("shared")

_TASK = {"templates": ("{dialogue}",), "cut_field": "dialogue", "shots": 0}


def _tasks(notes, new_notes, summaries, new_summaries):
    of_notes = {"train": notes, "evaluation": new_notes, "target": "{note}", "rate": 1.0}
    # Only scored; a rate above 0 rehearses it.
    of_summaries = {
        "train": summaries,
        "evaluation": new_summaries,
        "target": "{summary}",
        "rate": 0.0,
    }
    return {"data.tasks": {"doctor_notes": _TASK | of_notes, "summaries": _TASK | of_summaries}}


def _folder(folder):
    def notes(name):
        columns = {"dialogue": "dialogue", "note": "section_text"}
        file = f"{folder}/mts_dialog/MTS-Dialog-{name}Set.csv"
        return {
            **shared.BUNDLED,
            "source": file,
            "split": "",
            "columns": columns,
            "id_column": "ID",
        }

    dialogsum = f"{folder}/dialogsum"
    return _tasks(
        notes("Training"),
        notes("Validation"),
        shared.of_dialogsum(dialogsum, "train"),
        shared.of_dialogsum(dialogsum, "dev", near_duplicates=True),
    )


def _bundled():
    columns = {"dialogue": "dialogue", "summary": "summary", "note": "topic"}
    rows = {**shared.BUNDLED, "columns": columns, "limit": 32}
    new = {**rows, "split": "test", "limit": 4}
    return _tasks(rows, new, rows, new)


get_config = recipe(
    "mixture",
    {
        "model.source": "runs/dialogsum_scratch/model",
        "model.architecture": shared.TINY_T5,  # only of a random model
        **_folder("data"), "evaluation.task": "doctor_notes", "evaluation.samples": 2,
        "generation": {"max_new_tokens": 128, "no_repeat_ngram_size": 3},
    },
    words={
        "FOLDER": _folder,
        "lora": {"adapter": shared.LORA, "train.trainable": "adapters", "schedule.learning_rate": 5e-3},
        "runlocal": _bundled(),
    },
)  # fmt: skip

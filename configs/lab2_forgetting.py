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


def _tasks(notes, summaries):
    """Of each, the rows to train on and those to score."""
    task = {"templates": ("{dialogue}",), "cut_field": "dialogue", "shots": 0}
    notes, summaries = (
        {**task, "train": rows[0], "evaluation": rows[1]} for rows in (notes, summaries)
    )
    return {
        "data.tasks": {
            "doctor_notes": {**notes, "target": "{note}", "rate": 1.0},
            # Only scored; a rate above 0 rehearses it.
            "summaries": {**summaries, "target": "{summary}", "rate": 0.0},
        }
    }


def _folder(folder):
    rows = shared.of_dialogsum(f"{folder}/dialogsum", "train")
    dev = shared.of_dialogsum(f"{folder}/dialogsum", "dev", near_duplicates=True)
    columns = {"columns": {"dialogue": "dialogue", "note": "section_text"}, "id_column": "ID"}
    files = (f"{folder}/mts_dialog/MTS-Dialog-{name}Set.csv" for name in ("Training", "Validation"))
    return _tasks([{**rows, **columns, "source": file} for file in files], (rows, dev))


_COLUMNS = {"dialogue": "dialogue", "summary": "summary", "note": "topic"}
_ROWS = {**shared.BUNDLED, "columns": _COLUMNS, "limit": 32}
_BOTH = (_ROWS, {**_ROWS, "split": "test", "limit": 4})

get_config = recipe("mixture", {
    "model.source": "runs/dialogsum_scratch/model",
    "model.architecture": shared.TINY_T5,  # only of a random model
    **_folder("data"), "evaluation.task": "doctor_notes", "evaluation.samples": 2,
    "generation": {"max_new_tokens": 128, "no_repeat_ngram_size": 3},
}, words={
    "FOLDER": _folder,
    "lora": {"adapter": shared.LORA, "train.trainable": "adapters", "schedule.learning_rate": 5e-3},
    "runlocal": _tasks(_BOTH, _BOTH),
})  # fmt: skip

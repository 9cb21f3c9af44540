"""DialogSum's summarizer (configs/dialogsum_scratch.py) into a quarter of its size.

    t5x-lite --config configs/dialogsum_scratch.py:data/dialogsum --workdir runs/dialogsum_scratch
    t5x-lite --config configs/distil_dialogsum.py:data/dialogsum --workdir runs/distil_dialogsum

The argument is the folder of the first command's; another teacher is --config.teacher.source. The student has a width
of 96 and two layers a stack, a quarter of the teacher's 3.9 million parameters. Words are those of configs/distil.py:
configs/distil_dialogsum.py:data/dialogsum,sequence and so on. :data/dialogsum,alone is the same student without a
teacher, and configs/compare.py sets the runs side by side.
Hardware: 2 CPU cores, 4 GB; not trained to its end yet. What comes out: report.md with ROUGE of both on dev less the
dialogues that train holds, their differences, sizes and speed.
"""

from t5x_lite.recipe import load_base, recipe

shared = load_base("shared")


def _folder(folder):
    return {
        "data.train": shared.of_dialogsum(folder, "train", limit=12_060),
        "data.evaluation": shared.of_dialogsum(folder, "dev", near_duplicates=True),
    }


get_config = recipe("distil.py", {
    "model.architecture": {
        **shared.SMALL_T5, "d_model": 96, "d_kv": 32, "d_ff": 384, "num_encoder_layers": 2,
        "num_decoder_layers": 2, "num_heads": 3, "dropout_rate": 0.1,
    },
    "teacher.source": "runs/dialogsum_scratch", **_folder("data/dialogsum"),
    "data.template": "{dialogue}", "data.encoder_length": 384, "data.decoder_length": 96, "data.truncation": "end",
    "distillation.writing": {"max_new_tokens": 96, "num_beams": 4, "no_repeat_ngram_size": 3},
    "batch.buckets": 4, "train.steps": 4200, "loss.label_smoothing": 0.1, "optimizer": shared.MUON,
    "schedule.warmup_steps": 100, "evaluation.every_steps": 300, "checkpoint.every_steps": 300,
    "evaluation.batch_tokens": 8192, "evaluation.bootstrap_samples": 10_000,
    "generation": {"max_new_tokens": 96, "num_beams": 4, "no_repeat_ngram_size": 3},
}, words={"FOLDER": _folder})  # fmt: skip

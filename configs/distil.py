"""Distils the quickstart's summarizer into a quarter of its size, in each of the ways that there are.

    t5x-lite --config configs/quickstart.py --workdir runs/quickstart/full      # the teacher: two minutes
    t5x-lite --config configs/distil.py --workdir runs/distil/tokens

It learns the teacher's distributions beside the labels. configs/distil.py:top_k asks the teacher once and keeps its
likeliest 16 tokens, :sequence learns the texts that the teacher writes, :on_policy its word on what the student writes
itself, :layers begins with two layers of the teacher's three. :alone is the same student without a teacher, for as many
steps; configs/compare.py sets runs side by side. Another teacher: --config.teacher.source, a run, a directory or hub
id; the student is the section model.
Hardware: any CPU. What comes out: model/ in Hugging Face's format, and report.md with ROUGE of student and teacher,
their paired differences, sizes and speed.
"""

from t5x_lite.recipe import recipe

get_config = recipe("distil", {}, words={
    "top_k": {"distillation.top_k": 16, "distillation.cache": True},
    "sequence": {"distillation.targets": "teacher", "distillation.teacher_weight": 0.0},
    "on_policy": {
        "distillation.teacher_weight": 1.0, "distillation.own_texts": 0.5, "distillation.kind": "jsd",
        "distillation.temperature": 1.0,
    },
    "layers": lambda _: {
        "model.source": "teacher", "model.layers": (2, 2), "schedule.learning_rate": 2e-3,
    },
    "alone": {"distillation.teacher_weight": 0.0, "comparison.name": "without a teacher"},
})  # fmt: skip

"""Scores a model as it is: summaries of held-out dialogues beside the baselines, and the loss of the references.

    t5x-lite --config configs/evaluate.py --workdir runs/evaluation --config.model.source=runs/quickstart/full

The model is the workdir of a finished run, any directory with a T5 in Hugging Face's format, or a hub id; its
tokenizer comes with it. With other data: --config.data.evaluation.source=test.jsonl, and the names of its columns in
config.data.evaluation.columns; of rows without references: --config.data.target= (texts are written, nothing is
scored). With other decoding: --config.generation.num_beams=4.
Hardware: any; half a minute on a CPU for the quickstart's model. What comes out: report.md and samples.jsonl.
"""

from t5x_lite.recipe import recipe

get_config = recipe("evaluate", {})

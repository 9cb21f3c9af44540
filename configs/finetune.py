"""Full fine-tuning of FLAN-T5 on dialogue summaries: DialogSum from the hub, or files of one's own.

    t5x-lite --config configs/finetune.py --workdir runs/flan_dialogsum

With other data: --config.data.train.source=train.jsonl --config.data.evaluation.source=dev.jsonl, and the names of
their columns in config.data.train.columns. With another model: --config.model.source, a hub id or a directory.
One file for both: --config.data.evaluation.source=holdout --config.data.holdout=0.2.
Hardware: meant for one TPU VM or one GPU. Neither timed nor tried on one yet: watch its memory.
What comes out: report.md with ROUGE of the 500 validation dialogues beside the baselines.
"""

from t5x_lite.recipe import recipe

get_config = recipe("finetune", {})

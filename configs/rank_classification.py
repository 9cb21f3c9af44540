"""Rank classification: of given answers the model takes the one that it finds likeliest, as T0 and FLAN are evaluated.

    t5x-lite --config configs/rank_classification.py --workdir runs/topics

nano names the topics of the bundled test dialogues, among all topics that those have. With a model and multiple-choice
questions of your own, a column of which holds a list:

    t5x-lite --config configs/rank_classification.py --workdir runs/questions \\
        --config.model.source=google/flan-t5-base --config.data.evaluation.source=questions.jsonl \\
        --config.data.evaluation.columns="{'question': 'question', 'choices': 'choices', 'answer': 'answer'}" \\
        --config.data.template="{question}" --config.data.cut_field=question --config.data.truncation=end \\
        --config.data.choices_field=choices --config.data.gold_field=answer

Hardware: any; a minute on a CPU for nano. What comes out: report.md with the accuracy by the sum and by the mean of the
tokens' log-probabilities, beside the most frequent answer and guessing; samples.jsonl with those of every choice.
"""

from t5x_lite.recipe import recipe

get_config = recipe("rank_classification", {})

"""Encoder-only, encoder-decoder and decoder-only T5 stacks side by side, on what each of them can do.

    t5x-lite --config configs/architectures.py --workdir runs/architectures

Each is trained from random weights by the same loop, on the same batches, to name the situation of a dialogue: 37
classes, each one token, 300 dialogues (with all 2,000, none makes a mistake). The decoder-only stack is a prefix
language model: it reads the dialogue whole and answers behind it. Layers are set so that the three have about as many
parameters. Other texts: config.data (label is the field to be told); other sizes: config.architectures.
Hardware: 2 CPU cores, 2 GB, three minutes. What comes out: report.md with one table: right answers with intervals,
paired differences, parameters, step times.
"""

from t5x_lite.recipe import recipe

get_config = recipe("architectures", {})

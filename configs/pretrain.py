"""A T5 pretrained by denoising: T5's span corruption, or UL2's mixture of denoisers; on any texts.

    t5x-lite --config configs/pretrain.py --workdir runs/pretrain
    t5x-lite --config configs/pretrain.py:ul2 --workdir runs/ul2

Texts of one's own, a JSONL, CSV or Parquet file or a data set of the hub, and a tokenizer of the hub:

    t5x-lite --config configs/pretrain.py --workdir runs/mine --config.data.train.source=train.jsonl \
      --config.data.evaluation.source=dev.jsonl --config.tokenizer.source=google/t5-v1_1-small

Rows are packed: several pieces of text share one, and see only themselves. UL2's seven denoisers (Tay et al. 2022,
table 1) have equal shares and their mode tokens before the input; to go on with a model that is trained so, name it in
config.model.source.
Hardware: 2 CPU cores, five minutes, 2 GB, for the bundled dialogues and a model of 1.6 million parameters. What comes
out: model/ in Hugging Face's format, and report.md with each denoiser's loss on held-out texts.
"""

from t5x_lite.recipe import recipe

# Longer than the noise of any text: one span, at its end.
_ONE_SPAN = 1000.0
_UL2 = {
    "r_3": ("[R] ", 0.15, 3.0), "r_8": ("[R] ", 0.15, 8.0), "s": ("[S] ", 0.25, _ONE_SPAN),
    "x_3": ("[X] ", 0.5, 3.0), "x_8": ("[X] ", 0.5, 8.0), "x_64": ("[X] ", 0.15, 64.0),
    "x_64_half": ("[X] ", 0.5, 64.0),
}  # fmt: skip


def _ul2(config):
    t5 = config.data.denoisers.t5.to_dict()
    return {
        "data.denoisers": {
            name: {**t5, "prefix": prefix, "noise_density": density, "mean_span_length": length}
            for name, (prefix, density, length) in _UL2.items()
        },
        "evaluation.samples": 1,
    }


get_config = recipe("pretrain", {}, words={"ul2": _ul2})

"""A small T5 with its own vocabulary, from scratch on DialogSum, scored on dev less the dialogues that train holds.

    t5x-lite --config configs/dialogsum_scratch.py:data/dialogsum --workdir runs/dialogsum_scratch

The argument is the folder with dialogsum.train.jsonl, dialogsum.dev.jsonl (first release, Chen et al. 2021) and
near_duplicates_vs_train.json ({"dev": {id: id of the train row}}).
Hardware: 2 CPU cores, 4 GB; 38 minutes in training steps. What comes out: report.md with ROUGE beside the baselines
(README: 37.8 / 13.6 / 30.8 on dev).

300 steps of denoising come first, whole texts from corrupted ones: most of a text is to be copied, so cross-attention
finds the input early (57 % of the tokens right at step 200, 73 % at 300). Then 3,900 steps (5.5 epochs) of summaries.
The last 400 training rows are left out: choose decoding settings on them, not on dev.
"""

from t5x_lite.recipe import load_base, recipe

shared = load_base("shared")


def _folder(folder):
    return {
        "data.train": shared.of_dialogsum(folder, "train", limit=12_060),
        "data.evaluation": shared.of_dialogsum(folder, "dev", near_duplicates=True),
    }


get_config = recipe("finetune", {
    "model.source": "random",
    "model.architecture": {
        **shared.SMALL_T5, "d_model": 192, "d_kv": 64, "d_ff": 768, "num_heads": 3, "dropout_rate": 0.1,
    },
    "model.dtype": "float32", "model.remat": "none",
    "tokenizer": {
        **shared.TOKENIZER, "source": "train", "vocab_size": 4096,
        "user_defined_symbols": shared.THREE_SPEAKERS, "extra_ids": 100,
    },
    **_folder("data/dialogsum"), "data.denoising.steps": 300,
    "data.denoising.encoder_length": 96, "data.denoising.noise_density": 0.3,
    "data.denoising.target": "text", "data.template": "{dialogue}", "data.encoder_length": 384,
    "data.decoder_length": 96, "data.truncation": "end",
    "batch.size": 0, "batch.tokens": 4096, "batch.multiple": 16, "train.steps": 4200,
    "loss.label_smoothing": 0.1, "loss.chunk": 0,
    "optimizer": {
        **shared.MUON, "rate_multipliers": ((".*/query/kernel", 0.125), *shared.MUON["rate_multipliers"][1:]),
    },
    "schedule.name": "cosine", "schedule.learning_rate": 7e-3, "schedule.warmup_steps": 100,
    "checkpoint.keep": 1, "evaluation.every_steps": 300, "evaluation.batch_tokens": 8192,
    "evaluation.bootstrap_samples": 10_000, "evaluation.samples": 4,
    "generation": {"max_new_tokens": 96, "num_beams": 4, "no_repeat_ngram_size": 3},
    "published": {
        "Transformer from scratch (Chen et al 2021, test)": shared.FROM_SCRATCH,
        "BART-large (Chen et al 2021, test)": shared.BART,
    },
}, words={
    "FOLDER": _folder,
    "runlocal": {"tokenizer.vocab_size": 512, "data.denoising.steps": 2, "data.denoising.encoder_length": 64},
})  # fmt: skip

"""What a flag that there is not was meant to be."""

from __future__ import annotations

import dataclasses
import difflib

from t5x_lite.commands import FLAGS, WORDS
from t5x_lite.config import fields_meant
from t5x_lite.decoding.settings import GenerationSettings

# What other programs (transformers' and TRL's trainers, its example scripts, peft) call a field.
_ELSEWHERE = {
    "train.steps": ("epochs", "num_train_epochs", "max_steps", "num_epochs"),
    "schedule.learning_rate": ("lr",),
    "schedule.name": ("lr_scheduler_type", "lr_scheduler"),
    "schedule.warmup_steps": ("warmup_ratio",),
    "optimizer.name": ("optim",),
    "optimizer.clip_norm": ("max_grad_norm",),
    "batch.size": ("batch_size", "per_device_train_batch_size", "train_batch_size"),
    "batch.accumulation": ("gradient_accumulation_steps",),
    "evaluation.batch_tokens": ("per_device_eval_batch_size", "eval_batch_size"),
    "evaluation.every_steps": ("eval_steps", "eval_strategy", "evaluation_strategy"),
    "checkpoint.every_steps": ("save_steps", "save_strategy"),
    "checkpoint.keep": ("save_total_limit",),
    "checkpoint.export": ("load_best_model_at_end",),
    "checkpoint.best_metric": ("metric_for_best_model",),
    "logging.every_steps": ("logging_steps",),
    "logging.trackers": ("report_to",),
    "model.source": ("model", "model_name", "model_id", "model_name_or_path"),
    "model.dtype": ("bf16", "fp16", "torch_dtype"),
    "model.remat": ("gradient_checkpointing",),
    "model.quantization": ("load_in_8bit", "load_in_4bit"),
    "adapter.targets": ("r", "lora_r", "lora_rank", "target_modules", "lora_target_modules"),
    "adapter.alpha": ("lora_alpha",),
    "adapter.dropout": ("lora_dropout",),
    "adapter.rslora": ("use_rslora",),
    "adapter.dora": ("use_dora",),
    "tokenizer.source": ("tokenizer_name",),
    "data.train.source": ("dataset_name", "train_file"),
    "data.train.columns": ("text_column", "summary_column"),
    "data.train.limit": ("max_train_samples",),
    "data.evaluation.source": ("validation_file", "test_file"),
    "data.evaluation.limit": ("max_eval_samples", "max_predict_samples"),
    "data.encoder_length": ("max_source_length", "max_input_length"),
    "data.decoder_length": ("max_target_length", "generation_max_length"),
    "data.template": ("source_prefix",),
    "loss.label_smoothing": ("label_smoothing_factor",),
}
_FIELDS = {name: field for field, names in _ELSEWHERE.items() for name in names}
_GENERATION = frozenset(field.name for field in dataclasses.fields(GenerationSettings))
_AGAIN = "the same command again, which goes on where --workdir is"
_SHOWN = 3


def flags_meant(flag: str, spec: str) -> str:
    """The flags that a flag which there is not may stand for, with "or" between; "" where none comes near.

    spec: the config that was given beside it, "" for none.

    >>> flags_meant("--lr", "finetune.py"), flags_meant("--output_dir", "")
    ('--config.schedule.learning_rate', '--workdir')
    """
    if not flag.startswith("--"):
        if flag.partition(":")[0].endswith(".py"):
            return f"--config {flag}"
        return "".join(difflib.get_close_matches(flag, WORDS, n=1))
    name = flag.lstrip("-").replace("-", "_")
    if close := difflib.get_close_matches(f"--{name}", FLAGS, n=1, cutoff=0.8):
        return close[0]
    if name in ("output_dir", "out", "outdir"):
        return "--workdir"
    if name in ("resume", "resume_from_checkpoint"):
        return _AGAIN
    if name in _GENERATION:
        return f"--config.generation.{name}"
    fields = [_FIELDS[name]] if name in _FIELDS else fields_meant(spec, name)
    return " or ".join(f"--config.{field}" for field in fields[:_SHOWN])

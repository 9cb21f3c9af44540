"""adapter_config.json: peft's words for adapters, and ours."""

from __future__ import annotations

import collections
import math
import pathlib
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from t5x_lite.console import log
from t5x_lite.errors import InputError
from t5x_lite.foreign.patterns import PatternError, matches
from t5x_lite.interop.names import HEAD
from t5x_lite.interop.wrapped_names import shown
from t5x_lite.models.config import T5Config
from t5x_lite.params.lora import LoraSettings
from t5x_lite.params.soft_prompts import SoftPromptSettings

LORA, PROMPT_TUNING = "LORA", "PROMPT_TUNING"
_TASK = "SEQ_2_SEQ_LM"
_AUTO_MODELS = {
    "SEQ_CLS": "SequenceClassification",
    "TOKEN_CLS": "TokenClassification",
    "QUESTION_ANS": "QuestionAnswering",
    "FEATURE_EXTRACTION": "FeatureExtraction",
}

# Fields with which an adapter is more than its low-rank factors. A value in the tuple means: not used.
# (fan_in_fan_out means nothing to T5's layers, and peft ignores it there. Which layers and modules are adapted the
# tensors say; target_modules and rank_pattern must agree.)
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    # T5's layers have no biases; "all" would mean the relative position biases.
    "bias": ("none", "lora_only"),
    "modules_to_save": (None, []),
    "lora_bias": (False,),
    "layer_replication": (None, []),
    "use_qalora": (False,),
    "use_bdlora": (None, False),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None, []),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "velora_config": (None,),
}
# Kinds of adapters that cannot become part of the weights.
_NOT_MERGED = ("PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "ADAPTION_PROMPT", "CPT")
# Ways to begin that take something away from the base: the adapter then wants that base.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga", "mica")
_ALPHA_TOLERANCE = 1e-6


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max  # neither NaN nor infinite


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


# Field -> what it must be, in words and as a test.
_NAMES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "base_model_name_or_path": ("a name or null", _is_text),
    "revision": ("a name or null", _is_text),
}
_PROMPT_FIELDS = _NAMES | {"num_virtual_tokens": ("a whole number above 0", _is_count)}
_LORA_FIELDS = _NAMES | {
    "lora_alpha": ("a number", _is_number),
    "lora_dropout": ("a number from 0, below 1", lambda v: _is_number(v) and 0 <= v < 1),
    "use_rslora": ("true or false", _is_flag),
    "use_dora": ("true or false", _is_flag),
    # A value that peft refuses is a damaged file.
    "r": ("a whole number above 0", lambda v: v is None or _is_count(v)),
    "rank_pattern": (
        "a mapping of patterns to whole numbers above 0",
        lambda v: isinstance(v, dict) and all(map(_is_count, v.values())),
    ),
    "alpha_pattern": (
        "a mapping of patterns to numbers",
        lambda v: isinstance(v, dict) and all(map(_is_number, v.values())),
    ),
}


def check(fields: Any, file: pathlib.Path) -> None:
    """Refuses what is not read, by the name of its field; fills in what older peft versions do not write.

    Raises:
      InputError: another kind of adapter, or a LoRA with parts that are not read.
    """
    if not isinstance(fields, dict) or fields.get("peft_type") not in (LORA, PROMPT_TUNING):
        kind = fields.get("peft_type") if isinstance(fields, dict) else None
        ways = (
            ""
            if not isinstance(kind, str) or kind in _NOT_MERGED
            else f"; {way_out(file.parent, fields.get('task_type'))}"
        )
        raise InputError(f"{file}: peft_type must be {LORA} or {PROMPT_TUNING}, got {kind!r}{ways}")
    if fields["peft_type"] == PROMPT_TUNING:
        _refuse_types(fields, _PROMPT_FIELDS, file)
        return
    for name, unused in _REFUSED.items():
        if name in fields and fields[name] not in unused:
            raise InputError(
                f"{file}: {name} = {fields[name]!r} is not supported; {way_out(file.parent, fields.get('task_type'))}"
            )
    begin = fields.get("init_lora_weights", True)
    if isinstance(begin, str) and begin.lower().startswith(_CHANGES_BASE):
        raise InputError(
            f"{file}: init_lora_weights = {begin!r} changes the base; convert the adapter with peft"
            " (save_pretrained with path_initial_model_for_weight_conversion)"
        )
    for name, default in (
        ("lora_dropout", 0.0),
        ("use_rslora", False),
        ("use_dora", False),
        ("rank_pattern", {}),
        ("alpha_pattern", {}),
    ):
        fields.setdefault(name, default)
    _refuse_types(fields, _LORA_FIELDS, file)
    for name, pattern in [(n, p) for n in ("alpha_pattern", "rank_pattern") for p in fields[n]]:
        try:
            matches(pattern, "")
        except PatternError as error:
            raise InputError(
                f"{file}: {name}: {pattern!r:.80} is no regular expression that is read ({error});"
                f" {way_out(file.parent, fields.get('task_type'))}"
            ) from error


def _refuse_types(
    fields: Mapping[str, Any], expected: Mapping[str, tuple[str, Any]], file: pathlib.Path
) -> None:
    for name, (words, accepts) in expected.items():
        if not accepts(fields.get(name)):
            raise InputError(f"{file}: {name} must be {words}, got {fields.get(name)!r:.80}")


def way_out(adapter: pathlib.Path, task: Any = _TASK) -> str:
    """What to do with an adapter that is not read: two lines of peft. task: its `task_type`."""
    kind = _AUTO_MODELS.get(str(task), "Seq2SeqLM")
    model, tokenizer = f"peft.AutoPeftModelFor{kind}", "transformers.AutoTokenizer"
    return (
        "merge it with peft, and load what comes out:"
        f" {model}.from_pretrained({str(adapter)!r}).merge_and_unload().save_pretrained('merged');"
        f" {tokenizer}.from_pretrained({str(adapter)!r}).save_pretrained('merged')"
    )


def scaling(fields: Mapping[str, Any], module: str, rank: int) -> float:
    """What peft scales the adapter of this module by."""
    alpha = _of_pattern(fields["alpha_pattern"], module, fields["lora_alpha"])
    return alpha / (math.sqrt(rank) if fields["use_rslora"] else rank)


def _of_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """The value of the first pattern that matches the end of a module's name."""
    found = (
        value for pattern, value in patterns.items() if matches(f"(.*\\.)?({pattern})", module)
    )
    return next(found, default)


def check_rank(fields: Mapping[str, Any], module: str, rank: int, source: pathlib.Path) -> None:
    """Refuses factors of another rank than the config says, as peft does: their scale would be another.

    Raises:
      InputError: both ranks.
    """
    said = _of_pattern(fields["rank_pattern"], module, fields.get("r"))
    if said is not None and said != rank:
        raise InputError(
            f"{source}: {module} has factors of rank {rank}, and its config says {said} (r, rank_pattern): the two"
            " files are not of one adapter; copy both from where it was saved"
        )


def check_targets(
    fields: Mapping[str, Any],
    found: Collection[str],
    modules: Collection[str],
    source: pathlib.Path,
) -> None:
    """Compares the modules that have factors with those that `target_modules` names: a warning of those without.

    Args:
      found: the names of the modules with factors.
      modules: those of all linear layers.

    Raises:
      InputError: factors of a module that it does not name, which peft leaves out.
    """
    targets = fields.get("target_modules")
    if isinstance(targets, str):
        named = _matching(targets, modules)
    elif isinstance(targets, list) and targets:
        named = {m for m in modules for t in targets if m == t or m.endswith(f".{t}")}
    else:
        return
    if named is None:
        return
    if others := [module for module in found if module not in named]:
        raise InputError(
            f"{source}: holds factors of {shown(others)}, which target_modules = {targets!r:.80} does not name, so that"
            " peft leaves them out; put their names there, or take them out of the file"
        )
    # Which layers are left out, other fields say.
    chosen = any(fields.get(name) for name in ("exclude_modules", "layers_pattern"))
    chosen = chosen or fields.get("layers_to_transform") not in (None, [])
    if not chosen and (missing := [module for module in named if module not in found]):
        log.warning(
            "%s: %d of the %d modules that target_modules names have no factors in the file, and stay as they are: %s",
            *(source, len(missing), len(named), shown(sorted(missing))),
        )


def _matching(pattern: str, modules: Collection[str]) -> set[str] | None:
    """The modules that a text names; None where it is a pattern of Python's own kind."""
    if pattern.lower() == "all-linear":
        return {module for module in modules if module != HEAD}
    try:
        return {module for module in modules if matches(pattern, module)}
    except PatternError:
        return None


def lora_from_peft(
    fields: Mapping[str, Any], ranks: Mapping[str, int], modules: Sequence[str]
) -> LoraSettings:
    """The settings of an adapter whose modules (our paths) have these ranks, in a model with all these `modules`."""
    return LoraSettings(
        targets=_targets(ranks, modules),
        alpha=float(fields["lora_alpha"]),
        dropout=float(fields["lora_dropout"]),
        rslora=bool(fields["use_rslora"]),
        dora=bool(fields["use_dora"]),
    )


def _targets(ranks: Mapping[str, int], modules: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """The shortest rules for these ranks: by the last name where it decides, by the whole path elsewhere."""
    by_name: dict[str, set[int | None]] = collections.defaultdict(set)
    for module in modules:
        by_name[module.rpartition("/")[2]].add(ranks.get(module))
    names: dict[int, list[str]] = collections.defaultdict(list)
    rules: list[tuple[str, int]] = []
    for name, found in by_name.items():
        (rank, *others) = found
        if not others and rank is not None:
            names[rank].append(name)
        elif others:
            rules += [
                (re.escape(module), ranks[module])
                for module in modules
                if module.rpartition("/")[2] == name and module in ranks
            ]
    return tuple(rules) + tuple((f".*/({'|'.join(group)})", rank) for rank, group in names.items())


def lora_to_peft(
    settings: LoraSettings, found: Mapping[str, tuple[int, float]], modules: Sequence[str]
) -> dict[str, Any]:
    """The fields of adapter_config.json.

    Args:
      found: rank and scaling of each adapted module, by its Hugging Face name.
      modules: the names of all linear layers of the model.
    """
    common = collections.Counter(rank for rank, _ in found.values()).most_common(1)[0][0]
    alphas = {}
    for name, (rank, scale) in found.items():
        if not math.isclose(scale, settings.scaling(rank), rel_tol=_ALPHA_TOLERANCE):
            alphas[name] = _plain(scale * (math.sqrt(rank) if settings.rslora else rank))
    short = {name.rpartition(".")[2] for name in found}
    whole = {name for name in modules if name.rpartition(".")[2] in short} == set(found)
    return {
        "peft_type": LORA,
        "task_type": _TASK,
        "r": common,
        "lora_alpha": _plain(settings.alpha),
        "lora_dropout": settings.dropout,
        "target_modules": sorted(short if whole else found),
        "rank_pattern": {name: rank for name, (rank, _) in found.items() if rank != common},
        "alpha_pattern": alphas,
        "use_rslora": settings.rslora,
        "use_dora": settings.dora,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "inference_mode": True,
    }


def _plain(value: float) -> float | int:
    """A whole number without its point, as peft's configs have it; others as float32 knows them."""
    value = float(f"{value:.6g}")
    return int(value) if value.is_integer() else value


def prompt_to_peft(settings: SoftPromptSettings, config: T5Config) -> dict[str, Any]:
    """The fields of adapter_config.json of a soft prompt before the encoder's input."""
    return {
        "peft_type": PROMPT_TUNING,
        "task_type": _TASK,
        "num_virtual_tokens": settings.length,
        "token_dim": config.d_model,
        "num_transformer_submodules": 1,
        "num_attention_heads": config.num_heads,
        "num_layers": config.num_decoder_layers,
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": None,
        "tokenizer_name_or_path": None,
        "inference_mode": True,
    }


def prompt_from_peft(fields: Mapping[str, Any]) -> SoftPromptSettings:
    """The settings of a prompt; how it began is not known, and no longer matters."""
    return SoftPromptSettings(length=fields["num_virtual_tokens"], init_from="normal")

"""Trainable and frozen by path rules: the first match wins, and every leaf must be matched.

Rules speak of one tree: the parameters by their canonical paths ("encoder/layers_0/mlp/wo/kernel"), and the adapters
beside them under "adapters/" ("adapters/encoder/layers_0/attention/query/lora_a").
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from t5x_lite.errors import InputError
from t5x_lite.foreign.patterns import matches_own
from t5x_lite.params.paths import Params, flatten, map_with_path
from t5x_lite.params.stacking import canonical_paths

TRAINABLE, FROZEN = "trainable", "frozen"
ADAPTERS = "adapters"

Rule = tuple[str, str]

PRESETS: Mapping[str, tuple[Rule, ...]] = {
    "full": ((".*", TRAINABLE),),
    "adapters": ((f"{ADAPTERS}/.*", TRAINABLE), (".*", FROZEN)),
    "encoder": (("encoder/.*", TRAINABLE), (".*", FROZEN)),
    "decoder": (("decoder/.*", TRAINABLE), (".*", FROZEN)),
    "norms": ((".*/scale", TRAINABLE), (".*", FROZEN)),
}
# Settings that travel with an adapter's arrays; never trained, whatever the rules say.
_CONSTANTS = re.compile(f"{ADAPTERS}/.*/lora_(scaling|dropout)")


def resolve_rules(value: str | Sequence[Sequence[str]], where: str) -> tuple[Rule, ...]:
    """The rules of a config field: the name of a preset, or ((pattern, "trainable" or "frozen"), ...), which may be
    a text (a flag that changes the name of a preset is one).

    >>> resolve_rules("(('.*/scale', 'trainable'), ('.*', 'frozen'))", "train.trainable")
    (('.*/scale', 'trainable'), ('.*', 'frozen'))

    Raises:
      InputError: an unknown preset, a label that is neither, or a pattern that is no regular expression.
    """
    if isinstance(value, str):
        if value in PRESETS:
            return PRESETS[value]
        text, value = value, ()
        with contextlib.suppress(ValueError, SyntaxError, TypeError, RecursionError):
            value = ast.literal_eval(text)
        if not isinstance(value, (tuple, list)) or not value:
            raise InputError(
                f"{where} must be one of {', '.join(PRESETS)}, or rules ((pattern, 'trainable' or 'frozen'), ...),"
                f" got {text!r}"
            )
    rules = []
    for rule in value:
        pair = isinstance(rule, (tuple, list)) and len(rule) == 2
        if not pair or rule[1] not in (TRAINABLE, FROZEN) or not isinstance(rule[0], str):
            raise InputError(f"{where}: a rule is (pattern, 'trainable' or 'frozen'), got {rule!r}")
        try:
            re.compile(rule[0])
        except re.error as error:
            raise InputError(f"{where}: {rule[0]!r} is no regular expression ({error})") from error
        rules.append((rule[0], rule[1]))
    return tuple(rules)


def join(params: Params, adapters: Params | None) -> Params:
    """The one tree of the rules, of gradients and of the optimizer.

    >>> join({"encoder": {"a": 1}}, {"encoder": {"lora_a": 2}})
    {'encoder': {'a': 1}, 'adapters': {'encoder': {'lora_a': 2}}}
    >>> join({"encoder": {"a": 1}}, None)
    {'encoder': {'a': 1}}
    """
    return {**params, ADAPTERS: adapters} if adapters else params


def separate(tree: Params) -> tuple[Params, Params]:
    """The inverse of `join`: parameters, and adapters ({} where there are none)."""
    params = dict(tree)
    return params, params.pop(ADAPTERS, {})


def label_of(rules: Sequence[Rule], path: str) -> str | None:
    """The label of a canonical path; None where no rule matches.

    >>> label_of([("decoder/.*", "trainable"), (".*", "frozen")], "encoder/a")
    'frozen'
    """
    if _CONSTANTS.fullmatch(path):
        return FROZEN
    return next((label for pattern, label in rules if matches_own(pattern, path)), None)


def label(rules: Sequence[Rule], tree: Params, where: str) -> Params:
    """Whether each leaf of a joined tree, unrolled or stacked, is "trainable" or "frozen".

    {"norm": {"scale": x}, "mlp": {"kernel": y}} -> {"norm": {"scale": "trainable"}, "mlp": {"kernel": "frozen"}}

    Raises:
      InputError: a leaf that no rule matches, a rule that matches no leaf, no trainable leaf at all, or rules that
        tell apart layers which lie stacked in one array.
    """
    used: set[str] = set()

    def decide(path: str, leaf: Any) -> str:
        names = canonical_paths(path, leaf)
        used.update(pattern for pattern, _ in rules if any(matches_own(pattern, n) for n in names))
        labels = {label_of(rules, name) for name in names}
        if None in labels:
            raise InputError(
                f"{where}: no rule matches {names[0]}; end with ('.*', 'frozen') or ('.*', 'trainable')"
            )
        if len(labels) > 1:
            raise InputError(
                f"{where}: the rules tell apart the layers of {path}, which model.scan_layers keeps in one array; set"
                " model.scan_layers to False"
            )
        return str(labels.pop())

    labels = map_with_path(decide, tree)
    if unused := [pattern for pattern, _ in rules if pattern not in used]:
        kinds = sorted({re.sub(r"layers_\d+", "layers_{n}", path) for path in flatten(tree)})
        raise InputError(f"{where}: {unused[0]!r} matches no path; there are: {', '.join(kinds)}")
    if TRAINABLE not in jax.tree.leaves(labels):
        raise InputError(f"{where}: the rules leave nothing to train")
    return labels

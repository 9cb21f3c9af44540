"""On which texts the rewards and judges of a PPO run were tried themselves: what the reports beside them say."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

# Of a classifier's report and of a reward model's: the name there, and the name here.
_AREA = {"auc": "score", "auc low": "low", "auc high": "high"}
_ACCURACY = {"accuracy": "score", "low": "low", "high": "high"}
_LENGTHS = ("fewest words", "median words", "most words")


def tried_on(places: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each set of texts that a scorer was tried on, or one that says that nothing is known.

    Args:
      places: scorer -> the directory of its model (or of the run that made it), or a hub id.

    Returns:
      rows of: scorer; tried on (the set's name and its source); score, of which measure; its interval; how many rows;
      how many words they have.
    """
    table = []
    for name, place in places.items():
        found = _sets(place)
        table += [{"scorer": name, **line} for line in found]
        if not found:
            table.append({"scorer": name, "tried on": "not known: no report of it lies beside it"})
    return table


def _sets(place: str) -> list[dict[str, Any]]:
    folder = pathlib.Path(place).expanduser()
    for of_a_run in (folder, folder.parent):
        try:
            report = json.loads((of_a_run / "report.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        scores = report.get("classification", {})
        lines = [_line(name, found, "AUC", _AREA) for name, found in scores.items()]
        if "tried on" in report:
            found = {**report["preferences"], **report["tried on"]}
            lines.append(_line("evaluation", found, "accuracy of pairs", _ACCURACY))
        return lines
    return []


def _line(
    name: str, found: Mapping[str, Any], measure: str, names: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "tried on": f"{name}: {found.get('source', 'not said')}",
        "measure": measure,
        **{here: found.get(there) for there, here in names.items()},
        "rows": found.get("rows", found.get("pairs")),
        **{length: found.get(length) for length in _LENGTHS},
    }

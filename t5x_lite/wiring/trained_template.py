"""The template that a run was trained with, wherever its model is asked again."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from t5x_lite.console import log
from t5x_lite.data.templates import TEMPLATES
from t5x_lite.foreign.json_files import read_object
from t5x_lite.wiring.workdir import CONFIG_FILE


def template_text(config: Mapping[str, Any]) -> str:
    """The text of `data.template` of a run's config; "" where it has none, or several."""
    data = config.get("data")
    template = data.get("template") if isinstance(data, Mapping) else None
    return TEMPLATES.get(template, template) if isinstance(template, str) else ""


def warn_of_another_template(source: str, template: str) -> None:
    """Warns where `source` is of a run (its workdir, or model/, merged/ or adapter/ in it) that was trained with a
    template of another text: the model is asked what it did not learn to answer.

    Raises:
      InputError: the run's config is no JSON object.
    """
    folder = pathlib.Path(source).expanduser()
    if not folder.is_dir():
        return
    for place in (folder, folder.resolve().parent):
        file = place / CONFIG_FILE
        found = read_object(file, "the config of a run") if file.is_file() else {}
        if "task" in found:  # not the config.json of a model
            theirs, asked = template_text(found), TEMPLATES.get(template, template)
            if theirs and theirs != asked:
                log.warning(
                    "%s was trained with the template %r, but is asked with %r; config.data.template says which",
                    *(source, theirs, asked),
                )
            return

"""Pages that the code itself writes, at each build: the fields of each task's config, and the recipes.

They go to docs/generated/, from the sections' own declarations (`t5x_lite.sections.describe`), the bases
(configs/bases/) and the recipes' docstrings (configs/).
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from t5x_lite.commands.listing import docstring_of, task_of, words_of
from t5x_lite.config import config_of, shipped_configs, tasks
from t5x_lite.recipe import load_base
from t5x_lite.sections import describe

_TEXT = 60  # characters of a value that a table shows


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("builder-inited", lambda app: write_pages(pathlib.Path(app.srcdir) / "generated"))
    return {"parallel_read_safe": True}


def write_pages(folder: pathlib.Path) -> None:
    """Writes every page; one that is as it was keeps its time, so that nothing is built twice."""
    pages = {f"config_{task}.md": config_page(task) for task in tasks()}
    pages["recipes.md"] = recipes_page()
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        file = folder / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def config_page(task: str) -> str:
    """The fields of a task: a table a section, with the value that the task's base gives."""
    cls = config_of(task)
    base = load_base(task).BASE
    lines = [f"# `{task}`", "", _first_paragraph(cls.__doc__), ""]
    by_section: dict[str, list[str]] = {}
    for field in {field.name: field for field in describe(cls)}.values():
        section = field.name.partition(".")[0] if "." in field.name else ""
        value = _shown(_value(base, field.name))
        row = f"| `{field.name}` | {_cell(field.words)} | {value} | {_cell(field.doc)} |"
        by_section.setdefault(section, []).append(row)
    for section, rows in by_section.items():
        lines += [f"## {section or 'The run'}", ""]
        lines += ["| field | what it takes | in the base | what it means |", "|---|---|---|---|"]
        lines += [*rows, ""]
    return "\n".join(lines)


def recipes_page() -> str:
    """Every recipe in the words of its own file."""
    lines = [
        "# Recipes",
        "",
        "Each config of `configs/`, in its own words: its command, hardware, time, and what comes out. A word stands",
        "behind a colon: `--config configs/lora.py:soft_prompt`. `runlocal` runs any of them in seconds.",
        "",
    ]
    for file in shipped_configs():
        summary, _, rest = docstring_of(file).partition("\n")
        words = ", ".join(f"`{word}`" for word in words_of(file)) or "none"
        lines += [
            f"## `{file.name}`",
            "",
            summary,
            "",
            f"Task `{task_of(file)}`; words: {words}.",
            "",
        ]
        lines += ["```text", rest.strip("\n"), "```", ""]
    return "\n".join(lines)


def _value(base: Mapping[str, Any], name: str) -> Any:
    value: Any = base
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = repr(value)
    return f"`{_cell(text if len(text) <= _TEXT else text[: _TEXT - 1] + '…')}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("*", "\\*").split())


def _first_paragraph(doc: str | None) -> str:
    return " ".join(_lines(doc))


def _lines(doc: str | None) -> Iterator[str]:
    for line in (doc or "").strip().splitlines():
        if not line.strip():
            return
        yield line.strip()

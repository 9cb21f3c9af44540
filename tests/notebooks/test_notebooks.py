"""Every notebook runs from top to bottom, on the model that comes along."""

import ast
import pathlib
import re

import pytest

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "docs" / "notebooks").glob("*.md"))
CELL = re.compile(r"^```\{code-cell\} ipython3\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def cells(notebook: pathlib.Path) -> list[str]:
    return CELL.findall(notebook.read_text(encoding="utf-8"))


def test_notebooks_are_found():
    assert len(NOTEBOOKS) >= 5


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_python_with_a_kernel(notebook):
    text = notebook.read_text(encoding="utf-8")
    assert text.startswith("---\njupytext:\n") and "format_name: myst" in text
    assert len(cells(notebook)) == text.count("{code-cell}") > 1
    for cell in cells(notebook):
        ast.parse(cell)


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, object] = {"__name__": notebook.stem}
    for number, cell in enumerate(cells(notebook)):
        exec(compile(cell, f"{notebook.name}, cell {number}", "exec"), names)

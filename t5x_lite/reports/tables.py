"""Tables as aligned text (terminal), Markdown and HTML from the same header and rows, and the blocks of a report."""

from __future__ import annotations

import dataclasses
import html
import re
import unicodedata
from collections.abc import Sequence

from t5x_lite.foreign.visible import visible
from t5x_lite.reports.differences import Marked

Rows = Sequence[Sequence[object]]

# Cells over this many characters are not padded to.
_WIDEST = 60


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the report's title."""

    text: str
    level: int


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclasses.dataclass(frozen=True)
class Warned:
    """Running text that a reader must not miss."""

    text: str


@dataclasses.dataclass(frozen=True)
class Table:
    """A header and rows of cells (text, numbers, booleans, None, or `Marked` texts)."""

    header: Sequence[str]
    rows: Rows


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture file beside the report."""

    file: str
    caption: str


Block = Heading | Paragraph | Warned | Table | Picture


def markdown_table(header: Sequence[str], rows: Rows) -> str:
    """A GitHub Markdown table that is aligned in its source too; cells are escaped (`escape_markdown`).

    >>> print(markdown_table(["name", "count"], [["a|b", 5]]))
    | name | count |
    |------|------:|
    | a\\|b |     5 |
    """
    cells, right, widths = _layout(header, rows)
    lines = [f"| {_joined(row, right, widths)} |" for row in cells]
    rule = ("-" * (w + 1) + ":" if r else "-" * (w + 2) for r, w in zip(right, widths, strict=True))
    lines.insert(1, f"|{'|'.join(rule)}|")
    return "\n".join(lines)


def html_table(header: Sequence[str], rows: Rows) -> str:
    """An HTML table with escaped cells; numeric columns have the class `number`."""
    right = _numeric_columns(header, rows)

    def line(cells: Sequence[object], tag: str) -> str:
        inner = "".join(
            f"<{tag}{' class=number' if r else ''}>{_html_cell(cell)}</{tag}>"
            for cell, r in zip(cells, right, strict=True)
        )
        return f"<tr>{inner}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<table>\n<thead>{line(header, 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _html_cell(cell: object) -> str:
    if isinstance(cell, Marked):
        return cell.html()
    text = html.escape(shown(cell))
    return f"<bdi>{text}</bdi>" if isinstance(cell, str) else text


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line: a newline becomes <br>.

    >>> escape_markdown("a|b *c* <d>\\n__e__ f_g")
    'a\\\\|b \\\\*c\\\\* &lt;d&gt;<br>\\\\_\\\\_e\\\\_\\\\_ f_g'
    """
    text = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\|*`\[~])", r"\\\1", text)
    # An underscore inside a word (learning_rate) is no emphasis in GitHub's Markdown.
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
    return "<br>".join(text.splitlines())


def shown(cell: object) -> str:
    """Numbers as people read them: thousands apart, floats with up to four significant digits; None is a dash.

    >>> shown(0.123456), shown(12345.6), shown(1234567), shown(None)
    ('0.1235', '12,346', '1,234,567', '–')
    """
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if 1e3 <= abs(cell) < 1e15 else f"{cell:.4g}"
    return visible(str(cell))


def _numeric_columns(header: Sequence[str], rows: Rows) -> list[bool]:
    """A column is numeric if it has numbers, and nothing else but None."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    return [
        any(cell is not None for cell in column)
        and all(
            cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))
            for cell in column
        )
        for column in columns
    ]


def _layout(header: Sequence[str], rows: Rows) -> tuple[list[list[str]], list[bool], list[int]]:
    cells = [[escape_markdown(shown(cell)) for cell in row] for row in [header, *rows]]
    # A long text does not stretch its column: nothing stands to the right of it that would need to line up.
    widths = [
        max([3, *(width for cell in column if (width := _width(cell)) <= _WIDEST)])
        for column in zip(*cells, strict=True)
    ]
    return cells, _numeric_columns(header, rows), widths


def _joined(row: Sequence[str], right: Sequence[bool], widths: Sequence[int]) -> str:
    padded = []
    for cell, r, width in zip(row, right, widths, strict=True):
        space = " " * (width - _width(cell))
        padded.append(space + cell if r else cell + space)
    return " | ".join(padded)


def _width(text: str) -> int:
    """Columns a terminal needs: two for a wide (East Asian, emoji) character, none for a combining one."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )

"""Curves of a run as one PNG, from the lines of metrics.jsonl."""

from __future__ import annotations

import dataclasses
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from t5x_lite.reports.figure import new_figure

# Okabe and Ito (2008): colors that people with any color vision tell apart (without yellow, too pale for a line).
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# Up to this many points every one is marked; beyond _SMOOTHED the line is a moving average over the raw values.
_MARKED = 40
_SMOOTHED = 200


@dataclasses.dataclass(frozen=True)
class Panel:
    """One set of axes: all metrics whose whole name matches `pattern` (a regular expression), on one y axis.

    The y axis is labeled with the quantity and its unit; `log` makes it logarithmic if all values are positive.
    """

    pattern: str
    title: str
    ylabel: str
    log: bool = False


PANELS = (
    Panel(r"(.*/)?loss", "Loss", "cross-entropy (nats per token)"),
    Panel(r"(.*/)?rouge(1|2|L|Lsum)", "ROUGE", "F-measure (0 to 1)"),
    Panel(r"(.*/)?accuracy", "Token accuracy", "fraction of target tokens"),
    Panel(r"(.*/)?learning_rate", "Learning rate", "learning rate"),
    Panel(r"(.*/)?grad_norm", "Gradient norm", "global L2 norm before clipping", log=True),
)


def plot_metrics(
    records: Sequence[Mapping[str, Any]], panels: Sequence[Panel] = PANELS
) -> bytes | None:
    """A PNG of all panels that have data, two in a row; None if none has. Values that are not finite leave gaps.

    The same records give the same bytes on the same machine.
    """
    return _saved(records, panels, "png", {"Software": None})


def draw_metrics(
    records: Sequence[Mapping[str, Any]], panels: Sequence[Panel] = PANELS
) -> bytes | None:
    """`plot_metrics` as SVG, without a background, its words as text; a page may turn black to its own color."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "t5x_lite"}):
        return _saved(records, panels, "svg", {"Date": None})


def _saved(
    records: Sequence[Mapping[str, Any]],
    panels: Sequence[Panel],
    kind: str,
    metadata: Mapping[str, Any],
) -> bytes | None:
    series: dict[str, tuple[list[int], list[float]]] = {}
    for record in records:
        for name, value in record.items():
            if name != "step":
                steps, values = series.setdefault(name, ([], []))
                steps.append(record["step"])
                values.append(float(value))
    filled = [
        (panel, names)
        for panel in panels
        if (
            names := sorted(
                n for n in series if re.fullmatch(panel.pattern, n) and _has_data(series[n][1])
            )
        )
    ]
    if not filled:
        return None
    columns = min(2, len(filled))
    rows = -(-len(filled) // columns)
    figure = new_figure(5.6 * columns, 3.5 * rows)
    # One range of steps for all panels, so that they can be read against each other.
    last = max(1, *(series[name][0][-1] for _, names in filled for name in names))
    for number, (panel, names) in enumerate(filled, 1):
        axes = figure.add_subplot(rows, columns, number)
        _draw(axes, panel, {name: series[name] for name in names})
        axes.set_xlim(-0.02 * last, 1.02 * last)
    file = io.BytesIO()
    figure.savefig(file, format=kind, metadata=dict(metadata), transparent=kind == "svg")
    return file.getvalue()


def _has_data(values: Sequence[float]) -> bool:
    return any(math.isfinite(value) for value in values)


def _draw(axes: Any, panel: Panel, series: Mapping[str, tuple[list[int], list[float]]]) -> None:
    from matplotlib import ticker

    smoothed = False
    numbers = _numbered(series)
    for name, (steps, values) in series.items():
        number = numbers[name]
        color, marker = _COLORS[number % len(_COLORS)], _MARKERS[number % len(_MARKERS)]
        x, y = np.array(steps), np.where(np.isfinite(values), values, np.nan)
        if len(x) > _SMOOTHED and not name.endswith("learning_rate"):
            smoothed, window = True, len(x) // 50
            axes.plot(x, y, color=color, alpha=0.25, linewidth=0.7)
            axes.plot(
                x,
                _moving_average(y, window),
                color=color,
                linewidth=1.8,
                label=f"{name} (mean of {window})",
            )
        else:
            few = len(x) <= _MARKED
            axes.plot(
                x,
                y,
                color=color,
                linewidth=1.6,
                marker=marker if few else None,
                markersize=4,
                label=name,
            )
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(panel.ylabel)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    values = [v for _, column in series.values() for v in column if math.isfinite(v)]
    if panel.log and min(values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1 or smoothed:
        axes.legend(frameon=False, fontsize=8.5)


def _numbered(names: Iterable[str]) -> dict[str, int]:
    """Which color each series takes: in a panel with both, training the first and evaluation the second, everywhere."""
    held_out = [name for name in names if "eval" in name]
    trained = [name for name in names if "eval" not in name]
    if not trained:
        return {name: number for number, name in enumerate(held_out)}
    return {name: 2 * number for number, name in enumerate(trained)} | {
        name: 2 * number + 1 for number, name in enumerate(held_out)
    }


def _moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` finite values at every point (fewer at the start); NaN where there is none."""
    finite = np.isfinite(values)
    sums = np.cumsum(np.where(finite, values, 0.0))
    counts = np.cumsum(finite)
    sums[window:] -= sums[:-window].copy()
    counts[window:] -= counts[:-window].copy()
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

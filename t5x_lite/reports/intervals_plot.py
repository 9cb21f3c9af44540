"""Scores of several systems with their intervals, one row a system: which of them can be told apart is seen at once."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from t5x_lite.reports.figure import new_figure

_SCORE = "#0072B2"
# Of the lines that stand for other results; dashes tell them apart without color.
_OTHERS = (("#D55E00", "--"), ("#009E73", ":"), ("#CC79A7", "-."), ("#000000", (0, (1, 3))))

Scores = Mapping[str, Mapping[str, float]]  # kind -> {"mean", "low", "high"}, between 0 and 1


def plot_intervals(
    systems: Mapping[str, Scores],
    kinds: Mapping[str, str],
    others: Sequence[tuple[str, Mapping[str, float]]],
) -> bytes:
    """A PNG with a panel a kind of score: a point with its interval for each system, times 100, from top to bottom.

    Args:
      systems: by name, in order.
      kinds: what to show of their scores, and what its axis is called.
      others: (name, {kind: score between 0 and 1}) of what has no interval, as lines through the panels that have it.
    """
    figure = new_figure(3.4 * len(kinds) + 1.6, 1.2 + 0.3 * len(systems) + 0.2 * len(others))
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    heights = range(len(systems))
    for axes, (kind, title) in zip(panels, kinds.items(), strict=True):
        means, lows, highs = (
            [100 * scores[kind][end] for scores in systems.values()]
            for end in ("mean", "low", "high")
        )
        # Asymmetric: how far the interval reaches to either side.
        reach = [
            [max(0.0, mean - low) for mean, low in zip(means, lows, strict=True)],
            [max(0.0, high - mean) for mean, high in zip(means, highs, strict=True)],
        ]
        axes.errorbar(
            means, heights, xerr=reach, fmt="o", color=_SCORE, markersize=4.5, capsize=2.5, elinewidth=1.4
        )  # fmt: skip
        for number, (_, scores) in enumerate(others):
            if kind in scores:
                color, dashes = _OTHERS[number % len(_OTHERS)]
                axes.axvline(100 * scores[kind], color=color, linestyle=dashes, linewidth=1.4)
        axes.set_xlabel(f"{title}, times 100")
        axes.set_xlim(left=0)
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(list(heights), list(systems))
    panels[0].set_ylim(len(systems) - 0.5, -0.5)
    # Lines of nothing, for the legend: one place for all panels.
    handles = [
        panels[0].plot([], [], color=color, linestyle=dashes, label=name)[0]
        for (name, _), (color, dashes) in zip(others, _OTHERS * len(others), strict=False)
    ]
    if handles:
        figure.legend(handles=handles, loc="outside lower left", frameon=False, fontsize=8.5)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()

"""A calibration plot: how often what was predicted with a probability came true."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from t5x_lite.reports.figure import new_figure

_LINE, _BARS = "#0072B2", "#bbbbbb"


def plot_calibration(rows: Sequence[Mapping[str, float]], predicted: str, observed: str) -> bytes:
    """A PNG: observed against predicted shares, the diagonal, and below how many rows stand behind each point.

    rows: of `evaluation.classification.calibration`.
    predicted, observed: what the axes are called.
    """
    figure = new_figure(5.2, 5.6)
    shares, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    low, high = rows[0]["low"], rows[-1]["high"]
    shares.plot([low, high], [low, high], color="#888888", linestyle="--", label="calibrated")
    shares.plot(
        [row["predicted"] for row in rows],
        [row["observed"] for row in rows],
        color=_LINE, marker="o", linewidth=1.6, label="observed",
    )  # fmt: skip
    shares.set_ylim(-0.03, 1.03)
    shares.set_ylabel(observed)
    shares.legend(frameon=False, fontsize=8.5)
    counts.bar(
        [(row["low"] + row["high"]) / 2 for row in rows],
        [row["rows"] for row in rows],
        width=[0.9 * (row["high"] - row["low"]) for row in rows],
        color=_BARS,
    )
    counts.set_ylabel("rows")
    counts.set_xlabel(predicted)
    for axes in (shares, counts):
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()

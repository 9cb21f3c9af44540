"""A figure to draw on."""

from __future__ import annotations

from typing import Any


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib Figure of so many inches, for files alone.

    Figure and not pyplot: no global state, and no display is ever looked for. matplotlib is imported here, when there
    is something to draw: a run's first step should not wait for it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    return figure

"""Pictures of results: PNG for pages, text for terminals.

A measurement that is not finite, as the loss of a training that has diverged, has no place on an axis: it is
left out. matplotlib and plotext are imported when a picture is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lepton.compression.v1 import compression_pb2
from lepton.job.v1 import job_pb2

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INK = "#1f2933"
COLOURS = ("#2563eb", "#d97706", "#059669", "#b91c1c", "#7c3aed", "#0891b2")
TERMINAL_SIZE = (72, 15)
TERMINAL_MARKERS = "·x+o"
TERMINAL_TICKS = 6
FARTHEST = 1e100
"""Values beyond it would overflow while an axis is laid out."""


@dataclass(frozen=True)
class Curve:
    """What can be drawn of a series."""

    name: str
    steps: list[int]
    values: list[float]


def _panels(metrics: Sequence[job_pb2.MetricSeries]) -> dict[str, list[Curve]]:
    """Curves that share an axis: `loss` with `validation_loss`, and so on."""
    panels: dict[str, list[Curve]] = {}
    for series in metrics:
        points = [point for point in series.points if drawable(point.value)]
        if points:
            curve = Curve(series.name, [point.step for point in points], [point.value for point in points])
            panels.setdefault(series.name.removeprefix("validation_"), []).append(curve)
    return panels


def drawable(value: float) -> bool:
    """Whether a value has a place on an axis."""
    return abs(value) < FARTHEST  # NaN is not.


def curves_png(metrics: Sequence[job_pb2.MetricSeries], *, title: str = "") -> bytes:
    """Metrics over their steps, one panel for each quantity, as a PNG."""
    panels = _panels(metrics)
    figure = new_figure(4.6 * max(len(panels), 1), 3.2, title)
    for place, (quantity, group) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for colour, curve in zip(COLOURS, group, strict=False):
            marker = "o" if len(curve.steps) < 40 else None
            axes.plot(
                curve.steps,
                curve.values,
                color=colour,
                label=curve.name,
                marker=marker,
                markersize=3,
                linewidth=1.6,
            )
        axes.set_title(quantity.replace("_", " "), fontsize=10, color=INK)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(group) > 1:
            axes.legend(frameon=False, fontsize=8)
    return png(figure)


def curves_text(metrics: Sequence[job_pb2.MetricSeries]) -> str:
    """The same for a terminal; empty where there is nothing to draw."""
    import plotext

    drawn = []
    for group in _panels(metrics).values():
        figure = plotext.figure
        figure.clear()
        figure.theme("colorless")
        figure.plot_size(*TERMINAL_SIZE)
        for curve, marker in zip(group, TERMINAL_MARKERS, strict=False):
            figure.draw(figure.signal(curve.steps, curve.values, marker=marker).lines())
        figure.ruler("x").ticks(_ticks([step for curve in group for step in curve.steps]))
        # A legend inside so small a picture would hide the curves.
        legend = zip(TERMINAL_MARKERS, group, strict=False)
        figure.title("   ".join(f"{marker} {curve.name}" for marker, curve in legend))
        drawn.append(plotext.uncolorize(str(figure.build())))
    return "\n".join(drawn)


def _ticks(steps: Sequence[int]) -> list[int]:
    """Some whole steps, evenly from the first to the last: there is no epoch 2.5."""
    first, last = min(steps), max(steps)
    return sorted({first + (last - first) * place // TERMINAL_TICKS for place in range(TERMINAL_TICKS + 1)})


def candidates_png(candidates: Sequence[compression_pb2.Candidate]) -> bytes:
    """Size, score and latency of every compression candidate, as a PNG."""
    names = [candidate.name for candidate in candidates]
    metric = candidates[0].metric if candidates else ""
    quantities = {
        "kilobytes": [candidate.size_bytes / 1000 for candidate in candidates],
        metric or "score": [candidate.score for candidate in candidates],
        "ms for 1 record": [candidate.latency_ms for candidate in candidates],
    }
    colours = [COLOURS[2] if candidate.selected else "#9aa5b1" for candidate in candidates]
    figure = new_figure(10, 3, "")
    for place, (quantity, values) in enumerate(quantities.items()):
        axes = figure.add_subplot(1, len(quantities), place + 1)
        heights = [value if drawable(value) else 0.0 for value in values]
        bars = axes.bar(names, heights, color=colours, width=0.6)
        axes.bar_label(bars, [f"{value:.3g}" for value in values], fontsize=8, padding=2)
        axes.set_title(quantity, fontsize=10, color=INK)
        axes.margins(y=0.18)
        axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def images_png(images: NDArray[Any], captions: Sequence[str], *, columns: int = 12) -> bytes:
    """A grid of grey images [n, height, width, 1] with a caption under each, as a PNG."""
    rows = max(-(-len(images) // columns), 1)
    figure = new_figure(columns * 0.9, rows * 1.15, "")
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(image[..., 0], cmap="gray_r", interpolation="nearest")
        axes.set_title(caption, fontsize=8, color=INK)
        axes.set_axis_off()
    return png(figure)


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure of this many inches."""
    # The object interface draws without a display and without pyplot's global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11, color=INK)
    return figure


def png(figure: Figure) -> bytes:
    """A figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()

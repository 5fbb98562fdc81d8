"""Pictures of an evaluation, as PNG.

What is null in the document, or no number in the history, has no place on an axis: it is left out.
"""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lepton_learn.scores.report import Document

INK, FAINT = "#1f2933", "#9aa5b1"
BLUE, ORANGE, GREEN = "#2563eb", "#d97706", "#059669"
_MOST_NUMBERED = 30
"""Classes of a confusion matrix whose cells are numbered."""
_MOST_NAMED = 60
"""Classes whose names fit beside the axes."""
_LONGEST_NAME = 24
_FARTHEST = 1e100
"""Values beyond it would overflow while an axis is laid out."""


def draw(document: Document | None, history: Sequence[Mapping[str, float]]) -> dict[str, bytes]:
    """All pictures that there are of an evaluation and the epochs before it, PNG by name."""
    figures = {"learning_curves": _learning_curves(history)}
    if document is None:
        return {name: _png(figure) for name, figure in figures.items()}
    if document["task"] == "classification":
        if document["confusion"] is not None:
            figures["confusion"] = _confusion(document)
        figures["calibration"] = _calibration(document)
        if document.get("binary"):
            figures["roc"] = _roc(document)
    elif document["task"] == "forecast":
        figures["forecasts"] = _forecasts(document)
    else:
        figures["predictions"] = _predictions(document)
    if document["slices"]:
        figures["slices"] = _slices(document)
    return {name: _png(figure) for name, figure in figures.items()}


def _learning_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """One panel for each quantity, with its curve in training and in validation."""
    names = sorted({name for figures in history for name in figures})
    quantities = sorted({name.removeprefix("validation_") for name in names}, key=lambda name: name != "loss")
    figure = _figure(4.6 * len(quantities), 3.3)
    for place, quantity in enumerate(quantities):
        axes = _axes(figure, 1, len(quantities), place + 1, title=quantity.replace("_", " "))
        for name, label, colour in (
            (quantity, "training", BLUE),
            (f"validation_{quantity}", "validation", ORANGE),
        ):
            points = [
                (epoch, figures[name])
                for epoch, figures in enumerate(history, 1)
                if abs(figures.get(name, math.nan)) < _FARTHEST
            ]
            if points:
                marker = "o" if len(points) < 40 else None
                axes.plot(*zip(*points, strict=True), color=colour, label=label, marker=marker, markersize=3)
                axes.legend(frameon=False, fontsize=8)
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _confusion(document: Document) -> Figure:
    """The confusion matrix, each row coloured by its shares."""
    names = [_short(each["name"]) for each in document["classes"]]
    counts = np.array(document["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(0.48 * len(names), 2.6), 11)
    figure = _figure(side + 2.2, side + 1.2)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= _MOST_NUMBERED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.55 else INK
            axes.text(
                column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=8
            )
    if len(names) <= _MOST_NAMED:
        size = 9 if len(names) <= _MOST_NUMBERED else 6
        slanted = max(map(len, names)) > 3
        axes.set_xticks(
            range(len(names)),
            names,
            fontsize=size,
            rotation=45 if slanted else 0,
            ha="right" if slanted else "center",
            rotation_mode="anchor" if slanted else None,
        )
        axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    axes.set_title(f"accuracy {document['figures']['accuracy']:.1%}", fontsize=10, color=INK)
    bar = figure.colorbar(image, format=PercentFormatter(1, decimals=0), shrink=0.8)
    bar.set_label("of the row", fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    return figure


def _calibration(document: Document) -> Figure:
    """How often answers were right by how sure the model was of them, and how many there are of each."""
    bins = [each for each in document["calibration"] if each["records"]]
    figure = _figure(4.8, 5)
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    error = document["figures"]["calibration_error"]
    _dress(upper, title="" if error is None else f"calibration error {error:.1%}")
    _dress(lower)
    upper.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1, label="perfect")
    upper.plot(
        [each["confidence"] for each in bins],
        [each["accuracy"] for each in bins],
        color=BLUE,
        marker="o",
        markersize=4,
        label="the model",
    )
    upper.set_ylabel("share that was right", fontsize=9)
    upper.set(xlim=(0, 1), ylim=(0, 1.02))
    upper.legend(frameon=False, fontsize=8, loc="upper left")
    lower.bar(
        [each["above"] for each in bins],
        [each["records"] for each in bins],
        width=[each["up_to"] - each["above"] for each in bins],
        align="edge",
        color=BLUE,
        edgecolor="white",
    )
    lower.set_xlabel("probability of the predicted class", fontsize=9)
    lower.set_ylabel("records", fontsize=9)
    return figure


def _roc(document: Document) -> Figure:
    """The ROC curve and the one of precision and recall, with the best thresholds on them."""
    binary, figures = document["binary"], document["figures"]
    points, thresholds = binary["roc"], binary["thresholds"]
    figure = _figure(9, 4.4)
    curves = (
        (
            "false_positive_rate",
            "true_positive_rate",
            f"ROC: area {figures['roc_auc']:.3f}",
            thresholds["youden"],
        ),
        (
            "true_positive_rate",
            "precision",
            f"average precision {figures['average_precision']:.3f}",
            thresholds["f1"],
        ),
    )
    share = document["classes"][1]["records"] / document["records"]
    chances = ([0, 1], [share, share])
    for place, (x, y, title, best) in enumerate(curves):
        axes = _axes(figure, 1, 2, place + 1, title=title)
        axes.plot([0, 1], chances[place], color=FAINT, linestyle="--", linewidth=1, label="chance")
        axes.plot([point[x] for point in points], [point[y] for point in points], color=BLUE, linewidth=1.8)
        told = "nothing" if best["threshold"] is None else f"from {best['threshold']:.3g}"
        kind = "Youden" if place == 0 else "F1"
        axes.plot(best[x], best[y], "o", color=ORANGE, label=f"best {kind}: {told}")
        axes.set_xlabel("false positive rate" if place == 0 else "recall", fontsize=9)
        axes.set_ylabel("true positive rate" if place == 0 else "precision", fontsize=9)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.legend(frameon=False, fontsize=8, loc="lower right" if place == 0 else "lower left")
    figure.suptitle(f"probability of {_short(binary['positive'])}", fontsize=11, color=INK)
    return figure


def _predictions(document: Document) -> Figure:
    """Predicted against true values, and the residuals of the sample."""
    truth, predictions = (np.array(document["sample"][name], np.float64) for name in ("truth", "predictions"))
    drawable = (np.abs(truth) < _FARTHEST) & (np.abs(predictions) < _FARTHEST)
    truth, predictions = truth[drawable], predictions[drawable]
    figure = _figure(9, 4.2)
    left = _axes(figure, 1, 2, 1, title=_said(document, "r2", "R²"))
    left.scatter(truth, predictions, s=12, color=BLUE, alpha=0.45, linewidths=0)
    if len(truth):
        ends = [truth.min(), truth.max()]
        left.plot(ends, ends, color=INK, linestyle="--", linewidth=1, label="perfect")
        left.legend(frameon=False, fontsize=8, loc="upper left")
    left.set_xlabel(f"true {_short(document['label'])}", fontsize=9)
    left.set_ylabel("predicted", fontsize=9)
    right = _axes(figure, 1, 2, 2, title=_said(document, "mae", "mean absolute error"))
    right.hist(predictions - truth, bins=min(40, max(8, len(truth) // 12)), color=BLUE, edgecolor="white")
    right.axvline(0, color=INK, linestyle="--", linewidth=1)
    for each in document["residuals"]["quantiles"]:
        if each["share"] in (0.05, 0.95) and each["value"] is not None:
            right.axvline(each["value"], color=ORANGE, linewidth=1.2)
    right.set_xlabel("predicted less true; in between the orange lines nine of ten", fontsize=9)
    right.set_ylabel("records", fontsize=9)
    return figure


def _forecasts(document: Document) -> Figure:
    """How far off each row was, beside the repeated last season, and how much came below each quantile."""
    figure = _figure(9.6, 4)
    left = _axes(figure, 1, 2, 1, title=_said(document, "mae", "mean absolute error"))
    steps = [each["step"] for each in document["steps"]]
    for name, label, colour in (("naive_mae", "last season repeated", FAINT), ("mae", "median", BLUE)):
        values = [each[name] if _fits(each[name]) else math.nan for each in document["steps"]]
        left.plot(steps, values, color=colour, label=label, marker="o", markersize=3)
    left.set_xlabel("rows ahead", fontsize=9)
    left.set_ylim(bottom=0)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(frameon=False, fontsize=8)
    right = _axes(figure, 1, 2, 2, title=_said(document, "coverage", "between the outermost quantiles"))
    right.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1, label="perfect")
    shares = [(each["quantile"], each["below"]) for each in document["quantiles"]]
    right.plot(*zip(*shares, strict=True), color=BLUE, marker="o", markersize=4, label="model")
    right.set_xlabel("quantile", fontsize=9)
    right.set_ylabel("share of what came that was at most that", fontsize=9)
    right.legend(frameon=False, fontsize=8)
    return figure


def _slices(document: Document) -> Figure:
    """One row of panels for each slice column: the headline figure and, of two classes, the rates."""
    names = (
        ["accuracy", "selection_rate", "true_positive_rate", "false_positive_rate"]
        if "binary" in document
        else ["accuracy" if document["task"] == "classification" else "mae"]
    )
    columns = document["slices"]
    heights = [1.1 + 0.26 * len(column["slices"]) for column in columns]
    figure = _figure(2.2 + 2.9 * len(names), sum(heights))
    grid = figure.add_gridspec(len(columns), len(names), height_ratios=heights)
    for row, column in enumerate(columns):
        slices = column["slices"][::-1]
        for panel, name in enumerate(names):
            axes = figure.add_subplot(grid[row, panel])
            _dress(axes, title=name.replace("_", " "))
            known = [
                (place, each["figures"][name], each["small"])
                for place, each in enumerate(slices)
                if each["figures"][name] is not None
            ]
            if known:
                rows, values, small = zip(*known, strict=True)
                axes.barh(rows, values, color=[FAINT if each else BLUE for each in small], height=0.62)
            overall = document["figures"][name]
            if overall is not None:
                axes.axvline(overall, color=ORANGE, linewidth=1.2)
            if name != "mae":
                axes.set_xlim(0, 1)
            axes.set_ylim(-0.6, len(slices) - 0.4)
            axes.grid(axis="y", visible=False)
            labels = [f"{_short(each['value'])}  ({each['records']:,})" for each in slices]
            axes.set_yticks(range(len(slices)), labels if panel == 0 else [], fontsize=8)
            if panel == 0:
                axes.set_ylabel(_short(column["column"]), fontsize=10, color=INK)
    figure.supxlabel("orange: all records; grey: too few records to say much", fontsize=8, color=FAINT)
    return figure


def _fits(value: float | None) -> bool:
    return value is not None and abs(value) < _FARTHEST


def _said(document: Document, name: str, words: str) -> str:
    value = document["figures"][name]
    return "" if value is None else f"{words} {value:.4g}"


def _short(name: str) -> str:
    # A dollar would begin a formula.
    name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return name.replace("$", r"\$")


def _axes(figure: Figure, rows: int, columns: int, place: int, *, title: str) -> Axes:
    axes = figure.add_subplot(rows, columns, place)
    _dress(axes, title=title)
    return axes


def _dress(axes: Axes, *, title: str = "") -> None:
    axes.set_title(title, fontsize=10, color=INK)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _figure(width: float, height: float) -> Figure:
    # The object interface draws without a display and without pyplot's global state.
    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()

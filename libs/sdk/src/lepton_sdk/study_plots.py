"""A study as a picture: what its trials came to, which parameters mattered, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lepton.training.v1 import study_pb2
from lepton_sdk.plots import COLOURS, INK, drawable, new_figure, png
from lepton_sdk.studies import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_SLICES = 8
"""Parameters that are drawn against the value."""
MOST_COLUMNS = 4
TRIAL_MARKS = (
    (study_pb2.TRIAL_STATE_PRUNED, "#9aa5b1", "given up"),
    (study_pb2.TRIAL_STATE_SUCCEEDED, COLOURS[0], "trial"),
)


def study_png(study: study_pb2.Study) -> bytes:
    """Values by trial, what each parameter had to do with them, and how, the weightiest first, as a PNG."""
    valued = [trial for trial in study.trials if trial.HasField("value") and drawable(trial.value)]
    paths = [parameter.path for parameter in study.spec.parameters]
    paths.sort(key=lambda path: -study.importances.get(path, 0.0))
    sliced = paths[:MOST_SLICES] if valued else []
    columns = max(2 if study.importances else 1, min(len(sliced), MOST_COLUMNS))
    rows = 1 + -(-len(sliced) // columns)
    figure = new_figure(3.8 * columns, 3.0 * rows, study.name)
    _draw_history(figure.add_subplot(rows, columns, 1), study, valued)
    if study.importances:
        axes = _plain(figure.add_subplot(rows, columns, 2), "importance")
        ranked = paths[:MOST_SLICES][::-1]
        axes.barh(ranked, [study.importances.get(path, 0.0) for path in ranked], color=COLOURS[2], height=0.6)
    for place, path in enumerate(sliced):
        axes = _plain(figure.add_subplot(rows, columns, columns + place + 1), path)
        _draw_slice(axes, study, path, valued)
    return png(figure)


def _draw_history(axes: Axes, study: study_pb2.Study, valued: Sequence[study_pb2.Trial]) -> None:
    _plain(axes, study.spec.objective.metric.replace("_", " ") or "value")
    for state, colour, name in TRIAL_MARKS:
        trials = [trial for trial in valued if trial.state == state]
        if trials:
            numbers = [trial.number for trial in trials]
            axes.scatter(numbers, [trial.value for trial in trials], s=14, color=colour, label=name)
    best = next((series for series in study.status.metrics if series.name == "best_value"), None)
    points = [point for point in best.points if drawable(point.value)] if best is not None else []
    if points:
        steps, values = [point.step for point in points], [point.value for point in points]
        axes.step(steps, values, where="post", color=COLOURS[1], linewidth=1.6, label="best so far")
    if valued:
        axes.legend(frameon=False, fontsize=8)


def _draw_slice(axes: Axes, study: study_pb2.Study, path: str, valued: Sequence[study_pb2.Trial]) -> None:
    domain = next(parameter for parameter in study.spec.parameters if parameter.path == path)
    if domain.WhichOneof("domain") == "choice":
        names = [str(setting(value)) for value in domain.choice.values]
        places = [float(names.index(str(setting(trial.parameters[path])))) for trial in valued]
        axes.set_xlim(-0.5, len(names) - 0.5)
        # What all have in common, as ACTIVATION_ of its values, tells nothing.
        axes.set_xticks(range(len(names)), [name.rpartition("_")[2].lower() for name in names], fontsize=8)
    else:
        places = [trial.parameters[path].number_value for trial in valued]
        if domain.real.log or domain.integer.log:
            axes.set_xscale("log")
    colours = [COLOURS[1] if trial.number == study.best_trial else COLOURS[0] for trial in valued]
    axes.scatter(places, [trial.value for trial in valued], s=14, color=colours)


def _plain(axes: Axes, title: str) -> Axes:
    axes.set_title(title, fontsize=10, color=INK)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return axes

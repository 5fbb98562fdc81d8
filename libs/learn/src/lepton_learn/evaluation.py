"""How good a model is, measured on records it has not learnt from."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lepton_learn.examples import Examples
from lepton_learn.scores.classification import accuracy, top_accuracy
from lepton_learn.scores.forecasting import forecast_figures
from lepton_learn.scores.regression import regression_figures
from lepton_learn.scores.report import Document, classification_report, forecast_report, regression_report
from lepton_learn.task import Classification, Forecast, Task
from lepton_learn.two_tower import RECALLS, Retrieval

_BATCH = 256
_TOLD_BY_EPOCH = ("quantile_loss", "mae", "mae_ratio")
"""Of forecasts: what the repeated last season is off by is the same after each epoch."""


class Evaluator:
    """Measures one model again and again; its step is compiled once."""

    def __init__(self, model: keras.Model, task: Task) -> None:
        """Measure `model`, whatever its weights will be."""
        self._task = task

        def step(inputs: Any, labels: Any) -> Any:
            outputs = model(inputs, training=False)
            return task.losses(labels, outputs), task.answers(outputs)

        self._step = tf.function(step)

    def answers(self, examples: Examples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The loss [n] and the answer [n, ...] for each record, in order."""
        count = len(examples)
        size = min(_BATCH, count)
        losses, answers = [], []
        for start in range(0, count, size):
            # The last batch is filled up with its last record, so that all have one shape.
            places = np.minimum(np.arange(start, start + size), count - 1)
            loss, answer = self._step(*examples.take(places))
            losses.append(loss.numpy()[: count - start])
            answers.append(answer.numpy()[: count - start])
        return np.concatenate(losses), np.concatenate(answers)

    def measure(self, examples: Examples) -> dict[str, float]:
        """The figures of a split of at least one record.

        Returns:
            `loss`, with `accuracy` for a classification, and `recall_at_10` and `recall_at_50` for a
            recommendation; with `mse`, `mae` and `r2`, in the label's own unit, for a regression; with
            `quantile_loss`, `mae` and `mae_ratio` for forecasts.
        """
        losses, answers = self.answers(examples)
        figures = {"loss": float(losses.mean(dtype=np.float64))}
        if isinstance(self._task, Classification):
            figures["accuracy"] = accuracy(examples.labels, answers)
            return figures | _recalls(self._task, examples, answers)
        if isinstance(self._task, Forecast):
            found = forecast_figures(*_windows(examples), answers, self._task.series)
            return figures | {name: found[name] for name in _TOLD_BY_EPOCH if name in found}
        return figures | regression_figures(_truth(self._task, examples), answers[:, 0])


def report(
    model: keras.Model,
    task: Task,
    examples: Examples,
    *,
    classes: tuple[str, ...],
    slices: Mapping[str, NDArray[Any]],
) -> Document:
    """All that there is to say of a split of at least one record.

    Args:
        model: what is measured.
        task: judges its outputs.
        examples: the split, of n records.
        classes: names of the label's classes; empty for a regression.
        slices: the raw columns to tell records apart by, [n] each; windows of series have none.

    Returns:
        As `lepton_learn.scores.report` describes, without `format`, `split` and `label`.
    """
    losses, answers = Evaluator(model, task).answers(examples)
    if isinstance(task, Classification):
        document = classification_report(examples.labels, answers, losses, classes=classes, slices=slices)
        document["figures"] |= _recalls(task, examples, answers)
        return document
    if isinstance(task, Forecast):
        return forecast_report(*_windows(examples), answers, losses, series=task.series)
    return regression_report(_truth(task, examples), answers[:, 0], losses, slices=slices)


def _recalls(task: Task, examples: Examples, answers: NDArray[np.float32]) -> dict[str, float]:
    """Of recommendations `recall_at_10` and so on: how often the right item is among so many best ones."""
    if not isinstance(task, Retrieval):
        return {}
    return {
        f"recall_at_{most}": top_accuracy(examples.labels, answers, most=most)
        for most in RECALLS
        if most < answers.shape[1]
    }


def _windows(examples: Examples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Windows and what came after them, which are not transformed: they are in the label's own unit."""
    return examples.take(np.arange(len(examples)))


def _truth(task: Task, examples: Examples) -> NDArray[np.float64]:
    """The labels of a regression in their own unit, [n]."""
    return np.asarray(task.answers(examples.labels.astype(np.float64)))

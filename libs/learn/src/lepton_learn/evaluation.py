"""How good a model is, measured on records it has not learnt from."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lepton_learn.examples import Examples
from lepton_learn.task import Classification, Task

_BATCH = 256
_MOST_CLASSES_TOLD = 200
"""A model version holds at most 256 figures."""


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
        """The loss [n] and the answer [n, classes or 1] for each record, in order."""
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
            `loss`, with `accuracy` for a classification; with `mse`, `mae` and `r2`, in the label's own unit,
            for a regression.
        """
        losses, answers = self.answers(examples)
        figures = {"loss": float(losses.mean(dtype=np.float64))}
        if isinstance(self._task, Classification):
            return figures | {"accuracy": accuracy(examples.labels, answers)}
        truth = np.asarray(self._task.answers(examples.labels.astype(np.float64)))
        return figures | regression_figures(truth, answers[:, 0])


def evaluate(
    model: keras.Model, task: Task, examples: Examples, *, classes: tuple[str, ...]
) -> dict[str, float]:
    """All figures of a split of at least one record.

    Returns:
        As `Evaluator.measure`; for a classification of up to 200 classes also `accuracy/<class>`, the share
        of the class's records that were recognised.
    """
    evaluator = Evaluator(model, task)
    figures = evaluator.measure(examples)
    if 0 < len(classes) <= _MOST_CLASSES_TOLD:
        _, answers = evaluator.answers(examples)
        figures |= accuracy_by_class(examples.labels, answers, classes=classes)
    return figures


def accuracy(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """The share of records [n] whose most probable class [n, classes] is the right one."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def accuracy_by_class(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], *, classes: tuple[str, ...]
) -> dict[str, float]:
    """`accuracy/<class>` of every class that occurs among the labels."""
    right = probabilities.argmax(axis=1) == labels
    return {
        f"accuracy/{name}": float(right[labels == place].mean())
        for place, name in enumerate(classes)
        if (labels == place).any()
    }


def regression_figures(truth: NDArray[np.float64], predictions: NDArray[np.float32]) -> dict[str, float]:
    """Mean squared error, mean absolute error and the share of the variance explained, of values [n].

    Where the truth does not vary, `r2` is 0: nothing is there to be explained.
    """
    errors = predictions.astype(np.float64) - truth
    variance = float(truth.var())
    mse = float((errors**2).mean())
    return {
        "mse": mse,
        "mae": float(np.abs(errors).mean()),
        "r2": 1 - mse / variance if variance > 0 else 0.0,
    }

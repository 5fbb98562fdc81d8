"""The evaluation of a trained model: figures for its version, and files to lie beside it.

evaluation.json             Everything; `lepton_learn.scores.report` describes it.
plots/*.png                 The same to look at, with the learning curves.
tensorboard/events.out...   The learning curves and the headline figures, for TensorBoard.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import keras

from lepton_learn import evaluation
from lepton_learn.examples import Examples
from lepton_learn.loop import Outcome
from lepton_learn.manifest import Split
from lepton_learn.schema import Batch
from lepton_learn.scores.report import FORMAT, Document, headline
from lepton_learn.task import Task
from lepton_learn.transform import FittedTransform
from lepton_trainer.worker.event_file import EVENTS, Scalar, event_file
from lepton_trainer.worker.plots import draw

EVALUATION = "evaluation.json"

_VALIDATION = "validation_"


@dataclass(frozen=True)
class Evaluation:
    """How good a model is."""

    files: Mapping[str, bytes]
    """By path."""
    metrics: Mapping[str, float]
    """Figures of the test split; without one, of the validation split, prefixed `validation_`."""


def evaluate(
    model: keras.Model,
    task: Task,
    examples: Mapping[Split, Examples],
    *,
    transform: FittedTransform,
    slices: Callable[[Split], Batch],
    outcome: Outcome,
) -> Evaluation:
    """Measure a model on what it has not learnt from.

    Args:
        model: trained.
        task: judges its outputs.
        examples: all splits. Of the test and the validation split the first that has records is measured; if
            none has any, the learning curves are all that is told.
        transform: the dataset's.
        slices: gives the raw slice columns of a split.
        outcome: how the training went.
    """
    split = next((split for split in (Split.TEST, Split.VALIDATION) if len(examples[split])), None)
    document, metrics, files = None, {}, {}
    if split is not None:
        measured = evaluation.report(
            model, task, examples[split], classes=transform.classes, slices=slices(split)
        )
        document = {"format": FORMAT, "split": split.value, "label": transform.schema.label, **measured}
        prefix = "" if split is Split.TEST else _VALIDATION
        metrics = {prefix + name: value for name, value in headline(document).items()}
        files[EVALUATION] = json.dumps(document, allow_nan=False).encode()
    files |= {f"plots/{name}.png": png for name, png in draw(document, outcome.history).items()}
    files[f"tensorboard/{EVENTS}"] = event_file(_scalars(document, outcome))
    return Evaluation(files, metrics)


def _scalars(document: Document | None, outcome: Outcome) -> Iterator[Scalar]:
    """The curves of training and validation in one group for each quantity, and what was measured at last."""
    for epoch, figures in enumerate(outcome.history, 1):
        for name, value in figures.items():
            kind = "validation" if name.startswith(_VALIDATION) else "training"
            yield Scalar(f"{name.removeprefix(_VALIDATION)}/{kind}", epoch, value)
    if document is not None:
        for name, value in headline(document).items():
            yield Scalar(f"{document['split']}/{name}", outcome.best_epoch, value)

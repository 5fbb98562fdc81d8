"""The records that candidates are measured on, and what is right for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import SchemaViolation
from lepton_common.objects import ObjectStore
from lepton_learn.manifest import Manifest, Split
from lepton_learn.reading import read_split
from lepton_learn.schema import Batch
from lepton_learn.scores.forecasting import naive_quantile_loss, quantile_loss
from lepton_learn.series import HISTORY, Series
from lepton_learn.signature import raw_shape

Records = Mapping[str, NDArray[Any]]
"""Raw columns as an exported model takes them, by input name; the first axis is the records."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Records that the model has not learned from."""

    batch: Batch
    """Raw columns as they are stored."""
    records: Records
    """The features among them, as the exported model takes them."""
    labels: NDArray[Any]
    """Class places int64 [n], or quantities in the label's own unit [n], of series [n, horizon]."""
    classifies: bool
    """Whether the labels are classes."""
    series: Series | None = None
    """What the records are cut from, if it is time series."""

    @property
    def metric(self) -> str:
        """Name of the score."""
        if self.series is not None:
            return "negative_relative_quantile_loss"
        return "accuracy" if self.classifies else "negative_relative_error"

    def score(self, answers: NDArray[np.float32]) -> float:
        """How right the answers [n, classes], [n, 1] or [n, horizon, quantiles] are; higher is better.

        The share of classes that were right; or -mse / variance of the labels, which is R^2 - 1: 0 at best,
        -1 for always telling the mean; or the quantile loss as a share of that of repeating the last season,
        negative: 0 at best, -1 for being no better than that.
        """
        if self.series is not None:
            naive = naive_quantile_loss(self.records[HISTORY], self.labels, self.series)
            return -quantile_loss(self.labels, answers, self.series.quantiles) / (naive or 1.0)
        if self.classifies:
            return float((answers.argmax(axis=1) == self.labels).mean())
        labels = self.labels.astype(np.float64)
        errors = answers.reshape(-1).astype(np.float64) - labels
        return -float(np.mean(errors**2)) / (float(np.var(labels)) or 1.0)


def read_held_out(store: ObjectStore, manifest: Manifest) -> HeldOut:
    """The test split, or the validation split of a dataset that has none.

    Raises:
        SchemaViolation: the dataset version has neither, so nothing can be measured.
    """
    for split in (Split.TEST, Split.VALIDATION):
        if manifest.records(split):
            batch = read_split(store, manifest, split)
            classifies = bool(manifest.transform.classes)
            return HeldOut(
                batch=batch,
                records=as_inputs(manifest, batch),
                labels=manifest.transform.labels(batch) if classifies else batch[manifest.schema.label],
                classifies=classifies,
                series=manifest.schema.series,
            )
    raise SchemaViolation("the dataset version has no held-out records, so no candidate can be measured")


def calibration_records(
    store: ObjectStore, manifest: Manifest, count: int, *, splits: Sequence[Split] = (Split.TRAIN,)
) -> Records:
    """So many records, spread evenly over the first split that has any, as the exported model takes them."""
    split = next((split for split in splits if manifest.records(split)), splits[-1])
    batch = read_split(store, manifest, split)
    total = manifest.records(split)
    chosen = np.linspace(0, total - 1, min(count, total)).astype(np.int64)
    return as_inputs(manifest, {name: values[chosen] for name, values in batch.items()})


def as_inputs(manifest: Manifest, batch: Mapping[str, NDArray[Any]]) -> Records:
    """The raw feature columns in the shapes of the model's inputs."""
    return {
        column.name: batch[column.name].reshape(-1, *raw_shape(column)) for column in manifest.schema.features
    }

"""Preprocessing that is fitted once, on the training split, and from then on is part of the model.

The same `FittedTransform` feeds training (numpy, here) and is compiled into the exported graph
(`lepton_learn.transform_onnx`), with the same operations in the same precision, so training and serving
cannot differ. Numbers, images and tensors are computed in float32; integers in float64, because int64 does
not fit into float32.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import SchemaViolation
from lepton_learn.moments import Affine, Moments
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.vocabulary import Vocabulary, VocabularyBuilder

Fitted: TypeAlias = Affine | Vocabulary
"""What fitting found out about one column."""


@dataclass(frozen=True)
class FittedTransform:
    """How every column of a schema is turned into numbers."""

    schema: Schema
    """The columns."""
    fitted: Mapping[str, Fitted]
    """By column: an Affine for identity, normalize and standardize, a Vocabulary for one_hot and index."""

    @classmethod
    def fit(cls, schema: Schema, batches: Iterable[Mapping[str, NDArray[Any]]]) -> "FittedTransform":
        """Fit on raw records, one pass, one batch in memory.

        Moments are kept in float64 and those of images in exact integers; the same batches in the same order
        give the same transform to the last bit. A column whose values do not vary gets scale 1. Vocabularies
        are the column's declared values or else those seen, sorted (integers by size).

        Args:
            schema: the columns.
            batches: raw records; the values are finite (data-ingest rejects others).

        Raises:
            SchemaViolation: there is no record at all.
        """
        builders = {column.name: _builder(column) for column in schema.columns}
        records = 0
        for batch in batches:
            for name, builder in builders.items():
                builder.add(batch[name])
            records += len(batch[schema.label])
        if records == 0:
            raise SchemaViolation("the training split has no records to fit the transform on")
        return cls(schema, {column.name: _finish(column, builders[column.name]) for column in schema.columns})

    @property
    def classes(self) -> tuple[str, ...]:
        """The label that each place of the class axis stands for; empty for a regression."""
        fitted = self.fitted[self.schema.label]
        return tuple(map(str, fitted.values)) if isinstance(fitted, Vocabulary) else ()

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of what a model tells of one record: [classes], [horizon, quantiles], or [1]."""
        series = self.schema.series
        if series is not None:
            return (*self.schema.label_column.shape, len(series.quantiles))
        return (len(self.classes) or 1,)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one record of `inputs`."""
        shapes = [self.feature_shape(column) for column in self.schema.features]
        return shapes[0] if len(shapes) == 1 else (sum(int(np.prod(shape)) for shape in shapes),)

    def feature_shape(self, column: Column) -> tuple[int, ...]:
        """The shape of one transformed value of a feature column."""
        fitted = self.fitted[column.name]
        if isinstance(fitted, Vocabulary):
            return (len(fitted.values),) if column.transform is Transform.ONE_HOT else (1,)
        return column.shape or (1,)

    def features(self, batch: Mapping[str, NDArray[Any]]) -> Batch:
        """Transform raw feature columns.

        Returns:
            By column: float32 [n, *feature_shape]; int64 [n, 1] for an index. A value that is not in the
            vocabulary is all zero in one-hot and has the place after the last as an index.
        """
        return {column.name: self._feature(column, batch[column.name]) for column in self.schema.features}

    def inputs(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """What a model is fed: the only feature in its own shape, or else all, flattened and in a row.

        Returns:
            float32 [n, *input_shape].
        """
        features = [feature.astype(np.float32, copy=False) for feature in self.features(batch).values()]
        if len(features) == 1:
            return features[0]
        return np.concatenate([feature.reshape(len(feature), -1) for feature in features], axis=1)

    def labels(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Transform the raw label column.

        Returns:
            int64 [n], the class, for a classification; float32 [n] for a regression, [n, horizon] for
            series.

        Raises:
            SchemaViolation: a label is not among the classes.
        """
        column, values = self.schema.label_column, batch[self.schema.label]
        fitted = self.fitted[column.name]
        if isinstance(fitted, Affine):
            return fitted.apply(values)
        places = fitted.places(values)
        unknown = np.flatnonzero(places == len(fitted.values))
        if len(unknown):
            raise SchemaViolation(f"{values[unknown[0]]!r} is not one of the labels of {column.name!r}")
        return places

    def _feature(self, column: Column, values: NDArray[Any]) -> NDArray[Any]:
        fitted = self.fitted[column.name]
        if isinstance(fitted, Affine):
            return fitted.apply(values).reshape(len(values), *self.feature_shape(column))
        places = fitted.places(values)[:, np.newaxis]
        if column.transform is Transform.INDEX:
            return places
        one_hot: NDArray[np.float32] = np.equal(places, np.arange(len(fitted.values))).astype(np.float32)
        return one_hot

    def to_dict(self) -> dict[str, Any]:
        """The fitted parameters as JSON, without the schema."""
        return {name: fitted.to_dict() for name, fitted in self.fitted.items()}

    @classmethod
    def from_dict(cls, schema: Schema, document: Mapping[str, Any]) -> "FittedTransform":
        """The inverse of `to_dict`."""
        return cls(
            schema,
            {
                name: Vocabulary.from_dict(fitted) if "values" in fitted else Affine.from_dict(fitted)
                for name, fitted in document.items()
            },
        )

    def to_json(self) -> bytes:
        """Schema and parameters as canonical JSON: the `transform.json` that lies beside a model."""
        document = {"schema": self.schema.to_dict(), "transform": self.to_dict()}
        return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "FittedTransform":
        """The inverse of `to_json`."""
        document = json.loads(data)
        return cls.from_dict(Schema.from_dict(document["schema"]), document["transform"])


def _builder(column: Column) -> Moments | VocabularyBuilder:
    if column.transform in (Transform.ONE_HOT, Transform.INDEX):
        return VocabularyBuilder(column)
    return Moments(column)


def _finish(column: Column, builder: Moments | VocabularyBuilder) -> Fitted:
    if isinstance(builder, VocabularyBuilder):
        return builder.vocabulary()
    if column.transform is Transform.STANDARDIZE:
        return builder.standardize()
    if column.transform is Transform.NORMALIZE and column.type is ColumnType.IMAGE:
        return Affine(offset=np.zeros(()), scale=np.full((), 1 / 255), exact=False)
    if column.transform is Transform.NORMALIZE:
        return builder.normalize()
    return Affine(offset=np.zeros(()), scale=np.ones(()), exact=column.type is ColumnType.INTEGER)

"""The columns of a record, fully resolved: every type known, every transform chosen.

The contract's schema may leave types and transforms open; whoever resolves them (data-ingest) builds one of
these, and everything downstream, training and export alike, depends on nothing else.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from lepton_common.errors import FieldViolation, InvalidField
from lepton_learn.series import HISTORY, Series

if TYPE_CHECKING:
    # Services check schemas too, and do without numpy.
    from numpy.typing import NDArray

Batch: TypeAlias = "dict[str, NDArray[Any]]"
"""Raw records by column; the first axis of every array counts them. `ColumnType` names the dtypes."""


PROBABILITIES = "probabilities"
"""Name of a classifier's output, FP32 [batch, classes]."""
PREDICTION = "prediction"
"""Name of a regression's output, FP32 [batch, 1], in the label's own unit."""
MAX_ELEMENTS = 1 << 26
"""Elements of one image or tensor at most: an image of 64 MiB."""


class ColumnType(StrEnum):
    """What kind of values a column holds, and the dtype of its raw array over n records."""

    NUMBER = "number"
    """float32 [n]."""
    INTEGER = "integer"
    """int64 [n]."""
    CATEGORY = "category"
    """object [n], of str."""
    IMAGE = "image"
    """uint8 [n, height, width, channels]."""
    TENSOR = "tensor"
    """float32 [n, *shape]."""


class Transform(StrEnum):
    """How a raw value becomes what a model eats."""

    IDENTITY = "identity"
    NORMALIZE = "normalize"
    STANDARDIZE = "standardize"
    ONE_HOT = "one_hot"
    INDEX = "index"


_SCALING = frozenset({Transform.IDENTITY, Transform.NORMALIZE, Transform.STANDARDIZE})
_CODING = frozenset({Transform.ONE_HOT, Transform.INDEX})

FEATURE_TRANSFORMS: Mapping[ColumnType, frozenset[Transform]] = {
    ColumnType.NUMBER: _SCALING,
    ColumnType.INTEGER: _SCALING | _CODING,
    ColumnType.CATEGORY: _CODING,
    ColumnType.IMAGE: _SCALING,
    ColumnType.TENSOR: _SCALING,
}
"""The transforms a feature of each type may have."""

LABEL_TRANSFORMS: Mapping[ColumnType, frozenset[Transform]] = {
    ColumnType.NUMBER: _SCALING,
    ColumnType.INTEGER: _SCALING | {Transform.INDEX},
    ColumnType.CATEGORY: frozenset({Transform.INDEX}),
}
"""The transforms a label of each type may have; types that are not here cannot be a label."""


def default_transform(column_type: ColumnType, *, label: bool) -> Transform:
    """The transform of a column whose schema leaves it open.

    Images are normalised, numbers, integers and tensors standardised, categories one-hot. A label that is an
    integer or a category is indexed, which makes the task a classification; any other label stays as it is.
    """
    if label:
        indexed = column_type in (ColumnType.INTEGER, ColumnType.CATEGORY)
        return Transform.INDEX if indexed else Transform.IDENTITY
    if column_type is ColumnType.IMAGE:
        return Transform.NORMALIZE
    if column_type is ColumnType.CATEGORY:
        return Transform.ONE_HOT
    return Transform.STANDARDIZE


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column, resolved."""

    name: str
    """Name, unique in the schema; the name of the model's raw input."""
    type: ColumnType
    """Kind of value."""
    transform: Transform
    """How it is transformed."""
    shape: tuple[int, ...] = ()
    """Shape of one value: [height, width, channels] of images, any of tensors, empty for the rest."""
    values: tuple[str, ...] = ()
    """The values a category or integer column may have; empty allows any."""
    minimum: float | None = None
    """Smallest value allowed in a number or integer column."""
    maximum: float | None = None
    """Largest value allowed in a number or integer column."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON; what has its default is left out."""
        document: dict[str, Any] = {
            "name": self.name,
            "type": self.type.value,
            "transform": self.transform.value,
        }
        if self.shape:
            document["shape"] = list(self.shape)
        if self.values:
            document["values"] = list(self.values)
        if self.minimum is not None:
            document["minimum"] = self.minimum
        if self.maximum is not None:
            document["maximum"] = self.maximum
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Column":
        """The inverse of `to_dict`."""
        return cls(
            name=document["name"],
            type=ColumnType(document["type"]),
            transform=Transform(document["transform"]),
            shape=tuple(document.get("shape", ())),
            values=tuple(document.get("values", ())),
            minimum=document.get("minimum"),
            maximum=document.get("maximum"),
        )


@dataclass(frozen=True)
class Schema:
    """The columns of a record and which of them is learnt.

    Raises InvalidField, with one violation per fault, if the columns do not make a record that can be learnt
    from.
    """

    columns: tuple[Column, ...]
    """The columns, in order."""
    label: str
    """Name of the column that models learn to predict."""
    series: Series | None = None
    """What the records are cut from, if it is time series: then they are windows and what came after them."""

    def __post_init__(self) -> None:
        violations = _violations(self)
        if violations:
            detail = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
            raise InvalidField(f"the schema is not valid: {detail}", violations=violations)

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that a model sees, in order."""
        return tuple(column for column in self.columns if column.name != self.label)

    @property
    def label_column(self) -> Column:
        """The column that a model learns to predict."""
        return next(column for column in self.columns if column.name == self.label)

    @property
    def is_classification(self) -> bool:
        """Whether the label stands for one of several classes; otherwise it is a quantity."""
        return self.label_column.transform is Transform.INDEX

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        document = {"columns": [column.to_dict() for column in self.columns], "label": self.label}
        return document if self.series is None else {**document, "series": self.series.to_dict()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Schema":
        """The inverse of `to_dict`."""
        return cls(
            tuple(Column.from_dict(column) for column in document["columns"]),
            document["label"],
            Series.from_dict(document["series"]) if "series" in document else None,
        )


def _violations(schema: Schema) -> list[FieldViolation]:
    names = [column.name for column in schema.columns]
    violations = [
        FieldViolation(f"schema.columns[{place}].name", f"{name!r} is the name of two columns")
        for place, name in enumerate(names)
        if name in names[:place]
    ]
    if schema.label not in names:
        violations.append(FieldViolation("schema.label", f"{schema.label!r} is not one of the columns"))
    elif len(names) < 2:
        violations.append(FieldViolation("schema.columns", "there is no column besides the label"))
    for place, column in enumerate(schema.columns):
        for field, description in _faults(column, schema):
            violations.append(FieldViolation(f"schema.columns[{place}].{field}", description))
    if schema.series is not None and not violations:
        violations += _series_violations(schema, schema.series)
    return violations


def _series_violations(schema: Schema, series: Series) -> list[FieldViolation]:
    shapes = {column.name: column.shape for column in schema.columns if column.type is ColumnType.TENSOR}
    history, horizon = shapes.get(HISTORY, ()), shapes.get(schema.label, ())
    if len(schema.columns) != 2 or len(history) != 2 or len(horizon) != 1:
        description = (
            f"windows of series have two columns: {HISTORY!r} [window, channels] and the label [horizon]"
        )
        return [FieldViolation("schema.columns", description)]
    violations = []
    if not 0 < series.season < history[0]:
        description = f"must be at least 1 and less than the window, {history[0]}"
        violations.append(FieldViolation("schema.series.season", description))
    levels = series.quantiles
    rising = list(levels) == sorted(set(levels))
    if not levels or not rising or not all(0 < level < 1 for level in levels):
        violations.append(
            FieldViolation("schema.series.quantiles", "must rise, between 0 and 1, and be one at least")
        )
    return violations


def _faults(column: Column, schema: Schema) -> list[tuple[str, str]]:
    """The faults of one column as (field, description)."""
    faults, is_label = [], column.name == schema.label
    if not is_label and column.name in (PROBABILITIES, PREDICTION):
        faults.append(
            ("name", f"{column.name!r} is what a model calls its output; a feature needs another name")
        )
    allowed = (LABEL_TRANSFORMS if is_label else FEATURE_TRANSFORMS).get(column.type, frozenset())
    if schema.series is not None and column.type is ColumnType.TENSOR:
        # A model scales each window by itself: series of any level are alike to it.
        allowed = frozenset({Transform.IDENTITY})
    role = "label" if is_label else "feature"
    if not allowed:
        faults.append(("type", f"{column.name!r} is of type {column.type}, which cannot be the label"))
    elif column.transform not in allowed:
        choices = ", ".join(sorted(allowed))
        faults.append(
            (
                "transform",
                f"{column.transform} does not fit the {column.type} {role} {column.name!r}: {choices} do",
            )
        )
    if column.type is ColumnType.IMAGE and len(column.shape) != 3:
        faults.append(("shape", f"the image {column.name!r} needs a shape [height, width, channels]"))
    elif column.type is ColumnType.TENSOR and not column.shape:
        faults.append(("shape", f"the tensor {column.name!r} needs a shape"))
    elif column.type not in (ColumnType.IMAGE, ColumnType.TENSOR) and column.shape:
        faults.append(("shape", f"{column.name!r} is of type {column.type}, which has no shape"))
    if any(size < 1 for size in column.shape):
        faults.append(("shape", f"every size in the shape of {column.name!r} must be at least 1"))
    if math.prod(column.shape) > MAX_ELEMENTS:
        faults.append(("shape", f"one value of {column.name!r} may have at most {MAX_ELEMENTS} elements"))
    faults.extend(_value_faults(column))
    return faults


def _value_faults(column: Column) -> list[tuple[str, str]]:
    faults = []
    if column.values and column.type not in (ColumnType.CATEGORY, ColumnType.INTEGER):
        faults.append(("values", f"{column.name!r} is of type {column.type}, which has no list of values"))
    elif column.type is ColumnType.INTEGER and not all(_is_integer(value) for value in column.values):
        faults.append(("values", f"every value of the integer column {column.name!r} must be a whole number"))
    if len(set(column.values)) != len(column.values):
        faults.append(("values", f"a value of {column.name!r} is listed twice"))
    bounded = column.minimum is not None or column.maximum is not None
    if bounded and column.type not in (ColumnType.NUMBER, ColumnType.INTEGER):
        faults.append(("minimum", f"{column.name!r} is of type {column.type}, which has no bounds"))
    if column.minimum is not None and column.maximum is not None and column.minimum > column.maximum:
        faults.append(("minimum", f"the minimum of {column.name!r} is above its maximum"))
    return faults


def _is_integer(text: str) -> bool:
    try:
        return -(2**63) <= int(text) < 2**63
    except ValueError:
        return False

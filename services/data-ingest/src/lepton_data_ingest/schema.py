"""Schemas as users write them, with types, shapes and transforms left open, and their JSON form.
 The JSON form is the contract's (`lepton.dataset.v1.Schema` with the field names of the proto file), so that
service and worker can hand schemas to each other without this package knowing generated code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lepton_common.errors import FieldViolation, InvalidField
from lepton_data_ingest.series import DraftSeries
from lepton_learn.schema import Column, ColumnType, Schema, Transform, default_transform

_TYPE_PREFIX = "COLUMN_TYPE_"
_TRANSFORM_PREFIX = "TRANSFORM_"
_UNSPECIFIED = "UNSPECIFIED"

LABEL_NAMES = ("label", "target", "class")
"""A column of one of these names is the label when the schema does not name one; the first in this order."""


@dataclass(frozen=True, kw_only=True)
class DraftColumn:
    """A column of which some facts may still be open."""

    name: str
    """Name, unique in the schema."""
    type: ColumnType | None = None
    """Kind of value; None to infer it."""
    transform: Transform | None = None
    """How it is transformed; None for the type's default."""
    shape: tuple[int, ...] = ()
    """Shape of an image or a tensor; empty to take it from the first record."""
    values: tuple[str, ...] = ()
    """The values allowed; empty for any."""
    minimum: float | None = None
    """Smallest value allowed."""
    maximum: float | None = None
    """Largest value allowed."""

    def resolved(self, column_type: ColumnType, shape: Sequence[int], *, label: bool) -> Column:
        """The column with what was open filled in."""
        return Column(
            name=self.name,
            type=column_type,
            transform=self.transform or default_transform(column_type, label=label),
            shape=tuple(shape),
            values=self.values,
            minimum=self.minimum,
            maximum=self.maximum,
        )


@dataclass(frozen=True)
class DraftSchema:
    """A schema of which some facts may still be open."""

    columns: tuple[DraftColumn, ...] = ()
    """The columns; empty to take all that the sources have."""
    label: str = ""
    """Name of the label; empty for a column called `label`, `target` or `class`."""
    series: DraftSeries | None = None
    """How the rows make time series, if they do; then the columns are those of the rows."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "DraftSchema":
        """Read the contract's JSON form."""
        columns = tuple(_column(column) for column in document.get("columns", ()))
        series = DraftSeries.from_json(document["series"]) if "series" in document else None
        return cls(columns, document.get("label", ""), series)

    def check(self) -> None:
        """Refuse at once what no sources could make right.

        Raises:
            InvalidField: with a violation for each fault.
        """
        if self.series is not None:
            row_draft(self, self.series)
        elif self.columns:
            label = label_of(self, [column.name for column in self.columns])
            Schema(tuple(_plausible(column, label=column.name == label) for column in self.columns), label)


def row_draft(draft: DraftSchema, series: DraftSeries) -> DraftSchema:
    """The schema of the rows of time series: the time, the keys, the label, and what else is observed.

    Raises:
        InvalidField: no rows could make such series.
    """
    series.check(draft.label)
    about = (series.time_column, *series.key_columns)
    given = {column.name: column for column in draft.columns}
    violations = [
        FieldViolation(
            f"schema.columns[{place}]", f"{column.name!r} must be a number, and goes without a transform"
        )
        for place, column in enumerate(draft.columns)
        if column.name not in about
        and (
            column.type not in (None, ColumnType.NUMBER, ColumnType.INTEGER)
            or column.transform not in (None, Transform.IDENTITY)
            or column.values
        )
    ]
    if violations:
        raise InvalidField(
            f"the columns of series do not fit: {violations[0].description}", violations=violations
        )
    names = dict.fromkeys([draft.label, *given])
    observed = [
        replace(given.get(name, DraftColumn(name=name)), type=ColumnType.NUMBER, transform=Transform.IDENTITY)
        for name in names
        if name not in about
    ]
    texts = [DraftColumn(name=name, type=ColumnType.CATEGORY) for name in about]
    rows = DraftSchema((*texts, *observed), draft.label)
    rows.check()
    return rows


def label_of(draft: DraftSchema, names: Sequence[str]) -> str:
    """The name of the label.

    Args:
        draft: the schema.
        names: all columns there are.

    Raises:
        InvalidField: the schema names none, and no column is called like one.
    """
    if draft.label:
        return draft.label
    found = next((name for name in LABEL_NAMES if name in names), None)
    if found is None:
        description = (
            f"name the column to predict; none of {', '.join(names)} is called label, target or class"
        )
        raise InvalidField(
            f"the schema names no label: {description}",
            violations=[FieldViolation("schema.label", description)],
        )
    return found


def to_json(schema: Schema, series: DraftSeries | None = None) -> dict[str, Any]:
    """A resolved schema in the contract's JSON form; `series` is what its series are cut by."""
    columns = []
    for column in schema.columns:
        document = column.to_dict()
        document["type"] = _TYPE_PREFIX + column.type.name
        document["transform"] = _TRANSFORM_PREFIX + column.transform.name
        columns.append(document)
    whole: dict[str, Any] = {"columns": columns, "label": schema.label}
    if series is not None and schema.series is not None:
        whole["series"] = series.to_json(season=schema.series.season)
    return whole


def _column(document: Mapping[str, Any]) -> DraftColumn:
    type_name = document.get("type", "").removeprefix(_TYPE_PREFIX) or _UNSPECIFIED
    transform_name = document.get("transform", "").removeprefix(_TRANSFORM_PREFIX) or _UNSPECIFIED
    return DraftColumn(
        name=document["name"],
        type=None if type_name == _UNSPECIFIED else ColumnType[type_name],
        transform=None if transform_name == _UNSPECIFIED else Transform[transform_name],
        # JSON writes an int64 as text.
        shape=tuple(map(int, document.get("shape", ()))),
        values=tuple(document.get("values", ())),
        minimum=document.get("minimum"),
        maximum=document.get("maximum"),
    )


def _plausible(column: DraftColumn, *, label: bool) -> Column:
    """The column with something allowed put for what is open: whatever is wrong then is wrong in any case."""
    column_type = column.type or _plausible_type(column)
    shape = column.shape
    if not shape and column_type is ColumnType.IMAGE:
        shape = (1, 1, 1)
    elif not shape and column_type is ColumnType.TENSOR:
        shape = (1,)
    return column.resolved(column_type, shape, label=label)


def _plausible_type(column: DraftColumn) -> ColumnType:
    if column.shape:
        return ColumnType.IMAGE if len(column.shape) == 3 else ColumnType.TENSOR
    whole = all(value.removeprefix("-").isdigit() for value in column.values)
    # Every transform fits an integer.
    return ColumnType.INTEGER if whole else ColumnType.CATEGORY

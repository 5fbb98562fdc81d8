"""Time series as users describe them: how rows are read, and what the records become."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lepton_common.errors import FieldViolation, InvalidField
from lepton_learn.schema import Column, ColumnType, Schema, Transform
from lepton_learn.series import DEFAULT_QUANTILES, HISTORY, Series


@dataclass(frozen=True, kw_only=True)
class DraftSeries:
    """How rows make series, and how those are cut into windows."""

    time_column: str
    """The column that says when."""
    window: int
    """Rows that a forecast is made from."""
    horizon: int
    """Rows that are forecast."""
    key_columns: tuple[str, ...] = ()
    """The columns that tell one series from another."""
    time_format: str = ""
    """How times are written, as in strptime; empty for ISO 8601 and numbers."""
    stride: int = 1
    """Rows from the start of one window to that of the next."""
    season: int = 0
    """Rows after which the series repeats itself; 0 to find that out."""
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    """The quantiles that are forecast."""
    ignore_gaps: bool = False
    """Whether each row is one step after the one before, whatever time lies between."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "DraftSeries":
        """Read the contract's JSON form."""
        return cls(
            time_column=document["time_column"],
            window=document.get("window", 0),
            horizon=document.get("horizon", 0),
            key_columns=tuple(document.get("key_columns", ())),
            time_format=document.get("time_format", ""),
            stride=document.get("stride", 0) or 1,
            season=document.get("season", 0),
            quantiles=tuple(document.get("quantiles", ())) or DEFAULT_QUANTILES,
            ignore_gaps=document.get("ignore_gaps", False),
        )

    @property
    def length(self) -> int:
        """Rows of a window and what comes after it."""
        return self.window + self.horizon

    def check(self, label: str) -> None:
        """Refuse at once what no sources could make right.

        Raises:
            InvalidField: with a violation for each fault.
        """
        violations = []
        if not label:
            violations.append(FieldViolation("schema.label", "name the column to forecast"))
        elif label == HISTORY:
            description = f"{HISTORY!r} is what the windows are called; the label needs another name"
            violations.append(FieldViolation("schema.label", description))
        if self.time_column in (label, *self.key_columns):
            description = f"{self.time_column!r} is the label or a key too"
            violations.append(FieldViolation("schema.series.time_column", description))
        if label in self.key_columns:
            description = f"{label!r}, the label, cannot tell series apart"
            violations.append(FieldViolation("schema.series.key_columns", description))
        if violations:
            detail = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
            raise InvalidField(f"the series are not valid: {detail}", violations=violations)
        self.records([label], label, season=self.season or 1)

    def records(self, channels: Iterable[str], label: str, *, season: int) -> Schema:
        """The schema of the windows.

        Args:
            channels: the columns of a window; the label is the first.
            label: the column that is forecast.
            season: rows after which the series repeats itself.

        Raises:
            InvalidField: the season or the quantiles cannot be right.
        """
        channels = tuple(channels)
        shapes = {HISTORY: (self.window, len(channels)), label: (self.horizon,)}
        columns = tuple(
            Column(name=name, type=ColumnType.TENSOR, transform=Transform.IDENTITY, shape=shape)
            for name, shape in shapes.items()
        )
        series = Series(channels=channels, season=season, quantiles=self.quantiles)
        return Schema(columns, label, series)

    def to_json(self, *, season: int) -> dict[str, Any]:
        """The contract's JSON form, with what was found out."""
        return {**asdict(self), "season": season}


def check_splits(splits: Iterable[object]) -> None:
    """Refuse sources that fix a split; None is one that does not.

    Raises:
        InvalidField: one does.
    """
    if any(split is not None for split in splits):
        description = "series are divided by time: no source can fix a split"
        raise InvalidField(
            f"the sources do not fit: {description}",
            violations=[FieldViolation("spec.sources", description)],
        )

"""The records that were left out, and whether they are too many."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from lepton_common.errors import TooManyRejected
from lepton_data_ingest.formats.records import Fault
from lepton_data_ingest.sources import Group

MAX_TOLD = 100
"""So many rejected records are told one by one; the others are counted."""

_SHOWN = 3


@dataclass(frozen=True, order=True)
class Rejection:
    """A record that was left out. Rejections are in order of the sources, then of the records."""

    group: int
    """Number of the group of files it came from."""
    record: int
    """Its number in the file, from 0."""
    column: str
    """The column at fault; empty where the whole record is."""
    message: str
    """What is wrong and what was expected."""
    upload: str = field(compare=False)
    """Name of the upload it came from."""
    filename: str = field(compare=False)
    """The name of that file."""


class Rejections:
    """Counts rejected records and keeps the first."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Rejection] = []

    def add(self, group: Group, number: int, *, faults: Iterable[Fault], count: int) -> None:
        """Note the faults of some records of a group.

        Args:
            group: where they came from.
            number: which of the groups that is.
            faults: the first of them at least.
            count: how many there are.
        """
        self.count += count
        found = []
        for fault in faults:
            source = group.file_of(fault.column).source
            found.append(
                Rejection(number, fault.place, fault.column, fault.message, source.upload, source.filename)
            )
        self.first = heapq.nsmallest(MAX_TOLD, self.first + found) if found else self.first

    def check(self, *, records: int, max_fraction: float) -> None:
        """Refuse to go on with too many.

        Args:
            records: how many records there were, rejected ones included.
            max_fraction: share of them that may be rejected.

        Raises:
            TooManyRejected: more are.
        """
        if self.count <= max_fraction * records:
            return
        shown = [
            f"{rejection.filename} record {rejection.record}"
            + (f" column {rejection.column!r}" if rejection.column else "")
            + f": {rejection.message}"
            for rejection in self.first
        ]
        more = f"; and {self.count - _SHOWN} more" if self.count > _SHOWN else ""
        raise TooManyRejected(
            f"{self.count} of {records} records were rejected, over the allowed share of {max_fraction:g}: "
            + "; ".join(shown[:_SHOWN])
            + more,
            metadata={
                "rejected": str(self.count),
                "records": str(records),
                "max_rejected_fraction": f"{max_fraction:g}",
                **{f"rejection_{place}": text for place, text in enumerate(shown[:10])},
            },
        )

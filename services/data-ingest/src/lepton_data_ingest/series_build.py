"""Building a version of time series: rows in memory, put in order, cut into windows, divided by time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lepton_common.errors import SchemaViolation, TooLarge
from lepton_common.objects import ObjectStore
from lepton_data_ingest import windows
from lepton_data_ingest.formats.records import Fault
from lepton_data_ingest.inference import infer
from lepton_data_ingest.order import Order
from lepton_data_ingest.rejections import Rejections
from lepton_data_ingest.schema import DraftSchema, row_draft
from lepton_data_ingest.series import DraftSeries, check_splits
from lepton_data_ingest.sources import Group, open_group
from lepton_data_ingest.statistics import Statistics
from lepton_data_ingest.times import Clock
from lepton_data_ingest.validation import Records, check
from lepton_data_ingest.windows import Ordered, Rows
from lepton_data_ingest.writing import ShardWriter
from lepton_learn.manifest import Shard, Split
from lepton_learn.schema import Batch, Schema

MAX_ROWS = 20_000_000
"""Rows of a version at most: they are sorted in memory, where so many take about a gigabyte."""

_BETWEEN_KEYS = " / "


class SeriesBuild:
    """The state of one build of time series."""

    def __init__(
        self,
        order: Order,
        spec: DraftSeries,
        groups: Sequence[Group],
        *,
        store: ObjectStore,
        pool: ThreadPoolExecutor,
        progress: Callable[[str, int, int], None],
    ) -> None:
        """Read all rows and put them in order.

        Raises:
            LeptonError: the sources do not make series; the message names what was expected.
        """
        check_splits(group.split for group in groups)
        self.records = 0
        self.rejections = Rejections()
        self._order = order
        self._spec = spec
        self._groups = groups
        self._progress = progress
        self._label = order.schema.label
        read = self._read(row_draft(order.schema, spec))
        self._ordered = self._put_in_order(read)
        self._values = self._ordered.rows.values
        self._starts = windows.divide(self._ordered, spec, order.fractions)
        season = spec.season or windows.find_season(self._values[:, 0], self._starts[Split.TRAIN], spec)
        self.schema = spec.records(read.channels, self._label, season=season)
        self.statistics = Statistics(self.schema)
        prefix = f"datasets/{order.dataset}"
        self._writers = {split: ShardWriter(store, prefix, pool) for split in Split}

    def training(self) -> Iterator[Batch]:
        """All training windows, a batch at a time; those of the other splits are written on the way."""
        done, total = 0, sum(map(len, self._starts.values()))
        for split, starts in self._starts.items():
            for batch in windows.batches(self._values, starts, self._spec, label=self._label):
                self._writers[split].add(batch)
                if split is Split.TRAIN:
                    self.statistics.add(batch)
                    yield batch
                done += len(batch[self._label])
                self._progress("cutting", done, total)

    def finish(self) -> dict[Split, tuple[Shard, ...]]:
        """Write what is left."""
        return {split: writer.finish() for split, writer in self._writers.items()}

    def facts(self) -> dict[str, Any]:
        """What the series are like, as the contract's SeriesStatistics in JSON."""
        rows, step = self._ordered.rows, self._ordered.step
        assert self.schema.series is not None
        spans = []
        for split, starts in self._starts.items():
            if len(starts):
                first = rows.ticks[starts + self._spec.window].min()
                last = rows.ticks[starts + self._spec.length - 1].max()
                spans.append(
                    {
                        "split": f"SPLIT_{split.name}",
                        "first": rows.clock.write(int(first)),
                        "last": rows.clock.write(int(last)),
                    }
                )
        return {
            "series": len(np.unique(rows.series)),
            "rows": len(rows.ticks),
            "step": step.name(rows.clock) if step else "1 row",
            "gaps": self._ordered.gaps,
            "season": self.schema.series.season,
            "spans": spans,
        }

    def _read(self, draft: DraftSchema) -> "_Read":
        totals = [open_group(group, draft).total for group in self._groups]
        total = 0 if None in totals else sum(count or 0 for count in totals)
        sample = next(open_group(self._groups[0], draft).batches).columns
        read = _Read(infer(draft, sample), self._spec)
        for number, group in enumerate(self._groups):
            for batch in open_group(group, draft).batches:
                checked = check(batch, read.schema, file=group.first.source.filename)
                self.records += len(checked.records) + len(checked.faults)
                faults = [*checked.faults, *read.add(checked.records, number)]
                self.rejections.add(group, number, faults=faults, count=len(faults))
                if self.records > MAX_ROWS:
                    raise TooLarge(f"there are more than {MAX_ROWS} rows; split the series among datasets")
                self._progress("reading", self.records, total)
            for member in group.files.values():
                member.path.unlink()
        self._check_rejections()
        return read

    def _put_in_order(self, read: "_Read") -> Ordered:
        ordered = windows.put_in_order(read.rows(), self._spec)
        # First what is wrong in itself: it may be the reason for the rest.
        self._reject(ordered.faults, read)
        if len(ordered.rows.ticks) == 0:
            reason = next(iter(ordered.alone.values()), "no row is of use")
            raise SchemaViolation(f"no series is long enough to learn from: {reason}")
        self._reject(ordered.alone, read)
        return ordered

    def _reject(self, reasons: Mapping[int, str], read: "_Read") -> None:
        """Leave rows out that were read, and refuse to go on with too many."""
        groups, places = np.concatenate(read.groups), np.concatenate(read.places)
        by_group: dict[int, list[Fault]] = {}
        for row, reason in reasons.items():
            fault = Fault(int(places[row]), reason, self._spec.time_column)
            by_group.setdefault(int(groups[row]), []).append(fault)
        for number, faults in by_group.items():
            self.rejections.add(self._groups[number], number, faults=faults, count=len(faults))
        self._check_rejections()

    def _check_rejections(self) -> None:
        self.rejections.check(records=self.records, max_fraction=self._order.max_rejected_fraction)


@dataclass
class _Read:
    """The rows read so far."""

    schema: Schema
    """Of the rows."""
    spec: DraftSeries
    groups: list[NDArray[np.int64]] = field(default_factory=list)
    """By batch: which group of files each row is from."""
    places: list[NDArray[np.int64]] = field(default_factory=list)
    """By batch: the number of each row in its file."""
    _keys: dict[str, int] = field(default_factory=dict)
    _series: list[NDArray[np.int64]] = field(default_factory=list)
    _ticks: list[NDArray[np.int64]] = field(default_factory=list)
    _values: list[NDArray[np.float32]] = field(default_factory=list)
    _clock: Clock | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The columns of a window; the label is the first."""
        others = (self.spec.time_column, *self.spec.key_columns)
        return tuple(column.name for column in self.schema.columns if column.name not in others)

    def add(self, records: Records, number: int) -> list[Fault]:
        """Take the rows of a batch of a group, and tell the faults of those that have no time."""
        if len(records) == 0:
            return []
        texts = records.columns[self.spec.time_column].tolist()
        clock = self._clock = self._clock or Clock(self.spec.time_format, first=texts[0])
        ticks, good = clock.read(texts)
        faults = [
            Fault(
                int(records.places[row]),
                f"{texts[row][:64]!r} is no time; expected {clock.expectation}",
                self.spec.time_column,
            )
            for row in np.flatnonzero(~good)
        ]
        records = records.take(good)
        self._ticks.append(ticks[good])
        self._series.append(self._series_of(records))
        self._values.append(np.stack([records.columns[name] for name in self.channels], axis=1))
        self.groups.append(np.full(len(records), number))
        self.places.append(records.places)
        return faults

    def rows(self) -> Rows:
        """All of them; series in the order of their names.

        Raises:
            SchemaViolation: there is none.
        """
        if self._clock is None:
            raise SchemaViolation("no row of the sources is of use")
        names = sorted(self._keys)
        rank = np.empty(len(names), np.int64)
        rank[[self._keys[name] for name in names]] = np.arange(len(names))
        return Rows(
            keys=names,
            series=rank[np.concatenate(self._series)],
            ticks=np.concatenate(self._ticks),
            values=np.concatenate(self._values),
            clock=self._clock,
        )

    def _series_of(self, records: Records) -> NDArray[np.int64]:
        """[n]: numbers of the series, as they were met."""
        columns = [pa.array(records.columns[name], pa.string()) for name in self.spec.key_columns]
        if not columns:
            self._keys.setdefault("", 0)
            return np.zeros(len(records), np.int64)
        joined, *others = columns
        for other in others:
            between = pa.array([_BETWEEN_KEYS] * len(records), pa.string())
            joined = pc.binary_join_element_wise(joined, other, between)
        encoded = joined.dictionary_encode()
        known = [self._keys.setdefault(str(key), len(self._keys)) for key in encoded.dictionary.to_pylist()]
        return np.take(np.array(known, np.int64), encoded.indices.to_numpy())

"""Building a version: from files to shards, a fitted transform, statistics and, last, a manifest.
 One pass, in memory that does not grow with the sources. The records of the training split flow from the
files through `_Build.training` into the fitting of the transform; on the way everything else happens to them.
The same sources and the same order give the same manifest to the last byte.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_common.manifests import Blob
from lepton_common.objects import ObjectStore
from lepton_data_ingest.formats.records import MAX_RECORD_BYTES, Fault, RecordBatch
from lepton_data_ingest.inference import infer
from lepton_data_ingest.order import Order, Source
from lepton_data_ingest.rejections import MAX_TOLD, Rejection, Rejections
from lepton_data_ingest.schema import to_json
from lepton_data_ingest.series import DraftSeries
from lepton_data_ingest.series_build import SeriesBuild
from lepton_data_ingest.sources import Group, LocalFile, fetch, grouped, open_group
from lepton_data_ingest.split import Division
from lepton_data_ingest.statistics import ColumnStatistics, Statistics
from lepton_data_ingest.strays import Strays
from lepton_data_ingest.validation import Records, check
from lepton_data_ingest.writing import ShardWriter, without
from lepton_learn.manifest import Manifest, Shard, SourceFile, Split, save_manifest
from lepton_learn.schema import Batch, ColumnType, Schema
from lepton_learn.transform import FittedTransform

Progress = Callable[[str, int, int], None]
"""Called with the phase, the records done, and the records in all or 0 while unknown. What it raises ends the
build."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What was built."""

    manifest: Blob
    """Names all bytes of the version."""
    schema: Schema
    """The schema in force."""
    counts: Mapping[Split, int]
    """Records by split."""
    rejected: int
    """How many records were left out."""
    rejections: tuple[Rejection, ...]
    """The first of them."""
    statistics: tuple[ColumnStatistics, ...]
    """By column, over the training split."""
    sources: tuple[Source, ...]
    """The files it was made from."""
    size_bytes: int
    """Bytes of all shards."""
    series: DraftSeries | None = None
    """What its series were cut by."""
    series_facts: Mapping[str, Any] = field(default_factory=dict)
    """What they are like, as the contract's SeriesStatistics in JSON."""

    def to_json(self) -> dict[str, Any]:
        """The worker's output; its parts are in the contract's JSON form."""
        return {
            "manifest": asdict(self.manifest),
            "schema": to_json(self.schema, self.series),
            "counts": {split.value: count for split, count in self.counts.items()},
            "rejected": self.rejected,
            "rejections": [
                {
                    "upload": rejection.upload,
                    "record": rejection.record,
                    "column": rejection.column,
                    "message": rejection.message,
                }
                for rejection in self.rejections
            ],
            "statistics": [asdict(statistics) for statistics in self.statistics],
            "source_files": [
                {
                    "upload": source.upload,
                    "filename": source.filename,
                    "sha256": source.sha256,
                    "size_bytes": source.size_bytes,
                }
                for source in self.sources
            ],
            "size_bytes": self.size_bytes,
            "series": dict(self.series_facts),
        }


def build(order: Order, store: ObjectStore, scratch: Path, *, progress: Progress) -> Built:
    """Build a version.

    Args:
        order: what to build.
        store: has the uploads, and takes the version.
        scratch: an empty folder with room for the sources.
        progress: is told how far the work is.

    Raises:
        LeptonError: the sources do not make a version; the message names file, place and what was expected.
    """
    files = _fetched(order.sources, store, scratch, progress=progress)
    groups, series = grouped(files, order.schema), order.schema.series
    with ThreadPoolExecutor(1) as pool:
        run: _Build | SeriesBuild
        if series is not None:
            run = SeriesBuild(order, series, groups, store=store, pool=pool, progress=progress)
        else:
            run = _Build(order, groups, store=store, pool=pool, progress=progress)
        transform = FittedTransform.fit(run.schema, run.training())
        splits = run.finish()
    progress("committing", run.records, run.records)
    manifest = Manifest(
        schema=run.schema,
        splits=splits,
        transform=transform,
        sources=tuple(
            SourceFile(source.filename, source.sha256, source.size_bytes) for source in order.sources
        ),
    )
    return Built(
        manifest=save_manifest(store, order.dataset, manifest),
        schema=run.schema,
        counts={split: manifest.records(split) for split in Split},
        rejected=run.rejections.count,
        rejections=tuple(run.rejections.first),
        statistics=run.statistics.columns(),
        sources=order.sources,
        size_bytes=sum(shard.blob.size_bytes for shards in splits.values() for shard in shards),
        series=series,
        series_facts=run.facts() if isinstance(run, SeriesBuild) else {},
    )


def _fetched(
    sources: Sequence[Source], store: ObjectStore, scratch: Path, *, progress: Progress
) -> list[LocalFile]:
    files = []
    for number, source in enumerate(sources):
        progress("fetching", number, len(sources))
        files.append(fetch(store, source, scratch / f"source-{number}"))
    return files


class _Build:
    """The state of one build while its records flow by."""

    def __init__(
        self,
        order: Order,
        groups: Sequence[Group],
        *,
        store: ObjectStore,
        pool: ThreadPoolExecutor,
        progress: Progress,
    ) -> None:
        sample = next(open_group(groups[0], order.schema).batches).columns
        self.schema = schema = infer(order.schema, sample)
        self.records = 0
        self.rejections = Rejections()
        self.statistics = Statistics(schema)
        self._order = order
        self._groups = groups
        self._store = store
        self._prefix = f"datasets/{order.dataset}"
        self._progress = progress
        self._writers = {split: ShardWriter(store, self._prefix, pool) for split in Split}
        fixed = {group.split for group in groups if group.split is not None}
        self._division = Division(order.fractions, fixed=fixed)
        open_label = schema.is_classification and not schema.label_column.values
        self._strays = Strays(schema.label) if open_label else None

    def training(self) -> Iterator[Batch]:
        """All training records, a batch at a time; those of the other splits are written on the way.

        Raises:
            TooManyRejected: more records were rejected than the order allows.
        """
        # All headers are looked at before any record is read: most of what can be wrong shows at once.
        totals = [open_group(group, self._order.schema).total for group in self._groups]
        total = 0 if None in totals else sum(count or 0 for count in totals)
        for number, group in enumerate(self._groups):
            for batch in _unpackable(open_group(group, self._order.schema).batches, self.schema):
                checked = check(batch, self.schema, file=group.first.source.filename)
                self.records += len(checked.records) + len(checked.faults)
                self._reject(number, checked.faults, count=len(checked.faults))
                training = self._divide(checked.records, number)
                if len(training):
                    self.statistics.add(training.columns)
                    yield training.columns
                self._progress("reading", self.records, total)
            for member in group.files.values():
                member.path.unlink()
        self._check_rejections()

    def finish(self) -> dict[Split, tuple[Shard, ...]]:
        """Write what is left, and drop the records with labels that training never showed.

        Raises:
            TooManyRejected: more records were rejected than the order allows.
        """
        splits = {split: writer.finish() for split, writer in self._writers.items()}
        astray = list(self._strays.found()) if self._strays else []
        for stray in astray:
            reason = (
                f"no training record has the label {stray.label!r}; expected one of the labels in training"
            )
            faults = [Fault(place, reason, self.schema.label) for place in stray.places]
            self._reject(stray.group, faults, count=stray.count)
        self._check_rejections()
        unknown = {stray.label for stray in astray}

        def is_astray(batch: Batch) -> NDArray[np.bool_]:
            labels = batch[self.schema.label].tolist()
            return np.fromiter((label in unknown for label in labels), np.bool_, len(labels))

        for split in {stray.split for stray in astray}:
            splits[split] = without(self._store, self._prefix, splits[split], unwanted=is_astray)
        return splits

    def _divide(self, records: Records, number: int) -> Records:
        """Give each record to its split, and the training records back."""
        if len(records) == 0:
            return records
        masks = self._division.assign(records.columns, fixed=self._groups[number].split)
        parts = {split: records.take(mask) for split, mask in masks.items()}
        if self._strays is not None:
            self._strays.add(parts, group=number)
        for split, part in parts.items():
            self._writers[split].add(part.columns)
        return parts[Split.TRAIN]

    def _reject(self, number: int, faults: Sequence[Fault], *, count: int) -> None:
        self.rejections.add(self._groups[number], number, faults=faults, count=count)
        if self._order.max_rejected_fraction == 0 and self.rejections.count >= MAX_TOLD:
            # Nothing can save this build, and there is enough to tell.
            self._check_rejections()

    def _check_rejections(self) -> None:
        self.rejections.check(records=self.records, max_fraction=self._order.max_rejected_fraction)


def _unpackable(batches: Iterator[RecordBatch], schema: Schema) -> Iterator[RecordBatch]:
    """The batches, in parts where all their images at once could take too much memory.

    Readers measure images as they are stored, and an even one unpacks to a thousand times that.
    """
    images = sum(math.prod(column.shape) for column in schema.columns if column.type is ColumnType.IMAGE)
    most = max(1, MAX_RECORD_BYTES // max(1, images))
    for batch in batches:
        yield from batch.parts(most)

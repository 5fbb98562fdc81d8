"""The splits of a dataset version, made ready to learn from: in memory if they fit, else on the local disk.

Shards come from the object store several at a time, each is decoded once and goes to its place. So whatever
the size of the dataset the memory that it takes is bounded: by the budget, and beyond that by what stays in
memory of every record, its label and its place in an epoch's order.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_common.errors import Cancelled, TooLarge
from lepton_common.objects import ObjectStore
from lepton_learn.examples import Examples
from lepton_learn.manifest import Manifest, Shard, Split
from lepton_learn.reading import empty_batch, read_records
from lepton_learn.rows import Layout, MemoryRows, Rows, ScratchRows

_PARALLEL_READS = 4
_SHARD_COPIES = 4
"""What a shard takes while it is read, in sizes of its rows: compressed, decoded, coded, written."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """Where records may be kept."""

    memory_bytes: int
    """How much memory they may take; one shard of them is in memory in any case."""
    directory: Path
    """A folder on a local disk, for what does not fit."""


@dataclass(frozen=True)
class _Part:
    """A split that is being filled."""

    layout: Layout
    rows: Rows
    labels: NDArray[Any]


def load_examples(
    store: ObjectStore,
    manifest: Manifest,
    *,
    room: Room,
    splits: Iterable[Split] = tuple(Split),
    told: Callable[[int, int], None] = lambda done, total: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Mapping[Split, Examples]:
    """Read some splits whole.

    Args:
        store: where the shards are.
        manifest: of the dataset version.
        room: where the records go: all into memory or, if they do not fit together, all onto the disk.
        splits: which ones.
        told: hears how many shards are done, of how many.
        stop_requested: whether to give up; asked before every shard.

    Returns:
        By split, in any case the same examples.

    Raises:
        TooLarge: the local disk has no room for them.
        NotFound, ChecksumMismatch, MalformedFile: a shard is not what was written.
        SchemaViolation: a label is not among the classes.
        Cancelled: it was asked to stop.
    """
    wanted = tuple(splits)
    parts = _reserve(manifest, wanted, room)
    work = [
        (split, start, shard)
        for split in wanted
        for start, shard in zip(_starts(manifest.shards(split)), manifest.shards(split), strict=False)
    ]
    told(0, len(work))

    def place(what: tuple[Split, int, Shard]) -> None:
        if stop_requested():
            raise Cancelled("the training was asked to stop")
        split, start, shard = what
        records = read_records(store, manifest.schema, shard)
        part = parts[split]
        part.labels[start : start + shard.records] = manifest.transform.labels(records)
        part.rows.write(start, part.layout.pack(records))

    with ThreadPoolExecutor(_readers(parts, manifest, room), thread_name_prefix="reading") as pool:
        for done, _ in enumerate(pool.map(place, work), 1):
            told(done, len(work))
    return {
        split: Examples.of_rows(part.layout, part.rows, labels=part.labels) for split, part in parts.items()
    }


def _reserve(manifest: Manifest, splits: tuple[Split, ...], room: Room) -> Mapping[Split, _Part]:
    counts = {split: manifest.records(split) for split in splits}
    total = sum(counts.values())
    least = Layout.of(manifest.transform, total, limit_bytes=0)
    fits = total * least.row_bytes <= room.memory_bytes
    layout = Layout.of(manifest.transform, total, limit_bytes=room.memory_bytes) if fits else least
    if not fits:
        _check_disk(total * layout.row_bytes, room.directory)
    no_labels = manifest.transform.labels(empty_batch(manifest.schema))
    return {
        split: _Part(
            layout,
            MemoryRows(np.empty((count, layout.row_bytes), np.uint8))
            if fits
            else ScratchRows(room.directory, count, layout.row_bytes),
            np.empty((count, *no_labels.shape[1:]), no_labels.dtype),
        )
        for split, count in counts.items()
    }


def _check_disk(wanted: int, directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < wanted:
        raise TooLarge(
            f"the records take {wanted} bytes of the worker's local disk, which has {free}: "
            "give it a larger one, or let it hold the records in memory",
            metadata={"wanted_bytes": str(wanted), "free_bytes": str(free)},
        )


def _readers(parts: Mapping[Split, _Part], manifest: Manifest, room: Room) -> int:
    """How many shards may be in memory at once."""
    most = max(
        (
            _SHARD_COPIES * shard.records * part.layout.row_bytes + shard.blob.size_bytes
            for split, part in parts.items()
            for shard in manifest.shards(split)
        ),
        default=1,
    )
    return max(1, min(_PARALLEL_READS, room.memory_bytes // max(1, most)))


def _starts(shards: tuple[Shard, ...]) -> list[int]:
    return [0, *accumulate(shard.records for shard in shards)]

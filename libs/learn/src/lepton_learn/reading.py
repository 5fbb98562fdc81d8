"""Reading the records of a dataset version, every byte checked against its digest."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from lepton_common.errors import MalformedFile
from lepton_common.manifests import get_blob
from lepton_common.objects import ObjectStore
from lepton_learn.manifest import Manifest, Shard, Split
from lepton_learn.schema import Batch, ColumnType, Schema
from lepton_learn.shards import read_shard

_DTYPES: Mapping[ColumnType, np.dtype[Any]] = {
    ColumnType.NUMBER: np.dtype(np.float32),
    ColumnType.INTEGER: np.dtype(np.int64),
    ColumnType.CATEGORY: np.dtype(object),
    ColumnType.IMAGE: np.dtype(np.uint8),
    ColumnType.TENSOR: np.dtype(np.float32),
}
_PARALLEL_READS = 4


def empty_batch(schema: Schema, records: int = 0) -> Batch:
    """Uninitialised columns for so many records, with the dtypes and shapes of the schema."""
    return {
        column.name: np.empty((records, *column.shape), _DTYPES[column.type]) for column in schema.columns
    }


def read_split(store: ObjectStore, manifest: Manifest, split: Split) -> Batch:
    """All records of a split, in their stored order; columns of length 0 if it has none.

    Shards are fetched and decoded in parallel straight into arrays of the final size, so the split is in
    memory once.

    Raises:
        NotFound: a shard is gone.
        ChecksumMismatch: a shard's bytes are not the ones that were written.
        MalformedFile: a shard does not hold what the manifest says.
    """
    shards = manifest.shards(split)
    batch = empty_batch(manifest.schema, manifest.records(split))
    starts = np.cumsum([0, *(shard.records for shard in shards)])

    def place(start: int, shard: Shard) -> None:
        for name, values in read_records(store, manifest.schema, shard).items():
            batch[name][start : start + shard.records] = values

    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        list(pool.map(place, starts.tolist(), shards))
    return batch


def read_columns(store: ObjectStore, manifest: Manifest, split: Split, names: tuple[str, ...]) -> Batch:
    """Some columns of a split, its records in their stored order, one shard in memory.

    Raises:
        NotFound, ChecksumMismatch, MalformedFile: as `read_split`.
    """
    if not names:
        return {}
    parts = [{name: empty_batch(manifest.schema)[name] for name in names}]
    for shard in manifest.shards(split):
        records = read_records(store, manifest.schema, shard)
        parts.append({name: records[name] for name in names})
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def iterate(store: ObjectStore, manifest: Manifest, split: Split, *, batch_size: int) -> Iterator[Batch]:
    """The records of a split in their stored order, at most `batch_size` at a time, one shard in memory.

    Raises:
        NotFound, ChecksumMismatch, MalformedFile: as `read_split`.
    """
    for shard in manifest.shards(split):
        records = read_records(store, manifest.schema, shard)
        for start in range(0, shard.records, batch_size):
            yield {name: values[start : start + batch_size] for name, values in records.items()}


def read_records(store: ObjectStore, schema: Schema, shard: Shard) -> Batch:
    """The records of a shard; the arrays are read-only views where that saves a copy.

    Raises:
        NotFound, ChecksumMismatch, MalformedFile: as `read_split`.
    """
    records = read_shard(get_blob(store, shard.blob))
    for name, expected in empty_batch(schema).items():
        values = records.get(name)
        if (
            values is None
            or values.dtype != expected.dtype
            or values.shape != (shard.records, *expected.shape[1:])
        ):
            raise MalformedFile(
                f"shard {shard.blob.key} does not hold the column {name!r} that its manifest tells"
            )
    return {name: records[name] for name in (column.name for column in schema.columns)}

"""Writing the records of one split as shards of even size."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_common.manifests import get_blob, put_blob
from lepton_common.objects import ObjectStore
from lepton_learn.manifest import Shard
from lepton_learn.schema import Batch
from lepton_learn.shards import read_shard, write_shard

MAX_SHARD_BYTES = 32 * 1024 * 1024
"""A shard holds no more than this of raw records, but one record at least."""

MAX_SHARD_RECORDS = 65_536
"""A shard holds no more records than this."""

_TEXT_BYTES = 16
_MAX_WAITING = 2


class ShardWriter:
    """Collects records and writes a shard whenever there are enough for one.

    Where shards begin hangs on the records alone, not on the batches they come in. Shards are encoded and
    stored by the pool while the next records are collected; at most two wait for it.
    """

    def __init__(self, store: ObjectStore, prefix: str, pool: ThreadPoolExecutor) -> None:
        """Write below `prefix` in the store."""
        self._store = store
        self._prefix = prefix
        self._pool = pool
        self._collected: list[Batch] = []
        self._count = 0
        self._waiting: deque[Future[Shard]] = deque()
        self._shards: list[Shard] = []

    def add(self, batch: Batch) -> None:
        """Take some records: raw arrays of one length, which must not change any more."""
        records = _length(batch)
        if records == 0:
            return
        capacity = _capacity(batch)
        start = 0
        while start < records:
            stop = min(records, start + capacity - self._count)
            self._collected.append({name: values[start:stop] for name, values in batch.items()})
            self._count += stop - start
            start = stop
            if self._count == capacity:
                self._write()

    def finish(self) -> tuple[Shard, ...]:
        """Write what is left, and give all shards in order."""
        if self._count:
            self._write()
        while self._waiting:
            self._shards.append(self._waiting.popleft().result())
        return tuple(self._shards)

    def _write(self) -> None:
        batches, self._collected, self._count = self._collected, [], 0
        self._waiting.append(self._pool.submit(_store_shard, self._store, self._prefix, batches))
        while len(self._waiting) > _MAX_WAITING:
            self._shards.append(self._waiting.popleft().result())


def without(
    store: ObjectStore,
    prefix: str,
    shards: Iterable[Shard],
    *,
    unwanted: Callable[[Batch], NDArray[np.bool_]],
) -> tuple[Shard, ...]:
    """Shards less some of their records.

    Args:
        store: where they are.
        prefix: below which new ones are written.
        shards: the shards.
        unwanted: says of n records which to leave out: bool [n].
    """
    kept = []
    for shard in shards:
        batch = read_shard(get_blob(store, shard.blob))
        dropped = unwanted(batch)
        if not dropped.any():
            kept.append(shard)
        elif not dropped.all():
            rest = {name: values[~dropped] for name, values in batch.items()}
            kept.append(_store_shard(store, prefix, [rest]))
    return tuple(kept)


def _store_shard(store: ObjectStore, prefix: str, batches: list[Batch]) -> Shard:
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return Shard(put_blob(store, prefix, write_shard(whole)), _length(whole))


def _capacity(batch: Batch) -> int:
    record_bytes = sum(_value_bytes(values) for values in batch.values())
    return max(1, min(MAX_SHARD_RECORDS, MAX_SHARD_BYTES // record_bytes))


def _value_bytes(values: NDArray[Any]) -> int:
    return _TEXT_BYTES if values.dtype == object else values.itemsize * int(np.prod(values.shape[1:]))


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values())))

"""Where bytes live: one folder, or one prefix of an S3-compatible bucket.

Both are reached through obstore, which writes atomically: an object is there whole, or not at
all. This module is the only one that knows obstore; its exceptions end here, as named errors.

The calls block and are safe from many threads: services go through `asyncio.to_thread`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

from lepton_common.errors import DependencyUnavailable, FieldViolation, InvalidField, NotFound
from lepton_common.keys import check_key

_READ_CHUNK_BYTES = 1024 * 1024
_WRITE_CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class ObjectInfo:
    """An object, without its bytes.

    Attributes:
        key: Where it is, below the root of the store.
        size: Its length in bytes.
    """

    key: str
    size: int


class ObjectStore:
    """Objects under keys, in a folder (`file:///abs/dir`) or a bucket (`s3://bucket/prefix`).

    For S3 the credentials, the region and the endpoint come from the usual `AWS_*` variables;
    `?endpoint=http://host:port` and `?region=name` in the URL win over them.
    """

    def __init__(self, url: str) -> None:
        """Open the store at `url`; a folder is made when missing, a bucket is not.

        Raises:
            InvalidField: The URL is of another form.
        """
        self.url = url
        self._store = _open(url)

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write an object whole.

        Returns False when `if_absent` is set and an object was there already, which is then left
        as it was. On S3 that object can be this very call's own, when an answer got lost and the
        write was repeated: compare contents where it matters.
        """
        mode: Literal["create", "overwrite"] = "create" if if_absent else "overwrite"
        with self._writing(key):
            try:
                obstore.put(self._store, check_key(key), data, mode=mode)
            except AlreadyExistsError:
                return False
        return True

    def put_file(self, key: str, path: Path) -> None:
        """Write an object from a file, in parts: the file need not fit into memory."""
        with self._writing(key):
            obstore.put(self._store, check_key(key), path, chunk_size=_WRITE_CHUNK_BYTES)

    def copy(self, source: str, target: str) -> None:
        """Write an object with the bytes of another, without fetching them where the store can do that.

        Raises:
            NotFound: There is no source.
        """
        if self.stat(source) is None:
            raise NotFound(f"no object {source!r}")
        with self._writing(target):
            obstore.copy(self._store, source, check_key(target))

    def get(self, key: str) -> bytes:
        """Read an object whole.

        Raises:
            NotFound: There is none.
        """
        with self._reading(key):
            return obstore.get(self._store, check_key(key)).bytes().to_bytes()

    def stream(self, key: str) -> Iterator[bytes]:
        """Read an object in chunks of about 1 MiB.

        Raises:
            NotFound: There is none (at the first chunk).
        """
        with self._reading(key):
            yield from obstore.get(self._store, check_key(key)).stream(min_chunk_size=_READ_CHUNK_BYTES)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Read up to `length` bytes from byte `start` on; fewer where the object ends before.

        Raises:
            NotFound: There is no such object.
        """
        info = self.stat(key)
        if info is None:
            raise NotFound(f"no object {key!r}")
        end = min(start + length, info.size)
        if start >= end:
            return b""
        with self._reading(key):
            return obstore.get_range(self._store, key, start=start, end=end).to_bytes()

    def stat(self, key: str) -> ObjectInfo | None:
        """Say how long an object is; None when there is none."""
        try:
            with self._reading(key):
                meta = obstore.head(self._store, check_key(key))
        except NotFound:
            return None
        return ObjectInfo(key=key, size=meta["size"])

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        """List the objects below `prefix` in the order of their keys.

        A prefix is whole segments: `a/b` finds `a/b/c` and not `a/bc`. Writes under way and
        those that were killed half-way do not show.
        """
        if prefix:
            check_key(prefix)
        with self._reading(prefix):
            found = [
                ObjectInfo(key=meta["path"], size=meta["size"])
                for chunk in obstore.list(self._store, prefix or None)
                for meta in chunk
            ]
        return sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens when there is none."""
        self._delete(check_key(key))

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object below `prefix` (whole segments, never empty)."""
        self._delete(*(info.key for info in self.list(check_key(prefix))))

    def _delete(self, *keys: str) -> None:
        # One by one: the folder refuses a missing object, and another process may be deleting the same.
        for key in keys:
            try:
                with self._reading(key):
                    obstore.delete(self._store, key)
            except NotFound:
                continue

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as exc:
            raise NotFound(f"no object {key!r}") from exc
        except (BaseError, OSError) as exc:
            raise DependencyUnavailable("the object store could not be read") from exc

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as exc:
            raise DependencyUnavailable(f"the object store could not take {key!r}") from exc


def _open(url: str) -> LocalStore | S3Store:
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        # Folders that deletes leave empty stay: removing them races with writes into them.
        return LocalStore(Path(unquote(parts.path)), automatic_cleanup=False, mkdir=True)
    if parts.scheme == "s3" and parts.netloc:
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        return _open_bucket(parts.netloc, parts.path.strip("/"), options)
    raise InvalidField(
        "the object store's URL is not usable",
        violations=[FieldViolation("object_store_url", "must be file:///folder or s3://bucket/prefix")],
    )


def _open_bucket(bucket: str, prefix: str, options: dict[str, str]) -> S3Store:
    unknown = options.keys() - {"endpoint", "region"}
    if unknown:
        raise InvalidField(
            "the object store's URL is not usable",
            violations=[FieldViolation("object_store_url", f"unknown option {sorted(unknown)[0]!r}")],
        )
    endpoint = options.get("endpoint")
    # Plain HTTP is asked for by naming such an endpoint, here or in the environment.
    called = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    return S3Store(
        bucket,
        prefix=prefix or None,
        config={
            **({"endpoint": endpoint} if endpoint else {}),
            **({"region": options["region"]} if "region" in options else {}),
        },
        client_options={
            "timeout": timedelta(seconds=300),
            "connect_timeout": timedelta(seconds=5),
            **({"allow_http": True} if called.startswith("http://") else {}),
        },
        retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=30)},
    )

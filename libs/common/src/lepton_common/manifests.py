"""Content that is checked: blobs under their own digest, and manifests that name them.

A thing of many files is written blobs first, manifest last. The manifest's digest fixes every
byte below it, so whoever holds the digest can tell whether what it reads is what was written.
Nothing here is ever overwritten with other content: the key of an object is its digest.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_common.errors import ChecksumMismatch
from lepton_common.objects import ObjectStore

_READ_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Blob:
    """An object whose content is known by its digest.

    Attributes:
        key: Its key in the object store.
        sha256: SHA-256 of its bytes, in lower-case hexadecimal.
        size_bytes: Its length.
    """

    key: str
    sha256: str
    size_bytes: int


def put_blob(store: ObjectStore, prefix: str, data: bytes) -> Blob:
    """Write `data` once, at `<prefix>/blobs/<sha256>`."""
    return _put(store, f"{prefix}/blobs", data)


def put_file(store: ObjectStore, prefix: str, path: Path) -> Blob:
    """Write a file once, at `<prefix>/blobs/<sha256>`, without holding it in memory.

    The file must not change meanwhile: it is read twice.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_READ_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    blob = Blob(key=f"{prefix}/blobs/{digest.hexdigest()}", sha256=digest.hexdigest(), size_bytes=size)
    if store.stat(blob.key) is None:
        store.put_file(blob.key, path)
    return blob


def get_blob(store: ObjectStore, blob: Blob) -> bytes:
    """Read a blob and check it.

    Raises:
        NotFound: The object is not there.
        ChecksumMismatch: It is, with other bytes.
    """
    data = store.get(blob.key)
    _check(blob, hashlib.sha256(data).hexdigest(), len(data))
    return data


def fetch_blob(store: ObjectStore, blob: Blob, path: Path) -> None:
    """Copy a blob to a file, which appears only when its bytes have been checked.

    Raises:
        NotFound: The object is not there.
        ChecksumMismatch: It is, with other bytes.
    """
    digest, size = hashlib.sha256(), 0
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".fetch-")
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in store.stream(blob.key):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
        _check(blob, digest.hexdigest(), size)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def put_manifest(store: ObjectStore, prefix: str, document: Mapping[str, Any]) -> Blob:
    """Write a document once, at `<prefix>/manifests/<sha256>`, as canonical JSON.

    Canonical: keys sorted, no spaces, UTF-8, no NaN or infinity. So equal documents have equal
    digests.

    Raises:
        ValueError: The document holds NaN or infinity.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return _put(store, f"{prefix}/manifests", text.encode())


def get_manifest(store: ObjectStore, blob_or_key: Blob | str, *, sha256: str = "") -> dict[str, Any]:
    """Read a manifest and check it against the digest of its blob, or against `sha256`.

    Raises:
        NotFound: The object is not there.
        ChecksumMismatch: It is, with other bytes.
    """
    key, expected = (
        (blob_or_key.key, blob_or_key.sha256) if isinstance(blob_or_key, Blob) else (blob_or_key, sha256)
    )
    data = store.get(key)
    _check(Blob(key=key, sha256=expected, size_bytes=len(data)), hashlib.sha256(data).hexdigest(), len(data))
    document: dict[str, Any] = json.loads(data)
    return document


def _put(store: ObjectStore, folder: str, data: bytes) -> Blob:
    digest = hashlib.sha256(data).hexdigest()
    blob = Blob(key=f"{folder}/{digest}", sha256=digest, size_bytes=len(data))
    store.put(blob.key, data, if_absent=True)
    return blob


def _check(blob: Blob, sha256: str, size: int) -> None:
    if (sha256, size) != (blob.sha256, blob.size_bytes):
        raise ChecksumMismatch(
            f"object {blob.key!r} does not have the content that was recorded for it",
            metadata={
                "key": blob.key,
                "expected_sha256": blob.sha256,
                "sha256": sha256,
                "expected_size_bytes": str(blob.size_bytes),
                "size_bytes": str(size),
            },
        )

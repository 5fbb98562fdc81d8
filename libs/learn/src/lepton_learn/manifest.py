"""The manifest of a dataset version: all that is needed to read it, and the identity of its content.

It holds no resource names and no times, so the same content has the same digest wherever and whenever it is
built. It is written last: a version without a manifest does not exist.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from lepton_common.errors import MalformedFile
from lepton_common.manifests import Blob, get_manifest, put_manifest
from lepton_common.objects import ObjectStore
from lepton_learn.schema import Schema
from lepton_learn.transform import FittedTransform

_FORMAT = 1


class Split(StrEnum):
    """The part of a dataset a record belongs to."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class Shard:
    """One file of records."""

    blob: Blob
    """Where its bytes are."""
    records: int
    """How many records it holds."""


@dataclass(frozen=True)
class SourceFile:
    """A file the records came from."""

    filename: str
    """Its name where it came from."""
    sha256: str
    """Its digest, in lower-case hexadecimal."""
    size_bytes: int
    """Its length."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of a dataset version."""

    schema: Schema
    """The columns."""
    splits: Mapping[Split, tuple[Shard, ...]]
    """The shards of each split, in order; a split that has none may be absent."""
    transform: FittedTransform
    """Fitted on the training split."""
    sources: tuple[SourceFile, ...] = ()
    """The files it was made from."""

    def shards(self, split: Split) -> tuple[Shard, ...]:
        """The shards of one split, in order."""
        return self.splits.get(split, ())

    def records(self, split: Split) -> int:
        """The number of records of one split."""
        return sum(shard.records for shard in self.shards(split))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "format": _FORMAT,
            "schema": self.schema.to_dict(),
            "splits": {
                split.value: [
                    {**asdict(shard.blob), "records": shard.records} for shard in self.shards(split)
                ]
                for split in Split
            },
            "transform": self.transform.to_dict(),
            "sources": [asdict(source) for source in self.sources],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Manifest":
        """The inverse of `to_dict`.

        Raises:
            MalformedFile: it is of a format this release does not know.
        """
        if document.get("format") != _FORMAT:
            raise MalformedFile(
                f"the manifest has format {document.get('format')!r}; this release reads {_FORMAT}"
            )
        schema = Schema.from_dict(document["schema"])
        return cls(
            schema=schema,
            splits={
                Split(name): tuple(_shard(shard) for shard in shards)
                for name, shards in document["splits"].items()
            },
            transform=FittedTransform.from_dict(schema, document["transform"]),
            sources=tuple(SourceFile(**source) for source in document["sources"]),
        )


def _shard(document: Mapping[str, Any]) -> Shard:
    blob = Blob(key=document["key"], sha256=document["sha256"], size_bytes=document["size_bytes"])
    return Shard(blob, document["records"])


def save_manifest(store: ObjectStore, dataset: str, manifest: Manifest) -> Blob:
    """Write the manifest of a version of `dataset` (the bare id) and so make the version exist."""
    return put_manifest(store, f"datasets/{dataset}", manifest.to_dict())


def load_manifest(store: ObjectStore, key: str, *, sha256: str) -> Manifest:
    """Read a manifest and check its digest.

    Raises:
        NotFound: there is none under the key.
        ChecksumMismatch: its bytes are not the ones the digest was taken of.
        MalformedFile: it is of a format this release does not know.
    """
    return Manifest.from_dict(get_manifest(store, key, sha256=sha256))

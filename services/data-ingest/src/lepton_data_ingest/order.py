"""What a build is asked for: the worker's spec, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lepton_data_ingest.formats.format import Format
from lepton_data_ingest.fractions import Fractions
from lepton_data_ingest.schema import DraftSchema
from lepton_learn.manifest import Split


@dataclass(frozen=True, kw_only=True)
class Source:
    """A complete upload as a source of records."""

    upload: str
    """Its resource name."""
    filename: str
    """Its name where it came from: for messages and lineage, never a path here."""
    sha256: str
    """Its digest."""
    size_bytes: int
    """Its length."""
    parts: str
    """Prefix of its parts in the object store."""
    format: Format | None = None
    """Its format; None to tell it by name and content."""
    split: Split | None = None
    """The split of all its records; None to divide them."""
    column: str = ""
    """The column it holds, for IDX; empty for `image` or `label`, by its dimensions."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Source":
        """Read a source of the worker's spec, in which `format` and `split` are words in lower case or
        empty."""
        return cls(
            upload=document["upload"],
            filename=document["filename"],
            sha256=document["sha256"],
            size_bytes=int(document["size_bytes"]),
            parts=document["parts"],
            format=Format(document["format"]) if document.get("format") else None,
            split=Split(document["split"]) if document.get("split") else None,
            column=document.get("column", ""),
        )


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to build."""

    dataset: str
    """The dataset's id."""
    sources: tuple[Source, ...]
    """The files, at least one."""
    schema: DraftSchema = field(default_factory=DraftSchema)
    """What is known of the schema."""
    fractions: Fractions = field(default_factory=Fractions)
    """How records are divided."""
    max_rejected_fraction: float = 0.0
    """Share of the records that may be rejected."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Order":
        """Read the worker's spec: `dataset`, `sources`, `schema` and `spec`, the version's own."""
        spec = document["spec"]
        return cls(
            dataset=document["dataset"],
            sources=tuple(map(Source.from_json, document["sources"])),
            schema=DraftSchema.from_json(document.get("schema", {})),
            fractions=Fractions.from_json(spec.get("fractions")),
            max_rejected_fraction=spec.get("max_rejected_fraction", 0.0),
        )

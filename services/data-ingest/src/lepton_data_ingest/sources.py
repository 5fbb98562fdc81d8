"""The files a version is made from: fetched, told apart by format, and opened as streams of records."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lepton_common.errors import ChecksumMismatch, FieldViolation, InvalidField
from lepton_common.objects import ObjectStore
from lepton_data_ingest.formats import csv, idx, image_tar, npz, parquet
from lepton_data_ingest.formats.format import Format
from lepton_data_ingest.formats.records import RecordBatch, RecordFile, check_columns, column_names, malformed
from lepton_data_ingest.formats.sniffing import sniff
from lepton_data_ingest.order import Source
from lepton_data_ingest.schema import DraftSchema, label_of
from lepton_learn.manifest import Split
from lepton_learn.schema import ColumnType

IMAGE = "image"
"""Name of the column of images that have no name of their own."""

LABEL = "label"
"""Name of the column of labels that have no name of their own."""


@dataclass(frozen=True)
class LocalFile:
    """A source whose bytes are here."""

    source: Source
    path: Path
    format: Format


@dataclass(frozen=True)
class Group:
    """Files that make records together: one file, or IDX files that hold a column each."""

    files: Mapping[str, LocalFile]
    """By column for IDX; else one, under the empty name."""

    @property
    def first(self) -> LocalFile:
        """The file that stands for all where one is asked for."""
        return next(iter(self.files.values()))

    @property
    def split(self) -> Split | None:
        """The split of all records; None to divide them."""
        return self.first.source.split

    def file_of(self, column: str) -> LocalFile:
        """The file that a column comes from."""
        return self.files.get(column, self.first)


def fetch(store: ObjectStore, source: Source, path: Path) -> LocalFile:
    """Put the parts of an upload together in a file, and check them.

    Raises:
        ChecksumMismatch: the parts are not the file that was announced.
        MalformedFile: its format cannot be told.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for part in store.list(source.parts):
            for chunk in store.stream(part.key):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
    if (digest.hexdigest(), size) != (source.sha256, source.size_bytes):
        raise ChecksumMismatch(
            f"{source.filename}: the stored bytes are not those that were uploaded; upload it again",
            metadata={
                "upload": source.upload,
                "expected_sha256": source.sha256,
                "sha256": digest.hexdigest(),
            },
        )
    return LocalFile(source, path, source.format or sniff(path, source.filename))


def grouped(files: Sequence[LocalFile], draft: DraftSchema) -> tuple[Group, ...]:
    """Put together what makes records together, in the order of the sources.

    IDX files of the same split stand side by side: the first of each column, then the second of each, and so
    on.

    Raises:
        InvalidField: some column of IDX files has fewer files than another of the same split.
    """
    groups: list[Group] = []
    beside: dict[tuple[Split | None, int], dict[str, LocalFile]] = {}
    counts: dict[tuple[Split | None, str], int] = {}
    for file in files:
        if file.format is not Format.IDX:
            groups.append(Group({"": file}))
            continue
        [column] = column_names(file.source.filename, [file.source.column or _default_column(file, draft)])
        number = counts[file.source.split, column] = counts.get((file.source.split, column), -1) + 1
        known = beside.get((file.source.split, number))
        if known is None:
            known = beside[file.source.split, number] = {}
            groups.append(Group(known))
        known[column] = file
    _check_complete(list(beside.values()))
    return tuple(groups)


def open_group(group: Group, draft: DraftSchema) -> RecordFile:
    """Open the files of a group.

    Args:
        group: the files.
        draft: its columns are what is read; if it has none, everything.

    Raises:
        MalformedFile, SchemaViolation, TooLarge: as the formats' readers.
    """
    file, name = group.first, group.first.source.filename
    columns = [column.name for column in draft.columns] or None
    match file.format:
        case Format.CSV:
            records = csv.read(file.path, name, columns=columns)
        case Format.PARQUET:
            records = parquet.read(file.path, name, columns=columns)
        case Format.NPZ:
            records = npz.read(file.path, name, columns=columns)
        case Format.IMAGE_TAR:
            image, label = _image_column(draft), _label_column(draft)
            check_columns(name, [image, label], columns)
            records = image_tar.read(file.path, name, image=image, label=label)
        case Format.IDX:
            check_columns(name, list(group.files), columns)
            opened = {
                column: idx.open_idx(member.path, member.source.filename)
                for column, member in group.files.items()
            }
            records = idx.read(opened)
    return replace(records, batches=_some(records, name))


def _some(records: RecordFile, file: str) -> Iterator[RecordBatch]:
    """The batches, of which there must be one."""
    found = False
    for batch in records.batches:
        found = True
        yield batch
    if not found:
        raise malformed(file, "the whole file", "it holds no record", expected="at least one record")


def _check_complete(beside: Sequence[Mapping[str, LocalFile]]) -> None:
    columns = {column for files in beside for column in files}
    for files in beside:
        for column in sorted(columns - files.keys()):
            other = next(iter(files.values())).source.filename
            description = f"{other} has no IDX file of the column {column!r} beside it in its split"
            raise InvalidField(
                f"the sources do not fit: {description}",
                violations=[FieldViolation("spec.sources", description)],
            )


def _default_column(file: LocalFile, draft: DraftSchema) -> str:
    header = idx.open_idx(file.path, file.source.filename)
    return _label_column(draft) if len(header.shape) == 1 else _image_column(draft)


def _image_column(draft: DraftSchema) -> str:
    images = [column.name for column in draft.columns if column.type is ColumnType.IMAGE]
    return images[0] if len(images) == 1 else IMAGE


def _label_column(draft: DraftSchema) -> str:
    if not draft.columns:
        return draft.label or LABEL
    return label_of(draft, [column.name for column in draft.columns])

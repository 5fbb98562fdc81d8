"""A tar of images in folders that are named by their label: `{label}/{file}.png`, or .jpg, .jpeg, .bmp.
 Nothing is written to disk under a name from the archive. Hidden files are passed over; links, devices and
files of other kinds are faults. Records count these faults in.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from lepton_data_ingest.formats.records import (
    MAX_RECORD_BYTES,
    Fault,
    Pictures,
    RecordBatch,
    RecordFile,
    Texts,
    Values,
    malformed,
)
from lepton_data_ingest.formats.tar import Member, members

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_BATCH_RECORDS = 2048
_BATCH_BYTES = 32 * 1024 * 1024


def read(path: Path, file: str, *, image: str, label: str) -> RecordFile:
    """Open an archive of images.

    Args:
        path: the file.
        file: its name, for messages.
        image: name of the column that the images become.
        label: name of the column that the folders' names become.
    """
    return RecordFile(_batches(path, file, image=image, label=label))


def _batches(path: Path, file: str, *, image: str, label: str) -> Iterator[RecordBatch]:
    images: list[bytes] = []
    labels: list[str] = []
    places: list[int] = []
    faults: list[Fault] = []
    place = size = 0

    def batch() -> RecordBatch:
        columns: dict[str, Values] = {image: Pictures(images), label: Texts(pa.array(labels, pa.string()))}
        return RecordBatch(columns, np.array(places, np.int64), tuple(faults))

    for member in members(path, file, max_bytes=MAX_RECORD_BYTES):
        parts = member.name.removeprefix("./").split("/")
        if parts[-1].startswith("."):
            continue
        fault = _fault(member, parts)
        if fault or member.data is None:
            faults.append(Fault(place, fault))
        else:
            images.append(member.data)
            labels.append(parts[-2])
            places.append(place)
            size += member.size
        place += 1
        if len(images) == _BATCH_RECORDS or len(faults) == _BATCH_RECORDS or size > _BATCH_BYTES:
            yield batch()
            images, labels, places, faults, size = [], [], [], [], 0
    if images or faults:
        yield batch()
    if place == 0:
        raise malformed(file, "the whole archive", "it holds no file", expected="{label}/{file}.png")


def _fault(member: Member, parts: list[str]) -> str:
    """What keeps a member from being a record; empty if nothing does."""
    if member.special:
        return f"{member.name!r} is {member.special}; expected an image file"
    if not parts[-1].lower().endswith(_SUFFIXES):
        return f"{member.name!r} is not named as an image; expected .png, .jpg or .bmp"
    if len(parts) < 2:
        return f"{member.name!r} is in no folder; expected {{label}}/{{file}}"
    if member.data is None:
        return f"{member.name!r} has {member.size} bytes; expected at most {MAX_RECORD_BYTES}"
    return ""

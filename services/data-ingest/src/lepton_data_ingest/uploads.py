"""Taking in a file part by part, so that a transfer can break anywhere and go on.
 A file is kept as parts of `PART_BYTES`, the last one shorter, each an object named by its offset. A part is
stored whole before the upload's `committed_size` counts it, and is never overwritten: whoever writes the same
file writes the same parts, and if someone writes another file under its name, the digest of all parts tells
at the end.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from lepton_common.errors import ChecksumMismatch, TooLarge, WrongOffset
from lepton_common.objects import ObjectStore

PART_BYTES = 8 * 1024 * 1024
"""What a broken transfer loses at most."""


@dataclass(frozen=True)
class Part:
    """A piece of a file, ready to be stored."""

    offset: int
    """Place of its first byte in the file; a multiple of `PART_BYTES`."""
    data: bytes
    """Its bytes: `PART_BYTES`, fewer at the end of the file."""

    @property
    def end(self) -> int:
        """Place after its last byte."""
        return self.offset + len(self.data)


class Assembly:
    """Cuts a stream of pieces, as they arrive, into parts."""

    def __init__(self, *, committed_size: int, size_bytes: int) -> None:
        """Go on after `committed_size` of `size_bytes`."""
        self._start = committed_size
        self._size_bytes = size_bytes
        self._waiting = bytearray()

    @property
    def received(self) -> int:
        """Place after the last byte that arrived."""
        return self._start + len(self._waiting)

    def take(self, offset: int, data: bytes) -> Iterator[Part]:
        """Take a piece, and give the parts that are whole now.

        Raises:
            WrongOffset: it is not the next piece.
            TooLarge: it goes beyond the announced end.
        """
        if offset != self.received:
            raise wrong_offset(offset, committed_size=self.received)
        if offset + len(data) > self._size_bytes:
            raise TooLarge(
                f"there are more bytes than the {self._size_bytes} that were announced",
                metadata={"limit_bytes": str(self._size_bytes), "size_bytes": str(offset + len(data))},
            )
        self._waiting += data
        while self._waiting and (len(self._waiting) >= PART_BYTES or self.received == self._size_bytes):
            part = Part(self._start, bytes(self._waiting[:PART_BYTES]))
            del self._waiting[:PART_BYTES]
            self._start = part.end
            yield part


def prefix(dataset: str, uid: str) -> str:
    """Where the parts of an upload are.

    Args:
        dataset: the dataset's name, `datasets/{dataset}`.
        uid: the upload's.
    """
    return f"{dataset}/uploads/{uid}"


def store_part(objects: ObjectStore, folder: str, part: Part) -> bool:
    """Store a part below the folder; False if one was there, which is then left as it is."""
    return objects.put(f"{folder}/{part.offset:016x}", part.data, if_absent=True)


def stored_digest(objects: ObjectStore, folder: str) -> tuple[str, int]:
    """SHA-256 and length of what the parts below the folder make together."""
    digest, size = hashlib.sha256(), 0
    for part in objects.list(folder):
        for chunk in objects.stream(part.key):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def wrong_offset(offset: int, *, committed_size: int) -> WrongOffset:
    """The error for a piece that is not the next one."""
    return WrongOffset(
        f"the write starts at byte {offset}; go on at byte {committed_size}",
        metadata={"offset": str(offset), "committed_size": str(committed_size)},
    )


def checksum_mismatch(*, expected: str, found: str) -> ChecksumMismatch:
    """The error for a file that is not the announced one."""
    return ChecksumMismatch(
        "the bytes do not have the announced SHA-256; the upload starts again at byte 0",
        metadata={"expected_sha256": expected, "sha256": found, "committed_size": "0"},
    )

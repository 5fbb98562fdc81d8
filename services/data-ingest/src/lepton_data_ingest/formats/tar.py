"""The tar format, read from front to back: POSIX ustar, with the long names of pax and GNU; plain or gzip.
 The standard library's `tarfile` keeps every member it has met, takes the end of a file in mid-header for the
end of the archive, and costs more than decoding a small image does. Reading members in order, to look at them
and never to unpack them, is little code.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from lepton_data_ingest.formats.idx import GZIP_MAGIC
from lepton_data_ingest.formats.records import malformed

_BLOCK = 512
_END = bytes(_BLOCK)
_REGULAR = (b"0", b"\0", b"7")
_FOLDER = b"5"
_PAX = b"x"
_PAX_GLOBAL = b"g"
_GNU_NAME = b"L"
_GNU_LINK = b"K"
_SPECIAL = {
    b"1": "a link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a pipe",
    b"S": "a sparse file",
}
_MAX_EXTENSION_BYTES = 1024 * 1024
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Member:
    """A member that is not a folder."""

    name: str
    """Its path in the archive, `/` between the parts."""
    size: int
    """Its length in bytes."""
    data: bytes | None
    """Its bytes; None if it is larger than was asked for, or special."""
    special: str = ""
    """What it is instead of a regular file, as in `a link`; empty for a regular file."""


def is_header(block: bytes) -> bool:
    """Whether a block of 512 bytes is the header of a member: the checksum in it is right."""
    if len(block) < _BLOCK or not block[0]:
        return False
    try:
        declared = _octal(block[148:156])
    except ValueError:
        return False
    return declared == sum(block) - sum(block[148:156]) + 8 * ord(" ")


def members(path: Path, file: str, *, max_bytes: int) -> Iterator[Member]:
    """The members in order, one in memory.

    Args:
        path: the archive.
        file: its name, for messages.
        max_bytes: larger members come without their data.

    Raises:
        MalformedFile: it is not a tar, it is cut off or damaged, or a name leads out of the archive.
    """
    with path.open("rb") as raw:
        compressed = raw.read(2) == GZIP_MAGIC
    with cast(BinaryIO, gzip.open(path, "rb")) if compressed else path.open("rb") as stream:
        yield from _members(_Blocks(stream, file), max_bytes=max_bytes)


class _Blocks:
    """Reads exactly so many bytes, and knows where it is."""

    def __init__(self, stream: BinaryIO, file: str) -> None:
        self._stream = stream
        self.file = file
        self.place = 0

    def read(self, size: int, *, what: str) -> bytes:
        data = self._up_to(size, what=what)
        if len(data) < size:
            raise malformed(self.file, f"byte {self.place}", "the archive ends too early", expected=what)
        return data

    def skip(self, size: int, *, what: str) -> None:
        while size > 0:
            size -= len(self.read(min(size, _CHUNK_BYTES), what=what))

    def end(self) -> None:
        """Read the padding after the end mark, which is what makes gzip compare its checksum."""
        self._up_to(_CHUNK_BYTES, what="an intact gzip file")

    def _up_to(self, size: int, *, what: str) -> bytes:
        try:
            data = self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            problem = "the compressed data ends too early or is damaged"
            raise malformed(self.file, f"byte {self.place}", problem, expected=what) from error
        self.place += len(data)
        return data


def _members(blocks: _Blocks, *, max_bytes: int) -> Iterator[Member]:
    long_name, extended = "", dict[str, str]()
    while (header := blocks.read(_BLOCK, what="the header of a member or the end mark of 512 zeros")) != _END:
        start = blocks.place - _BLOCK
        if not is_header(header):
            raise malformed(
                blocks.file, f"byte {start}", "this is not a tar header", expected="a header that sums up"
            )
        kind = header[156:157]
        size = int(extended.get("size", "0")) or _size(header, blocks.file, start)
        padding = -size % _BLOCK
        if kind in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK):
            if size > _MAX_EXTENSION_BYTES:
                raise malformed(
                    blocks.file, f"byte {start}", f"a name of {size} bytes", expected="less than 1 MiB"
                )
            data = blocks.read(size + padding, what="a long name")[:size]
            if kind == _PAX:
                extended = _pax(data, blocks.file, start)
            elif kind == _GNU_NAME:
                long_name = _text(data.rstrip(b"\0"))
            continue
        name = extended.get("path") or long_name or _name(header)
        if name.startswith("/") or ".." in name.split("/"):
            expected = "names below the root of the archive"
            raise malformed(
                blocks.file, f"byte {start}", f"the name {name!r} leads out of it", expected=expected
            )
        member = f"{size} bytes of {name!r}"
        if kind in _REGULAR and size <= max_bytes:
            yield Member(name, size, blocks.read(size + padding, what=member)[:size])
        else:
            blocks.skip(size + padding if kind in _REGULAR else 0, what=member)
            if kind != _FOLDER:
                yield Member(
                    name, size, None, "" if kind in _REGULAR else _SPECIAL.get(kind, "no regular file")
                )
        long_name, extended = "", {}
    blocks.end()


def _name(header: bytes) -> str:
    name = _text(header[:100].partition(b"\0")[0])
    prefix = _text(header[345:500].partition(b"\0")[0]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _octal(digits: bytes) -> int:
    return int(digits.strip(b" \0") or b"0", 8)


def _size(header: bytes, file: str, start: int) -> int:
    field = header[124:136]
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        size = _octal(field)
    except ValueError:
        size = -1
    if size < 0:
        raise malformed(
            file, f"byte {start + 124}", f"the length {field!r} is no number", expected="octal digits"
        )
    return size


def _pax(data: bytes, file: str, start: int) -> dict[str, str]:
    """The records `length key=value newline` of an extended header."""
    found = {}
    while data:
        length, _, rest = data.partition(b" ")
        key, separator, value = (
            rest[: int(length) - len(length) - 1].partition(b"=") if length.isdigit() else (b"",) * 3
        )
        if not separator or not value.endswith(b"\n"):
            raise malformed(
                file, f"byte {start}", "an extended header is damaged", expected="length key=value"
            )
        found[_text(key)] = _text(value[:-1])
        data = data[int(length) :]
    if not found.get("size", "0").isdigit():
        raise malformed(
            file, f"byte {start}", f"the length {found['size']!r} is no number", expected="digits"
        )
    return found

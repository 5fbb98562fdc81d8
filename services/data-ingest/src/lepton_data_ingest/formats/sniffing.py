"""Telling a file's format by its first bytes; by its name only where bytes cannot tell."""

import gzip
import zlib
from pathlib import Path

from lepton_data_ingest.formats import idx, tar
from lepton_data_ingest.formats.format import Format
from lepton_data_ingest.formats.records import malformed

_HEAD_BYTES = 512
_PARQUET = b"PAR1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def sniff(path: Path, file: str) -> Format:
    """Tell the format.

    Args:
        path: the file.
        file: the name it was brought under.

    Raises:
        MalformedFile: it is none of the known ones, or not what its name says.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith(idx.GZIP_MAGIC):
        head = _decompressed_head(path, file)
        packed = _by_content(head)
        if packed in (Format.IDX, Format.IMAGE_TAR):
            return packed
        raise malformed(
            file, "byte 0", "it is gzip of something else", expected="IDX or a tar in a gzip file"
        )
    found = _by_content(head)
    if found is not None:
        return found
    suffix = Path(file).suffix.lower()
    named = {".parquet": "Parquet", ".npz": "NPZ", ".tar": "tar", ".gz": "gzip", ".tgz": "gzip"}
    if suffix in named:
        raise malformed(
            file, "byte 0", f"it does not start like {named[suffix]}", expected="what its name says"
        )
    if suffix != ".csv" and b"\0" in head:
        raise malformed(
            file, "byte 0", "the format is not known", expected="CSV, Parquet, NPZ, IDX or a tar of images"
        )
    return Format.CSV


def _by_content(head: bytes) -> Format | None:
    if head.startswith(_PARQUET):
        return Format.PARQUET
    if head.startswith(_ZIP):
        return Format.NPZ
    if idx.matches(head):
        return Format.IDX
    if tar.is_header(head):
        return Format.IMAGE_TAR
    return None


def _decompressed_head(path: Path, file: str) -> bytes:
    try:
        with gzip.open(path, "rb") as stream:
            return stream.read(_HEAD_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise malformed(
            file, "byte 0", "it is damaged gzip", expected="IDX or a tar in a gzip file"
        ) from error

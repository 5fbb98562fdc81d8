"""Files that no dataset version can be made of, and what the user must be told of each."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton_common.errors import (
    LeptonError,
    MalformedFile,
    SchemaViolation,
    TooLarge,
    TooManyRejected,
)

FLOWERS = pb.Schema(
    label="species",
    columns=[
        pb.Column(name="length", type=pb.COLUMN_TYPE_NUMBER, minimum=0, maximum=100),
        pb.Column(name="petals", type=pb.COLUMN_TYPE_INTEGER),
        pb.Column(name="species", type=pb.COLUMN_TYPE_CATEGORY, values=["iris", "rose"]),
    ],
)
"""Two numbers and a label of two values."""

TINY_IMAGES = pb.Schema(
    label="label",
    columns=[
        pb.Column(name="image", type=pb.COLUMN_TYPE_IMAGE, shape=[4, 4, 1]),
        pb.Column(name="label", type=pb.COLUMN_TYPE_CATEGORY),
    ],
)
"""Grey images of 4 x 4 pixels with a label."""

TEN_GB = 10 * 1000**3
BOMB_BYTES = 96 << 20
"""Of zeros: 100 KB compressed."""


@dataclass(frozen=True)
class BadFile:
    """A file, and the error of a version that is built from it."""

    name: str
    make: Callable[[], bytes]
    error: type[LeptonError]
    says: tuple[str, ...]
    """The file at fault, the place in it, and what would be right."""
    schema: pb.Schema = field(default_factory=pb.Schema)
    format: pb.Format.ValueType = pb.FORMAT_UNSPECIFIED


def text(content: str, *, encoding: str = "utf-8") -> Callable[[], bytes]:
    """A text file."""
    return lambda: content.encode(encoding)


def idx(*sizes: int, data: bytes) -> bytes:
    """An IDX file of bytes whose header says these sizes."""
    return struct.pack(f">HBB{len(sizes)}I", 0, 8, len(sizes), *sizes) + data


def npz(**columns: Any) -> bytes:
    """A compressed archive of arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **columns)
    return file.getvalue()


def npz_that_lies() -> bytes:
    """An archive whose array of 8 bytes claims to have 10 GB."""
    array, file = io.BytesIO(), io.BytesIO()
    claim = {"descr": "|u1", "fortran_order": False, "shape": (TEN_GB,)}
    np.lib.format.write_array_header_1_0(array, claim)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", array.getvalue() + bytes(8))
    return file.getvalue()


def npz_that_is_damaged() -> bytes:
    """An archive in which one bit of an array is not what it was."""
    file = io.BytesIO()
    np.savez(file, x=np.arange(64.0), label=np.arange(64) % 2)
    data = bytearray(file.getvalue())
    data[data.index(np.float64(63).tobytes())] ^= 1
    return bytes(data)


def png(width: int = 4, height: int = 4) -> bytes:
    """A grey image."""
    file = io.BytesIO()
    Image.new("L", (width, height), 128).save(file, "PNG")
    return file.getvalue()


def png_bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """100 bytes that claim to be an image of 3.6 GB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tar(*members: tuple[str, bytes | str]) -> bytes:
    """An archive of files by name; a text instead of bytes makes a symbolic link to there."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


BAD_ROWS = {
    "text in a number column": (b"wide,5,iris", "length", "'wide' is not a number"),
    "NaN": (b"nan,5,iris", "length", "NaN is not a number to learn from; expected a finite number"),
    "infinity": (b"inf,5,iris", "length", "the number is infinite; expected a finite number"),
    "a number out of its bounds": (b"-2,5,iris", "length", "-2.0 is too small; expected at least 0"),
    "a missing value": (b",5,iris", "length", "the value is missing; expected a number"),
    "a half in a column of whole numbers": (b"2,5.5,iris", "petals", "'5.5' is not a whole number"),
    "an unknown label": (b"2,5,oak", "species", "'oak' is not an allowed value; expected one of iris, rose"),
    "text that is not UTF-8": (b"2,5,ros\xe9", "species", "it is not UTF-8"),
    "a cell too many": (b"2,5,iris,red", "", "the row has 4 cells; expected 3"),
    "a cell too few": (b"2,5", "", "the row has 2 cells; expected 3"),
}
"""Rows of `FLOWERS` that are left out; with the column at fault and what is told."""


def flowers() -> bytes:
    """A CSV of a hundred good rows, and the bad ones at its end."""
    good = [f"{row},{row % 9},{'iris' if row % 2 else 'rose'}".encode() for row in range(100)]
    return b"\n".join([b"length,petals,species", *good, *(row for row, _, _ in BAD_ROWS.values())]) + b"\n"


BAD_MEMBERS: dict[str, tuple[str, bytes | str, str]] = {
    "an image of the wrong size": (
        "a/wide.png",
        png(9, 4),
        "the image has the shape [4, 9, 1]; expected [4, 4, 1]",
    ),
    "an image that unpacks to gigabytes": (
        "a/bomb.png",
        png_bomb(),
        "far too large; expected at most 16 million pixels",
    ),
    "an image that is cut off": ("a/half.png", png()[:-20], "the image is damaged or none; expected PNG"),
    "a link": ("a/link.png", "/etc/passwd", "'a/link.png' is a symbolic link; expected an image file"),
    "a file that is no image": ("a/run.sh", b"#!/bin/sh\n", "'a/run.sh' is not named as an image"),
    "an image without a label": ("lost.png", png(), "'lost.png' is in no folder; expected {label}/{file}"),
}
"""Members of a tar of `TINY_IMAGES` that are left out; with what is told."""


def pictures() -> bytes:
    """A tar of good images, and the bad ones at its end."""
    good = [(f"{label}/{number}.png", png()) for number in range(20) for label in "ab"]
    return tar(*good, *((name, content) for name, content, _ in BAD_MEMBERS.values()))


FILES = {
    "text in a number column": BadFile(
        "flowers.csv",
        text("length,petals,species\n2,5,iris\nwide,5,rose\n"),
        TooManyRejected,
        ("flowers.csv record 1 column 'length': 'wide' is not a number", "1 of 2 records"),
        FLOWERS,
    ),
    "a CSV without a header": BadFile(
        "bare.csv",
        text("2,5,iris\n3,5,rose\n"),
        SchemaViolation,
        ("bare.csv", "'length'", "2, 5, iris"),
        FLOWERS,
    ),
    "a CSV without the label": BadFile(
        "blind.csv", text("length,petals\n2,5\n"), SchemaViolation, ("blind.csv", "'species'"), FLOWERS
    ),
    "two columns of one name": BadFile(
        "twice.csv",
        text("x,x,label\n1,2,a\n"),
        MalformedFile,
        ("twice.csv", "column 1", "'x'", "no two alike"),
    ),
    "a header alone": BadFile(
        "bald.csv", text("x,label\n"), MalformedFile, ("bald.csv", "line 2", "at least one row")
    ),
    "a header that is not UTF-8": BadFile(
        "latin.csv",
        text("länge,label\n1,a\n", encoding="latin-1"),
        MalformedFile,
        ("latin.csv", "line 1", "UTF-8"),
    ),
    "a quote that never ends": BadFile(
        "open.csv",
        text('x,label\n1,"a\n2,b\n'),
        MalformedFile,
        ("open.csv", "the quote's end"),
    ),
    "a file of no known format": BadFile(
        "noise.bin", lambda: bytes(range(256)), MalformedFile, ("noise.bin", "CSV, Parquet, NPZ, IDX")
    ),
    "a truncated IDX": BadFile(
        "images.idx", lambda: idx(9, 4, 4, data=bytes(100)), MalformedFile, ("images.idx", "160 bytes", "116")
    ),
    "an IDX with 10 GB in its header": BadFile(
        "huge.idx",
        lambda: idx(TEN_GB // 16, 4, 4, data=bytes(64)),
        MalformedFile,
        ("huge.idx", "10000000016 bytes", "sizes that fit"),
    ),
    "a gzip that cannot hold its 10 GB": BadFile(
        "huge.idx.gz",
        lambda: gzip.compress(idx(TEN_GB // 16, 4, 4, data=bytes(64))),
        MalformedFile,
        ("huge.idx.gz", "10000000016 bytes", "sizes that fit"),
    ),
    "a gzip that unpacks to one huge record": BadFile(
        "bomb.idx.gz",
        lambda: gzip.compress(idx(1, 1, BOMB_BYTES, data=bytes(BOMB_BYTES)), 1),
        TooLarge,
        ("bomb.idx.gz", str(BOMB_BYTES), "at most"),
    ),
    "a truncated gzip": BadFile(
        "half.idx.gz",
        lambda: gzip.compress(idx(4096, data=np.random.default_rng(0).bytes(4096)))[:3000],
        MalformedFile,
        ("half.idx.gz", "an intact gzip file"),
    ),
    "a truncated NPZ": BadFile(
        "half.npz",
        lambda: npz(x=np.arange(100.0), label=np.arange(100))[:-50],
        MalformedFile,
        ("half.npz", "an intact zip archive"),
    ),
    "an NPZ with a damaged array": BadFile(
        "rot.npz", npz_that_is_damaged, MalformedFile, ("rot.npz", "'x.npy'", "an intact zip archive")
    ),
    "an NPZ with 10 GB in its header": BadFile(
        "huge.npz", npz_that_lies, MalformedFile, ("huge.npz", "'x.npy'", "a shape that fits the data")
    ),
    "an NPZ that unpacks to one huge record": BadFile(
        "bomb.npz",
        lambda: npz(x=np.zeros((1, BOMB_BYTES), np.uint8), label=[0]),
        TooLarge,
        ("bomb.npz", str(BOMB_BYTES), "at most"),
    ),
    "an NPZ of pickled objects": BadFile(
        "pickle.npz",
        lambda: npz(x=np.array([{}, {}], dtype=object), label=[0, 1]),
        MalformedFile,
        ("pickle.npz", "'x.npy'", "never objects"),
    ),
    "an NPZ with columns of different lengths": BadFile(
        "ragged.npz",
        lambda: npz(x=[1.0, 2.0], label=[0]),
        MalformedFile,
        ("ragged.npz", "x has 2, label has 1"),
    ),
    "NaN in an NPZ": BadFile(
        "nan.npz",
        lambda: npz(x=[1.0, np.nan, 3.0], label=[0, 1, 0]),
        TooManyRejected,
        ("nan.npz record 1 column 'x'", "expected a finite number"),
    ),
    "images of another shape than the schema's": BadFile(
        "images.npz",
        lambda: npz(image=np.zeros((3, 5, 5), np.uint8), label=["a", "b", "a"]),
        SchemaViolation,
        ("images.npz", "'image'", "[5, 5]", "[4, 4, 1]"),
        TINY_IMAGES,
    ),
    "a Parquet of garbage": BadFile(
        "noise.parquet",
        lambda: b"PAR1" + bytes(range(256)) + b"\xff\xff\xff\x7fPAR1",
        MalformedFile,
        ("noise.parquet", "an intact Parquet file"),
    ),
    "a CSV that is said to be Parquet": BadFile(
        "flowers.csv",
        text("x,label\n1,a\n"),
        MalformedFile,
        ("flowers.csv", "an intact Parquet file"),
        format=pb.FORMAT_PARQUET,
    ),
    "a tar with a name that leads out of it": BadFile(
        "escape.tar",
        lambda: tar(("../../etc/cron.d/a.png", png())),
        MalformedFile,
        ("escape.tar", "'../../etc/cron.d/a.png' leads out of it", "below the root"),
    ),
    "a truncated tar": BadFile(
        "half.tar",
        lambda: tar(("a/1.png", png()))[:700],
        MalformedFile,
        ("half.tar", "ends too early", "'a/1.png'"),
    ),
}
"""Files whose versions fail."""

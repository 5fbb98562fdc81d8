"""Files that no version can be made of, each refused with the right error."""

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lepton_common.errors import LeptonError
from lepton_common.objects import ObjectStore
from lepton_data_ingest.build import build
from lepton_data_ingest.order import Order, Source
from lepton_data_ingest.schema import DraftSchema

GOOD = b"x,label\n" + b"".join(b"%d.5,%s\n" % (n, b"ab"[n % 2 : n % 2 + 1]) for n in range(60))


def idx(*shape: int, data: bytes | None = None) -> bytes:
    """An IDX file of bytes, which may lie."""
    sizes = struct.pack(f">{len(shape)}I", *shape)
    return bytes([0, 0, 8, len(shape)]) + sizes + (bytes(int(np.prod(shape))) if data is None else data)


def npz(**arrays: Any) -> bytes:
    """An archive of arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def tar(*names: str, sizes: tuple[int, ...] = (8,)) -> bytes:
    """An archive of images of these sizes in turn."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, name in enumerate(names):
            image = io.BytesIO()
            size = sizes[number % len(sizes)]
            Image.fromarray(np.full((size, size), number, np.uint8)).save(image, "PNG")
            info = tarfile.TarInfo(name)
            info.size = image.tell()
            image.seek(0)
            archive.addfile(info, image)
    return buffer.getvalue()


ALLOWED = {
    "columns": [
        {"name": "x", "type": "COLUMN_TYPE_NUMBER", "minimum": 0.0, "maximum": 100.0},
        {"name": "label", "type": "COLUMN_TYPE_CATEGORY", "values": ["a", "b"]},
    ],
    "label": "label",
}
PICTURES = [f"{'ab'[n % 2]}/{n}.png" for n in range(20)]

BAD_FILES: list[tuple[str, bytes, dict[str, Any], str, str]] = [
    ("images.idx", idx(60, 8, 8)[:-1], {}, "MALFORMED_FILE", "images.idx: byte 4: the sizes 60 x 8 x 8"),
    ("ten.idx", idx(10_000_000, 32, 32, data=b""), {}, "MALFORMED_FILE", "make 10240000016 bytes"),
    ("d.gz", gzip.compress(idx(60, 8, 8), mtime=0)[:-20], {}, "MALFORMED_FILE", "damaged"),
    (
        "d.npz",
        npz(x=np.array([{}, {}], object), label=np.arange(2)),
        {},
        "MALFORMED_FILE",
        "never objects",
    ),
    ("d.npz", npz(x=np.arange(9.0))[:-30], {}, "MALFORMED_FILE", "d.npz: the archive: it is damaged"),
    ("d.parquet", b"PAR1" + bytes(50), {}, "MALFORMED_FILE", "d.parquet: the footer"),
    ("d.parquet", GOOD, {}, "MALFORMED_FILE", "does not start like Parquet"),
    ("d.bin", bytes(100), {}, "MALFORMED_FILE", "the format is not known"),
    ("d.csv", b"x,label\n", {}, "MALFORMED_FILE", "the file ends after its header"),
    ("d.tar", tar(*PICTURES, "../../etc/x.png"), {}, "MALFORMED_FILE", "leads out of it"),
    ("d.tar", tar(*PICTURES)[:3000], {}, "MALFORMED_FILE", "ends too early"),
    ("d.tar", tar(*PICTURES, "a/big.png", sizes=(8,) * 20 + (9,)), {}, "TOO_MANY_REJECTED", "[9, 9, 1]"),
    ("d.csv", GOOD + b"twelve,a\n", {}, "TOO_MANY_REJECTED", "column 'x': 'twelve' is not a number"),
    ("d.csv", GOOD + b"nan,a\n", {}, "TOO_MANY_REJECTED", "record 60 column 'x': NaN is not a number"),
    ("d.csv", GOOD + b",a\n", {}, "TOO_MANY_REJECTED", "the value is missing; expected a number"),
    ("d.csv", GOOD + b"1,2,3\n", {}, "TOO_MANY_REJECTED", "the row has 3 cells; expected 2"),
    ("d.csv", GOOD + b"1,z\n", ALLOWED, "TOO_MANY_REJECTED", "'z' is not an allowed value"),
    ("d.csv", GOOD + b"101,a\n", ALLOWED, "TOO_MANY_REJECTED", "expected at most 100"),
    ("d.csv", GOOD, {"label": "species"}, "INVALID_FIELD", "'species' is not one of"),
    ("d.csv", GOOD.replace(b"label", b"kind"), {}, "INVALID_FIELD", "name the column to predict"),
    (
        "d.csv",
        GOOD.replace(b"label", b"kind"),
        ALLOWED,
        "SCHEMA_VIOLATION",
        "there is no column 'label'",
    ),
    ("d.npz", npz(x=np.zeros((9, 2)), label=np.zeros(8)), {}, "MALFORMED_FILE", "they differ in length"),
    ("images.idx", idx(60, 8, 8), {}, "INVALID_FIELD", "name the column to predict"),
]


@pytest.mark.parametrize(
    ("filename", "data", "schema", "reason", "text"),
    BAD_FILES,
    ids=[f"{file[0]}: {file[4]}" for file in BAD_FILES],
)
def test_a_bad_file_is_refused_with_its_reason(
    tmp_path: Path, filename: str, data: bytes, schema: dict[str, Any], reason: str, text: str
) -> None:
    store = ObjectStore(f"file://{tmp_path}/objects")
    store.put(f"parts/{0:016x}", data)
    source = Source(
        upload="datasets/d/uploads/1",
        filename=filename,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        parts="parts",
    )
    order = Order(dataset="d", sources=(source,), schema=DraftSchema.from_json(schema))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(LeptonError) as caught:
        build(order, store, scratch, progress=lambda phase, done, total: None)
    assert caught.value.reason == reason
    assert text in str(caught.value)
    assert store.list("datasets/d/manifests") == []

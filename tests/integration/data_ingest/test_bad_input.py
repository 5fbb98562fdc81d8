"""Bad input of every kind gets a clear error, and the service goes on."""

import gzip
import io
import struct
import tarfile
from typing import Any

import numpy as np
from PIL import Image

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton.job.v1 import job_pb2
from lepton_common.status import from_status

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


ALLOWED = pb.Schema(
    columns=[
        pb.Column(name="x", type=pb.COLUMN_TYPE_NUMBER, minimum=0, maximum=100),
        pb.Column(name="label", type=pb.COLUMN_TYPE_CATEGORY, values=["a", "b"]),
    ],
    label="label",
)
PICTURES = [f"{'ab'[n % 2]}/{n}.png" for n in range(20)]


BAD_FILES: list[tuple[str, bytes, dict[str, Any], str, str]] = [
    ("images.idx", idx(60, 8, 8)[:-1], {}, "MALFORMED_FILE", "images.idx: byte 4: the sizes 60 x 8 x 8"),
    ("ten.idx", idx(10_000_000, 32, 32, data=b""), {}, "MALFORMED_FILE", "make 10240000016 bytes"),
    ("d.gz", gzip.compress(idx(60, 8, 8))[:-20], {}, "MALFORMED_FILE", "damaged"),
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
    ("d.csv", GOOD + b"1,z\n", {"schema": ALLOWED}, "TOO_MANY_REJECTED", "'z' is not an allowed value"),
    ("d.csv", GOOD + b"101,a\n", {"schema": ALLOWED}, "TOO_MANY_REJECTED", "expected at most 100"),
    ("d.csv", GOOD, {"schema": pb.Schema(label="species")}, "INVALID_FIELD", "'species' is not one of"),
    ("d.csv", GOOD.replace(b"label", b"kind"), {}, "INVALID_FIELD", "name the column to predict"),
    (
        "d.csv",
        GOOD.replace(b"label", b"kind"),
        {"schema": ALLOWED},
        "SCHEMA_VIOLATION",
        "there is no column 'label'",
    ),
    ("d.npz", npz(x=np.zeros((9, 2)), label=np.zeros(8)), {}, "MALFORMED_FILE", "they differ in length"),
    ("images.idx", idx(60, 8, 8), {}, "INVALID_FIELD", "name the column to predict"),
]


async def test_every_bad_file_fails_its_version_with_a_reason(client: Any) -> None:
    dataset = await client.dataset()
    versions = []
    # All at once: building them in turn takes minutes.
    for filename, data, spec, _, _ in BAD_FILES:
        upload = await client.upload(dataset, data, filename)
        versions.append(await client.create(dataset, upload, **spec))
    for version, (filename, _, _, reason, text) in zip(versions, BAD_FILES, strict=True):
        ended = await client.ended(version.name)
        assert ended.status.state == job_pb2.JOB_STATE_FAILED, filename
        error = from_status(ended.status.error)
        assert error.reason == reason, filename
        assert text in str(error)
        assert ended.status.attempt == 1


async def test_the_service_goes_on_after_all_that(client: Any) -> None:
    dataset = await client.dataset()
    version = await client.build(dataset, await client.upload(dataset, GOOD, "good.csv"))
    assert version.counts.train > 0
    assert version.status.attempt == 1

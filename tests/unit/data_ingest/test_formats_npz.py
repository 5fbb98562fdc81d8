"""NPZ archives are read a few records at a time, and their headers are not believed."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from lepton_common.errors import LeptonError, MalformedFile, SchemaViolation, TooLarge
from lepton_data_ingest.formats.npz import read
from lepton_data_ingest.formats.records import Numbers, RecordBatch, Texts


def batches(path: Any, columns: list[str] | None = None) -> list[RecordBatch]:
    """All records of a file."""
    return list(read(path, path.name, columns=columns).batches)


@pytest.mark.parametrize("compressed", [False, True], ids=["stored", "deflated"])
def test_arrays_become_columns(files: Any, digits: Any, compressed: bool) -> None:
    images, labels = digits
    path = files.npz("digits.npz", image=images, label=labels, compressed=compressed)
    assert read(path, "digits.npz").total == len(images)
    [batch] = batches(path)
    image, label = batch.columns["image"], batch.columns["label"]
    assert isinstance(image, Numbers) and isinstance(label, Numbers)
    np.testing.assert_array_equal(image.values, images)
    np.testing.assert_array_equal(label.values, labels)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(24, dtype=">i4").reshape(4, 3, 2),
        np.array([True, False]),
        np.arange(3, dtype=np.float16),
    ],
    ids=["fortran-order", "big-endian", "bool", "half"],
)
def test_every_numeric_layout_is_read(files: Any, values: Any) -> None:
    [batch] = batches(files.npz("x.npz", x=values))
    found = batch.columns["x"]
    assert isinstance(found, Numbers)
    assert found.values.dtype == values.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found.values, values)


def test_texts_are_read(files: Any) -> None:
    [batch] = batches(files.npz("x.npz", x=np.array(["eins", "zwei", "äöü"])))
    found = batch.columns["x"]
    assert isinstance(found, Texts)
    assert found.values.to_pylist() == ["eins", "zwei", "äöü"]


def test_only_the_wanted_columns_are_read(files: Any) -> None:
    path = files.npz("x.npz", a=np.arange(3), b=np.array([{}, {}, {}], object))
    assert list(batches(path, ["a"])[0].columns) == ["a"]
    with pytest.raises(SchemaViolation, match=r"there is no column 'c'; its columns are a, b"):
        batches(path, ["c"])


def npy(shape: tuple[int, ...], dtype: str = "|u1", data: bytes = b"") -> bytes:
    """A `.npy` member whose header may lie."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


def zipped(**members: bytes) -> bytes:
    """An archive of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def declaring(size: int) -> bytes:
    """An archive whose directory declares so many bytes for a member that has few."""
    data = npy((size,), data=bytes(1000))
    header = len(npy((size,)))
    archive = bytearray(zipped(x=data))
    actual, claimed = len(data).to_bytes(4, "little"), (header + size).to_bytes(4, "little")
    return bytes(archive.replace(actual, claimed))


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (b"PK\x05\x06" + bytes(18), MalformedFile, "the archive holds no array"),
        (b"PK\x03\x04 and no zip", MalformedFile, "it is damaged"),
        (zipped(x=b"no numpy"), MalformedFile, "its header is not readable"),
        (zipped(x=npy((2,), "|O", b"\x80\x04.")), MalformedFile, "it has dtype object"),
        (zipped(x=npy((), data=b"1")), MalformedFile, "it has shape []"),
        (zipped(x=npy((3, 0))), MalformedFile, "it has shape [3, 0]"),
        (zipped(x=npy((10_000_000_000,), data=bytes(10))), MalformedFile, "makes 10000000128 bytes"),
        (zipped(x=npy((1, 10_000_000_000))), TooLarge, "one record has 10000000000 bytes"),
        (declaring(4_000_000_000), MalformedFile, "a shape that fits the data"),
        (zipped(x=npy((4,), data=b"1234"), y=npy((3,), data=b"123")), MalformedFile, "x has 4, y has 3"),
        (zipped(x=npy((4,), data=b"123")), MalformedFile, "a shape that fits the data"),
    ],
    ids=[
        "empty-archive",
        "no-archive",
        "no-array",
        "objects",
        "scalar",
        "empty-records",
        "ten-gigabytes-declared",
        "ten-gigabyte-record",
        "four-gigabytes-declared-twice",
        "different-lengths",
        "truncated-array",
    ],
)
def test_an_archive_that_is_not_as_declared_is_refused(
    files: Any, data: bytes, error: type[LeptonError], text: str
) -> None:
    path = files.write("x.npz", data)
    with pytest.raises(error) as caught:
        batches(path)
    assert text in str(caught.value)
    assert caught.value.metadata["file"] == "x.npz"


def test_damaged_data_is_noticed(files: Any) -> None:
    data = bytearray(files.npz("x.npz", x=np.arange(100_000)).read_bytes())
    data[5000] ^= 1
    with pytest.raises(MalformedFile, match=r"array 'x.npy': it is damaged"):
        batches(files.write("damaged.npz", bytes(data)))

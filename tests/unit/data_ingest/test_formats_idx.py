"""IDX files are read record by record, and their headers are not believed."""

import gzip
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lepton_common.errors import LeptonError, MalformedFile, TooLarge
from lepton_data_ingest.formats.idx import open_idx, read
from lepton_data_ingest.formats.records import Numbers


def contents(path: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """All values of a file and the places of its records."""
    batches = list(read({"x": open_idx(path, path.name)}).batches)
    columns = [batch.columns["x"] for batch in batches]
    values = [column.values for column in columns if isinstance(column, Numbers)]
    return np.concatenate(values), np.concatenate([batch.places for batch in batches])


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_every_element_type_is_read_in_native_order(files: Any, dtype: str, compressed: bool) -> None:
    values = np.arange(24).reshape(4, 3, 2).astype(dtype)
    found, places = contents(files.idx("x.idx", values, compressed=compressed))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(places, np.arange(4))


def test_files_stand_side_by_side(files: Any, digits: Any) -> None:
    images, labels = digits
    opened = {
        "image": open_idx(files.idx("images.gz", images, compressed=True), "images.gz"),
        "label": open_idx(files.idx("labels", labels), "labels"),
    }
    records = read(opened)
    assert records.total == len(images)
    [batch] = records.batches
    for column, expected in (("image", images), ("label", labels)):
        values = batch.columns[column]
        assert isinstance(values, Numbers)
        np.testing.assert_array_equal(values.values, expected)


def test_a_large_file_comes_in_batches_of_bounded_size(files: Any) -> None:
    values = np.zeros((20_000, 32, 32), np.uint8)
    batches = list(read({"x": open_idx(files.idx("x", values), "x")}).batches)
    assert len(batches) > 1
    assert max(len(batch.places) for batch in batches) * 1024 <= 8 * 1024 * 1024
    assert batches[-1].places[-1] == len(values) - 1


def header(*sizes: int, element: int = 8) -> bytes:
    """The start of an IDX file."""
    return bytes([0, 0, element, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (b"", MalformedFile, "byte 0: the file ends; expected 4 more bytes"),
        (b"\0\0\x08", MalformedFile, "byte 3: the file ends; expected 1 more bytes"),
        (b"\x89PNG\r\n\x1a\n", MalformedFile, "not the start of an IDX file"),
        (b"\0\0\x07\x01" + bytes(8), MalformedFile, "not the start of an IDX file"),
        (b"\0\0\x08\x00", MalformedFile, "not the start of an IDX file"),
        (header(2, 2), MalformedFile, "make 16 bytes and the file has 12"),
        (header(2) + b"123", MalformedFile, "make 10 bytes and the file has 11"),
        (
            header(10_000_000, 32, 32) + bytes(100),
            MalformedFile,
            "make 10240000016 bytes and the file has 116",
        ),
        (header(1, 100_000, 100_000), TooLarge, "one record has 10000000000 bytes"),
        (header(3, 0), MalformedFile, "a record of shape [0] is empty"),
        (
            gzip.compress(header(10_000_000, 32, 32), mtime=0),
            MalformedFile,
            "compressed bytes cannot hold them",
        ),
        (gzip.compress(header(2) + b"ab", mtime=0)[:-9], MalformedFile, "ends too early or is damaged"),
        (
            gzip.compress(header(200) + b"ab" * 50, mtime=0),
            MalformedFile,
            "the file ends; expected 100 more bytes",
        ),
        (gzip.compress(header(2) + b"abc", mtime=0), MalformedFile, "byte 10: there is more data"),
    ],
    ids=[
        "empty",
        "cut-magic",
        "png",
        "unknown-element-type",
        "no-dimension",
        "truncated",
        "too-long",
        "ten-gigabytes-declared",
        "ten-gigabyte-record",
        "empty-records",
        "ten-gigabytes-declared-in-gzip",
        "cut-gzip",
        "truncated-in-gzip",
        "too-long-in-gzip",
    ],
)
def test_a_file_that_is_not_as_declared_is_refused(
    files: Any, data: bytes, error: type[LeptonError], text: str
) -> None:
    path = files.write("x.idx", data)
    with pytest.raises(error) as caught:
        contents(path)
    assert text in str(caught.value)
    assert caught.value.metadata["file"] == "x.idx"


def test_files_of_different_length_do_not_stand_side_by_side(files: Any) -> None:
    opened = {
        "image": open_idx(files.idx("images", np.zeros((3, 2, 2), np.uint8)), "images"),
        "label": open_idx(files.idx("labels", np.zeros(4, np.uint8)), "labels"),
    }
    with pytest.raises(MalformedFile, match="labels: byte 4: 4 records; expected the 3 of images"):
        read(opened)

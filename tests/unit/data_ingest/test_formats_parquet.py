"""Parquet files give numbers, texts, tensors and images, and their claims are checked."""

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lepton_common.errors import MalformedFile, SchemaViolation, TooLarge
from lepton_data_ingest.formats import parquet
from lepton_data_ingest.formats.records import Fault, Numbers, Pictures, RecordBatch, Texts


def batches(path: Any, columns: list[str] | None = None) -> list[RecordBatch]:
    """All records of a file."""
    return list(parquet.read(path, path.name, columns=columns).batches)


def numbers(path: Any, column: str = "x") -> Numbers:
    """A numeric column of a small file."""
    [batch] = batches(path)
    values = batch.columns[column]
    assert isinstance(values, Numbers)
    return values


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1, 2], pa.int8()), np.array([1, 2], np.int8)),
        (pa.array([1, 2], pa.uint64()), np.array([1, 2], np.uint64)),
        (pa.array([1.5, 2], pa.float32()), np.array([1.5, 2], np.float32)),
        (pa.array([True, False]), np.array([True, False])),
        (pa.array([Decimal("1.5"), Decimal("2.0")]), np.array([1.5, 2.0])),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.uint8(), 2)), np.array([[1, 2], [3, 4]], np.uint8)),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.float32())), np.array([[1, 2], [3, 4]], np.float32)),
        (
            pa.array([[[1, 2]], [[3, 4]]], pa.list_(pa.list_(pa.int16(), 2), 1)),
            np.array([[[1, 2]], [[3, 4]]], np.int16),
        ),
    ],
    ids=["int8", "uint64", "float", "bool", "decimal", "fixed-list", "list", "nested-list"],
)
def test_numbers_and_lists_of_numbers_are_read(files: Any, array: Any, expected: Any) -> None:
    values = numbers(files.parquet("x.parquet", x=array))
    assert values.missing is None or not values.missing.any()
    assert values.values.dtype == expected.dtype
    np.testing.assert_array_equal(values.values, expected)


@pytest.mark.parametrize(
    ("array", "missing"),
    [
        (pa.array([1, None, 3]), [False, True, False]),
        (pa.array([True, None, False]), [False, True, False]),
        (pa.array([[1, 2], None, [3, None]], pa.list_(pa.uint8(), 2)), [False, True, True]),
        (pa.array([None, [1, 2], [3, None]], pa.list_(pa.int64())), [True, False, True]),
    ],
    ids=["scalar", "bool", "fixed-list", "list"],
)
def test_what_is_null_is_missing(files: Any, array: Any, missing: list[bool]) -> None:
    values = numbers(files.parquet("x.parquet", x=array))
    assert values.missing is not None
    assert values.missing.tolist() == missing


def test_tensors_keep_their_shape(files: Any, digits: Any) -> None:
    tensors: Any = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(digits[0]))
    values = numbers(files.parquet("x.parquet", x=tensors))
    np.testing.assert_array_equal(values.values, digits[0])


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None, "b"]),
        pa.array(["a", None, "b"], pa.large_string()),
        pa.array(["a", None, "b"]).dictionary_encode(),
    ],
    ids=["string", "large-string", "dictionary"],
)
def test_texts_are_read(files: Any, array: Any) -> None:
    [batch] = batches(files.parquet("x.parquet", x=array))
    values = batch.columns["x"]
    assert isinstance(values, Texts) and not values.untyped
    assert values.values.to_pylist() == ["a", None, "b"]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([b"1", None, b"2"]),
        pa.array([{"bytes": b"1", "path": "1.png"}, None, {"bytes": b"2", "path": None}]),
    ],
    ids=["binary", "struct"],
)
def test_binary_columns_are_image_files(files: Any, array: Any) -> None:
    [batch] = batches(files.parquet("x.parquet", x=array))
    values = batch.columns["x"]
    assert isinstance(values, Pictures)
    assert list(values.files) == [b"1", None, b"2"]


def test_lists_of_another_length_are_faults(files: Any) -> None:
    path = files.parquet("x.parquet", x=[None, [1, 2], [3], [4, 5], [6, 7, 8]])
    [batch] = batches(path)
    assert batch.places.tolist() == [0, 1, 3]
    assert list(batch.faults) == [
        Fault(2, "it has 1 values; expected 2", column="x"),
        Fault(4, "it has 3 values; expected 2", column="x"),
    ]


def test_places_run_on_over_row_groups(files: Any) -> None:
    path = files.folder / "x.parquet"
    pq.write_table(pa.table({"x": np.arange(50_000)}), path, row_group_size=7_000)
    records = parquet.read(path, "x.parquet")
    assert records.total == 50_000
    found = list(records.batches)
    np.testing.assert_array_equal(np.concatenate([batch.places for batch in found]), np.arange(50_000))


def test_only_the_wanted_columns_are_read(files: Any) -> None:
    path = files.parquet("x.parquet", **{"a b": [1], "when": [datetime.time(12)]})
    assert list(batches(path, ["a b"])[0].columns) == ["a b"]
    with pytest.raises(SchemaViolation, match=r"there is no column 'c'; its columns are a b, when"):
        batches(path, ["c"])
    with pytest.raises(MalformedFile, match=r"column 'when': it is of type time64"):
        batches(path)


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", "not readable"), (b"PAR1", "not readable"), (b"PAR1" + bytes(100) + b"PAR1", "not readable")],
    ids=["empty", "cut", "garbage"],
)
def test_a_file_that_is_no_parquet_is_refused(files: Any, data: bytes, text: str) -> None:
    with pytest.raises(MalformedFile, match=f"x.parquet: the footer: it is {text}"):
        batches(files.write("x.parquet", data))


@pytest.mark.parametrize(
    ("checksums", "place"), [(False, 10), (True, 200)], ids=["in-a-page-header", "in-a-page-with-checksum"]
)
def test_damaged_data_is_noticed(files: Any, checksums: bool, place: int) -> None:
    path = files.folder / "x.parquet"
    table = pa.table({"x": np.arange(10_000)})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=checksums)
    data = bytearray(path.read_bytes())
    data[place : place + 20] = bytes(range(235, 255))
    with pytest.raises(MalformedFile, match="after record 0: the data is damaged"):
        batches(files.write("damaged.parquet", bytes(data)))


def test_a_record_that_is_too_large_is_refused(files: Any) -> None:
    size = 65 * 1024 * 1024
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(size, np.uint8)), size)
    with pytest.raises(TooLarge, match=f"one record has {size} bytes"):
        batches(files.parquet("x.parquet", x=values))

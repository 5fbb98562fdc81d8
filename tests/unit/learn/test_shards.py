"""A shard gives back what was written, and says so when it is none."""

import numpy as np
import pytest

from lepton_common.errors import MalformedFile
from lepton_learn.schema import Batch
from lepton_learn.shards import read_shard, write_shard


def batch(records: int) -> Batch:
    random = np.random.default_rng(0)
    return {
        "number": random.normal(size=records).astype(np.float32),
        "integer": random.integers(-(2**62), 2**62, records),
        "category": np.array([f"größe {n % 3}" for n in range(records)], object),
        "image": random.integers(0, 256, (records, 5, 4, 3)).astype(np.uint8),
        "tensor": random.normal(size=(records, 2, 7)).astype(np.float32),
    }


@pytest.mark.parametrize("records", [0, 1, 1000])
def test_records_come_back_bit_for_bit(records: int) -> None:
    written = batch(records)
    read = read_shard(write_shard(written))
    assert list(read) == list(written)
    for name, values in written.items():
        assert read[name].dtype == values.dtype
        assert read[name].shape == values.shape
        np.testing.assert_array_equal(read[name], values)


def test_equal_records_give_equal_bytes() -> None:
    assert write_shard(batch(10)) == write_shard(batch(10))


def test_a_view_of_an_array_is_written_as_it_looks() -> None:
    image = batch(10)["image"][::2, ::-1]
    np.testing.assert_array_equal(read_shard(write_shard({"image": image}))["image"], image)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.zeros(3), id="float64"),
        pytest.param(np.zeros((3, 2), np.int64), id="integer tensor"),
        pytest.param(np.zeros(3, np.int32), id="int32"),
    ],
)
def test_another_dtype_is_a_fault_of_the_caller(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no shard holds"):
        write_shard({"x": values})


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: b"\0" * len(data), id="zeros"),
        pytest.param(lambda data: data[:100] + bytes(64) + data[164:], id="damaged page"),
    ],
)
def test_bytes_that_are_no_shard_are_malformed(damage: object) -> None:
    with pytest.raises(MalformedFile):
        read_shard(damage(write_shard(batch(1000))))  # type: ignore[operator]

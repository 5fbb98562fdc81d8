"""Statistics taken batch by batch are those of the whole."""

from typing import Any

import numpy as np
import pytest

from lepton_common.errors import SchemaViolation
from lepton_data_ingest import statistics
from lepton_data_ingest.statistics import Statistics
from lepton_learn.schema import Column, ColumnType, Schema, Transform

SCHEMA = Schema(
    (
        Column(name="image", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(3, 3, 1)),
        Column(name="number", type=ColumnType.NUMBER, transform=Transform.STANDARDIZE),
        Column(name="tensor", type=ColumnType.TENSOR, transform=Transform.IDENTITY, shape=(2,)),
        Column(name="word", type=ColumnType.CATEGORY, transform=Transform.ONE_HOT),
        Column(name="label", type=ColumnType.INTEGER, transform=Transform.INDEX),
    ),
    "label",
)


def records(count: int) -> dict[str, Any]:
    """Records with a large mean, which a sum of squares would spoil."""
    random = np.random.default_rng(0)
    return {
        "image": random.integers(3, 250, (count, 3, 3, 1), np.uint8),
        "number": (random.random(count) + 1e4).astype(np.float32),
        "tensor": random.normal(size=(count, 2)).astype(np.float32),
        "word": np.array(["b", "a", "b"] * (count // 3), object),
        "label": np.array([10, 9, 9] * (count // 3)),
    }


def test_batches_add_up_to_the_whole() -> None:
    whole = records(999)
    gathered = Statistics(SCHEMA)
    for start in range(0, 999, 100):
        gathered.add({name: values[start : start + 100] for name, values in whole.items()})
    found = {column.column: column for column in gathered.columns()}
    for name in ("image", "number", "tensor", "label"):
        values = whole[name].astype(np.float64)
        column = found[name]
        assert (column.count, column.minimum, column.maximum) == (999, values.min(), values.max())
        assert column.mean == pytest.approx(values.mean(), rel=1e-12)
        assert column.standard_deviation == pytest.approx(values.std(), rel=1e-9)
    assert found["word"].frequencies == {"b": 666, "a": 333}
    assert found["label"].frequencies == {"9": 666, "10": 333}
    assert found["number"].frequencies == {}


def test_only_the_most_frequent_values_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MAX_FREQUENCIES", 1)
    gathered = Statistics(SCHEMA)
    gathered.add(records(9))
    assert {column.column: dict(column.frequencies) for column in gathered.columns()}["word"] == {"b": 6}


def test_a_category_with_too_many_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MAX_DISTINCT", 1)
    with pytest.raises(SchemaViolation, match="the column 'word' has more than 1 different values"):
        Statistics(SCHEMA).add(records(9))

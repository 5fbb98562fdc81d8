"""Files of time series become versions, divided by time, or are refused with what to do."""

import datetime
from typing import Any

import numpy as np
import pytest

from lepton_common.errors import InvalidField, SchemaViolation, TooManyRejected
from lepton_data_ingest.schema import DraftSchema
from lepton_learn.manifest import Split
from lepton_learn.reading import read_split
from lepton_learn.series import HISTORY


def schema(*columns: str, **series: Any) -> DraftSchema:
    """Hourly demand: of two days, the next six hours."""
    facts = {"time_column": "when", "window": 48, "horizon": 6}
    document = {"label": "demand", "columns": [{"name": name} for name in columns]}
    return DraftSchema.from_json({**document, "series": {**facts, **series}})


def hours(count: int) -> list[str]:
    """Times of so many hours."""
    start = datetime.datetime(2024, 3, 1)
    return [(start + datetime.timedelta(hours=hour)).isoformat() for hour in range(count)]


def demand(count: int) -> list[float]:
    """A daily pattern with a trend."""
    hour = np.arange(count)
    return [round(float(value), 3) for value in 100 + hour / 10 + 20 * np.sin(hour * 2 * np.pi / 24)]


def lines(count: int, **changed: str) -> list[str]:
    """A CSV file of hourly demand and temperature; `r7` changes the row 7."""
    told = [f"{when},{value},{-value}" for when, value in zip(hours(count), demand(count), strict=True)]
    for row, line in changed.items():
        told[int(row[1:])] = line
    return ["when,demand,cold", *told]


def test_a_file_of_rows_becomes_windows(workshop: Any, files: Any) -> None:
    source = workshop.source(files.csv("demand.csv", *lines(400)))
    built = workshop.build(source, schema=schema("demand", "cold"))
    assert built.counts == {Split.TRAIN: 267, Split.VALIDATION: 35, Split.TEST: 35}
    manifest = workshop.manifest(built)
    assert manifest.schema.series.channels == ("demand", "cold")
    assert manifest.transform.output_shape == (6, 3)
    test = read_split(workshop.store, manifest, Split.TEST)
    assert test[HISTORY].shape == (35, 48, 2)
    np.testing.assert_array_equal(test[HISTORY][..., 0], -test[HISTORY][..., 1])
    np.testing.assert_allclose(test["demand"][-1], demand(400)[-6:], rtol=1e-6)
    np.testing.assert_allclose(test[HISTORY][-1, :, 0], demand(400)[-54:-6], rtol=1e-6)
    assert built.to_json()["series"] == {
        "series": 1,
        "rows": 400,
        "step": "1 hour",
        "gaps": 0,
        "season": 24,
        "spans": [
            {"split": "SPLIT_TRAIN", "first": "2024-03-03", "last": "2024-03-14 07:00:00"},
            {"split": "SPLIT_VALIDATION", "first": "2024-03-14 08:00:00", "last": "2024-03-15 23:00:00"},
            {"split": "SPLIT_TEST", "first": "2024-03-16", "last": "2024-03-17 15:00:00"},
        ],
    }


def test_the_version_says_how_it_was_cut(workshop: Any, files: Any) -> None:
    source = workshop.source(files.csv("demand.csv", *lines(400)))
    told = workshop.build(source, schema=schema(quantiles=[0.5])).to_json()["schema"]
    assert [(column["name"], column["shape"]) for column in told["columns"]] == [
        (HISTORY, [48, 1]),
        ("demand", [6]),
    ]
    assert told["series"] | {"season": 24, "quantiles": (0.5,), "stride": 1} == told["series"]


def test_the_same_rows_give_the_same_version_in_any_order_and_format(workshop: Any, files: Any) -> None:
    header = "when,demand,cold,area"
    rows = [f"{line},{area}" for area in ("south", "north") for line in lines(200)[1:]]
    shuffled = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    columns = [row.split(",") for row in rows]
    times = [datetime.datetime.fromisoformat(when) for when, *_ in columns]
    parquet = files.parquet(
        "demand.parquet",
        when=times,
        demand=[float(value) for _, value, *_ in columns],
        area=[area for *_, area in columns],
    )
    cutting = schema(key_columns=["area"], window=30)
    found = [
        workshop.manifest(workshop.build(workshop.source(path), schema=cutting))
        for path in (
            files.csv("rows.csv", header, *rows),
            files.csv("shuffled.csv", header, *shuffled),
            parquet,
        )
    ]
    assert found[0].records(Split.TRAIN) == 2 * 125
    assert found[0].splits == found[1].splits == found[2].splits


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lines(100, r60=""), None),
        (lines(100, r7="2024-03-01T07:00:00,,1"), "record 7 column 'demand': the value is missing"),
        (lines(100, r7="soon,1,1"), "record 7 column 'when': 'soon' is no time; expected a date or time"),
        (
            lines(100, r7="2024-03-01T06:00:00,1,1"),
            "record 7 column 'when': there is a row for 2024-03-01",
        ),
        (
            lines(100, r50="2024-03-03T01:30:00,1,1"),
            "record 50 column 'when'.* lies between two steps",
        ),
        (lines(100, r40="2024-05-03T01:00:00,1,1"), "there are 40 rows from 2024-03-01 to .*: fill the gaps"),
    ],
    ids=["blank line", "no value", "no time", "twice", "between", "gap"],
)
def test_rows_of_no_use_are_told(workshop: Any, files: Any, rows: list[str], message: str | None) -> None:
    source = workshop.source(files.csv("demand.csv", *rows))
    if message is None:
        assert workshop.build(source, schema=schema(window=30)).series_facts["gaps"] == 1
        return
    with pytest.raises(TooManyRejected, match=message):
        workshop.build(source, schema=schema())
    built = workshop.build(source, schema=schema(window=8), max_rejected_fraction=0.5)
    assert built.rejected > 0
    assert built.counts[Split.TRAIN] > 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (55, r"the longest has 55 rows.*takes 54"),
        (53, r"there are 53 rows from 2024-03-01 to 2024-03-03 04:00:00.*takes 54: smaller ones fit"),
    ],
    ids=["none but held out", "no window"],
)
def test_a_series_that_is_too_short_says_how_long_it_must_be(
    workshop: Any, files: Any, rows: int, message: str
) -> None:
    source = workshop.source(files.csv("demand.csv", *lines(rows)))
    with pytest.raises(SchemaViolation, match=message):
        workshop.build(source, schema=schema())


def test_a_source_cannot_fix_a_split(workshop: Any, files: Any) -> None:
    source = workshop.source(files.csv("demand.csv", *lines(100)), split=Split.TEST)
    with pytest.raises(InvalidField, match="divided by time"):
        workshop.build(source, schema=schema())


def test_a_missing_column_is_named(workshop: Any, files: Any) -> None:
    source = workshop.source(files.csv("demand.csv", *lines(100)))
    with pytest.raises(SchemaViolation, match="no column 'area'"):
        workshop.build(source, schema=schema(key_columns=["area"]))


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"label": ""}, "schema.label"),
        ({"label": HISTORY}, "schema.label"),
        ({"label": "when"}, "schema.series.time_column"),
        ({"series": {"key_columns": ["demand"]}}, "schema.series.key_columns"),
        ({"series": {"season": 48}}, "schema.series.season"),
        ({"series": {"quantiles": [0.5, 0.1]}}, "schema.series.quantiles"),
        ({"columns": [{"name": "sky", "type": "COLUMN_TYPE_CATEGORY"}]}, "schema.columns[0]"),
        ({"columns": [{"name": "demand", "transform": "TRANSFORM_STANDARDIZE"}]}, "schema.columns[0]"),
    ],
    ids=[
        "no label",
        "history",
        "time is label",
        "key is label",
        "season",
        "quantiles",
        "category",
        "transform",
    ],
)
def test_what_no_rows_could_make_right_is_refused_at_once(document: dict[str, Any], field: str) -> None:
    series = {"time_column": "when", "window": 48, "horizon": 6, **document.pop("series", {})}
    draft = DraftSchema.from_json({"label": "demand", **document, "series": series})
    with pytest.raises(InvalidField) as refused:
        draft.check()
    assert [violation.field for violation in refused.value.violations] == [field]

"""A schema that stands can be learnt from; one that cannot says every reason at once."""

from dataclasses import replace

import pytest

from lepton_common.errors import InvalidField
from lepton_learn.schema import Column, ColumnType, Schema, Transform, default_transform
from lepton_learn.series import HISTORY, Series

AGE = Column(name="age", type=ColumnType.NUMBER, transform=Transform.STANDARDIZE, minimum=0, maximum=130)
KIND = Column(name="kind", type=ColumnType.CATEGORY, transform=Transform.INDEX, values=("cat", "dog"))
PHOTO = Column(name="photo", type=ColumnType.IMAGE, transform=Transform.NORMALIZE, shape=(8, 8, 1))
HISTORY_OF_DAYS = Column(name=HISTORY, type=ColumnType.TENSOR, transform=Transform.IDENTITY, shape=(48, 2))
DEMAND = Column(name="demand", type=ColumnType.TENSOR, transform=Transform.IDENTITY, shape=(24,))
SERIES = Series(channels=("demand", "cold"), season=24)


def number(**changes: object) -> Column:
    return Column(
        **{"name": "age", "type": ColumnType.NUMBER, "transform": Transform.IDENTITY, **changes}  # type: ignore[arg-type]
    )


def test_a_schema_survives_json() -> None:
    schema = Schema((AGE, PHOTO, KIND), "kind")
    assert Schema.from_dict(schema.to_dict()) == schema


def test_the_label_is_not_a_feature() -> None:
    schema = Schema((AGE, KIND, PHOTO), "kind")
    assert schema.features == (AGE, PHOTO)
    assert schema.label_column == KIND
    assert schema.is_classification


@pytest.mark.parametrize(
    ("columns", "label", "field"),
    [
        pytest.param((AGE, AGE, KIND), "kind", "schema.columns[1].name", id="two columns of one name"),
        pytest.param((AGE, PHOTO), "kind", "schema.label", id="label that is no column"),
        pytest.param((KIND,), "kind", "schema.columns", id="label alone"),
        pytest.param((AGE, PHOTO), "photo", "schema.columns[1].type", id="image as label"),
        pytest.param(
            (number(transform=Transform.ONE_HOT), KIND),
            "kind",
            "schema.columns[0].transform",
            id="one-hot number",
        ),
        pytest.param(
            (AGE, number(name="y", transform=Transform.INDEX)),
            "y",
            "schema.columns[1].transform",
            id="indexed number",
        ),
        pytest.param((number(shape=(2,)), KIND), "kind", "schema.columns[0].shape", id="number with a shape"),
        pytest.param(
            (number(type=ColumnType.TENSOR), KIND),
            "kind",
            "schema.columns[0].shape",
            id="tensor without a shape",
        ),
        pytest.param(
            (number(type=ColumnType.TENSOR, shape=(0,)), KIND),
            "kind",
            "schema.columns[0].shape",
            id="empty tensor",
        ),
        pytest.param(
            (number(type=ColumnType.IMAGE, shape=(8, 8)), KIND),
            "kind",
            "schema.columns[0].shape",
            id="image without channels",
        ),
        pytest.param(
            (number(type=ColumnType.IMAGE, shape=(1 << 20, 1 << 20, 3)), KIND),
            "kind",
            "schema.columns[0].shape",
            id="image larger than memory",
        ),
        pytest.param(
            (number(values=("1",)), KIND),
            "kind",
            "schema.columns[0].values",
            id="number with a list of values",
        ),
        pytest.param(
            (number(type=ColumnType.INTEGER, values=("1", "x")), KIND),
            "kind",
            "schema.columns[0].values",
            id="text as integer value",
        ),
        pytest.param(
            (number(type=ColumnType.INTEGER, values=("1", "1")), KIND),
            "kind",
            "schema.columns[0].values",
            id="value twice",
        ),
        pytest.param(
            (number(minimum=2, maximum=1), KIND), "kind", "schema.columns[0].minimum", id="bounds crossed"
        ),
        pytest.param(
            (Column(name="k", type=ColumnType.CATEGORY, transform=Transform.INDEX, minimum=1), KIND),
            "kind",
            "schema.columns[0].minimum",
            id="category with a bound",
        ),
    ],
)
def test_a_schema_that_cannot_be_learnt_from_names_the_field(
    columns: tuple[Column, ...], label: str, field: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        Schema(columns, label)
    assert field in [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize(
    ("column_type", "label", "expected"),
    [
        (ColumnType.IMAGE, False, Transform.NORMALIZE),
        (ColumnType.NUMBER, False, Transform.STANDARDIZE),
        (ColumnType.INTEGER, False, Transform.STANDARDIZE),
        (ColumnType.TENSOR, False, Transform.STANDARDIZE),
        (ColumnType.CATEGORY, False, Transform.ONE_HOT),
        (ColumnType.CATEGORY, True, Transform.INDEX),
        (ColumnType.INTEGER, True, Transform.INDEX),
        (ColumnType.NUMBER, True, Transform.IDENTITY),
    ],
)
def test_an_open_transform_is_chosen_by_type(
    column_type: ColumnType, label: bool, expected: Transform
) -> None:
    assert default_transform(column_type, label=label) is expected


def test_a_schema_of_windows_survives_json() -> None:
    schema = Schema((HISTORY_OF_DAYS, DEMAND), "demand", SERIES)
    assert Schema.from_dict(schema.to_dict()) == schema
    assert not schema.is_classification
    assert schema.features == (HISTORY_OF_DAYS,)


@pytest.mark.parametrize(
    ("columns", "series", "field"),
    [
        pytest.param((HISTORY_OF_DAYS, DEMAND), None, "schema.columns[1].type", id="no series"),
        pytest.param((HISTORY_OF_DAYS, AGE, DEMAND), SERIES, "schema.columns", id="another feature"),
        pytest.param((replace(DEMAND, name="past"), DEMAND), SERIES, "schema.columns", id="no history"),
        pytest.param(
            (replace(HISTORY_OF_DAYS, shape=(48,)), DEMAND), SERIES, "schema.columns", id="no channels"
        ),
        pytest.param(
            (HISTORY_OF_DAYS, replace(DEMAND, transform=Transform.STANDARDIZE)),
            SERIES,
            "schema.columns[1].transform",
            id="a scaled label",
        ),
        pytest.param(
            (HISTORY_OF_DAYS, DEMAND), replace(SERIES, season=48), "schema.series.season", id="long season"
        ),
        pytest.param(
            (HISTORY_OF_DAYS, DEMAND),
            replace(SERIES, quantiles=(0.5, 0.5)),
            "schema.series.quantiles",
            id="a quantile twice",
        ),
    ],
)
def test_windows_that_cannot_be_forecast_from_name_the_field(
    columns: tuple[Column, ...], series: Series | None, field: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        Schema(columns, "demand", series)
    assert [violation.field for violation in caught.value.violations] == [field]

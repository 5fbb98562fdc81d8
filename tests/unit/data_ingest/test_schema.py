"""Schemas as users write them: read, checked as far as possible, filled in from records."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lepton_common.errors import InvalidField, SchemaViolation
from lepton_data_ingest.formats.records import Numbers, Pictures, Texts, Values
from lepton_data_ingest.inference import infer
from lepton_data_ingest.schema import DraftSchema, label_of, to_json
from lepton_learn.schema import ColumnType, Transform


def cells(*values: str | None) -> Texts:
    """A column of CSV."""
    return Texts.of(pa.array(values, pa.string()), untyped=True)


def draft(*columns: dict[str, Any], label: str = "") -> DraftSchema:
    """A schema from the contract's JSON form."""
    return DraftSchema.from_json({"columns": list(columns), "label": label})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["x", "label"], "label"),
        (["class", "target"], "target"),
        (["a", "class"], "class"),
    ],
)
def test_a_column_called_like_a_label_is_the_label(names: list[str], expected: str) -> None:
    assert label_of(DraftSchema(), names) == expected


def test_without_a_label_the_user_is_asked_to_name_it() -> None:
    with pytest.raises(InvalidField, match="name the column to predict; none of x, species is called"):
        label_of(DraftSchema(), ["x", "species"])


def test_the_named_label_wins() -> None:
    assert label_of(DraftSchema(label="species"), ["label", "species"]) == "species"


IMAGE = {"name": "x", "type": "COLUMN_TYPE_IMAGE", "shape": ["8", "8", "1"]}
LABEL = {"name": "y", "type": "COLUMN_TYPE_INTEGER"}


@pytest.mark.parametrize(
    ("columns", "label", "field"),
    [
        ([{"name": "x"}, {"name": "x"}], "x", "schema.columns[1].name"),
        ([{"name": "x"}, {"name": "y"}], "z", "schema.label"),
        ([{"name": "x"}, {"name": "y"}], "", "schema.label"),
        ([IMAGE, LABEL], "x", "schema.columns[0].type"),
        ([IMAGE | {"shape": ["8", "8"]}, LABEL], "y", "schema.columns[0].shape"),
        ([IMAGE | {"transform": "TRANSFORM_ONE_HOT"}, LABEL], "y", "schema.columns[0].transform"),
        ([IMAGE | {"minimum": 1.0}, LABEL], "y", "schema.columns[0].minimum"),
        ([{"name": "x", "minimum": 2.0, "maximum": 1.0}, LABEL], "y", "schema.columns[0].minimum"),
        ([{"name": "x"}, LABEL | {"values": ["one"]}], "y", "schema.columns[1].values"),
        ([LABEL], "y", "schema.columns"),
    ],
    ids=[
        "name-twice",
        "unknown-label",
        "no-label",
        "image-as-label",
        "flat-image",
        "one-hot-image",
        "bounded-image",
        "bounds-crossed",
        "word-among-integers",
        "only-a-label",
    ],
)
def test_what_no_source_could_make_right_is_refused_at_once(
    columns: list[dict[str, Any]], label: str, field: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        draft(*columns, label=label).check()
    assert field in [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize(
    "schema",
    [
        DraftSchema(),
        DraftSchema(label="y"),
        draft({"name": "x"}, {"name": "y"}, label="y"),
        draft({"name": "x", "type": "COLUMN_TYPE_IMAGE"}, {"name": "label"}),
        draft({"name": "x", "transform": "TRANSFORM_ONE_HOT"}, {"name": "y", "values": ["a"]}, label="y"),
        draft({"name": "x", "shape": ["3"]}, LABEL, label="y"),
    ],
    ids=["empty", "only-label-named", "open-types", "open-shape", "open-type-with-facts", "open-tensor"],
)
def test_an_open_schema_passes(schema: DraftSchema) -> None:
    schema.check()


@pytest.mark.parametrize(
    ("values", "expected", "shape"),
    [
        (cells("1", "2", "-3"), ColumnType.INTEGER, ()),
        (cells("1", "2.5", "1e3"), ColumnType.NUMBER, ()),
        (cells("1", None, "3"), ColumnType.INTEGER, ()),
        (cells("a", "b", "1"), ColumnType.CATEGORY, ()),
        (cells(*["1.5"] * 99, "oops"), ColumnType.NUMBER, ()),
        (cells(*["7"] * 99, "oops"), ColumnType.INTEGER, ()),
        (Texts.of(pa.array(["1", "2"])), ColumnType.CATEGORY, ()),
        (Numbers(np.zeros(3, np.int16)), ColumnType.INTEGER, ()),
        (Numbers(np.zeros(3, np.bool_)), ColumnType.INTEGER, ()),
        (Numbers(np.zeros(3, np.float64)), ColumnType.NUMBER, ()),
        (Numbers(np.zeros((3, 8, 8), np.uint8)), ColumnType.IMAGE, (8, 8, 1)),
        (Numbers(np.zeros((3, 8, 8, 3), np.uint8)), ColumnType.IMAGE, (8, 8, 3)),
        (Numbers(np.zeros((3, 8, 8, 2), np.uint8)), ColumnType.TENSOR, (8, 8, 2)),
        (Numbers(np.zeros((3, 64), np.uint8)), ColumnType.TENSOR, (64,)),
        (Numbers(np.zeros((3, 8, 8), np.float32)), ColumnType.TENSOR, (8, 8)),
    ],
    ids=[
        "integers",
        "numbers",
        "gaps",
        "words",
        "numbers-with-a-slip",
        "integers-with-a-slip",
        "typed-texts",
        "int16",
        "bool",
        "float",
        "grey-images",
        "colour-images",
        "two-channels",
        "flat-bytes",
        "float-matrices",
    ],
)
def test_types_and_shapes_are_inferred(values: Values, expected: ColumnType, shape: tuple[int, ...]) -> None:
    schema = infer(DraftSchema(), {"x": values, "label": cells("a", "b")})
    assert (schema.features[0].type, schema.features[0].shape) == (expected, shape)


def test_image_files_have_the_shape_of_the_first_that_can_be_read(files: Any, digits: Any) -> None:
    with files.image_tar("x.tar", digits[0][:1], digits[1][:1]).open("rb") as stream:
        data = stream.read()
    start = data.index(b"\x89PNG")
    pictures = Pictures([None, b"damaged", data[start : start + 2000]])
    schema = infer(DraftSchema(), {"image": pictures, "label": cells("a", "b", "c")})
    assert schema.features[0].shape == (8, 8, 1)


def test_defaults_fill_in_the_transforms() -> None:
    sample: dict[str, Values] = {
        "picture": Numbers(np.zeros((1, 8, 8), np.uint8)),
        "size": cells("1.5"),
        "colour": cells("red"),
        "label": cells("7"),
    }
    schema = infer(DraftSchema(), sample)
    assert [column.transform for column in schema.columns] == [
        Transform.NORMALIZE,
        Transform.STANDARDIZE,
        Transform.ONE_HOT,
        Transform.INDEX,
    ]


def test_what_the_user_says_is_kept() -> None:
    said = draft({"name": "a", "type": "COLUMN_TYPE_CATEGORY"}, {"name": "label", "values": ["1", "2"]})
    schema = infer(said, {"a": cells("1"), "label": cells("2"), "not_wanted": cells("3")})
    assert [(column.name, column.type, column.values) for column in schema.columns] == [
        ("a", ColumnType.CATEGORY, ()),
        ("label", ColumnType.INTEGER, ("1", "2")),
    ]
    assert DraftSchema.from_json(to_json(schema)).columns[1].values == ("1", "2")


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        ({"x": cells(None, None), "label": cells("a")}, "have no value in the column 'x'"),
        ({"x": Pictures([b"no image"]), "label": cells("a")}, "none of the first records has a usable image"),
    ],
    ids=["empty-column", "no-image"],
)
def test_what_cannot_be_inferred_is_asked_for(sample: dict[str, Values], text: str) -> None:
    with pytest.raises(SchemaViolation, match=text):
        infer(DraftSchema(), sample)


def test_a_column_that_no_source_has_is_refused() -> None:
    with pytest.raises(SchemaViolation, match="no source has the column 'z'; there are x, label"):
        infer(draft({"name": "z"}, {"name": "label"}), {"x": cells("1"), "label": cells("a")})

"""Every record is held against the schema, and what does not fit is a fault that says why."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lepton_common.errors import SchemaViolation
from lepton_data_ingest.formats.records import Fault, Numbers, Pictures, RecordBatch, Texts, Values
from lepton_data_ingest.validation import Checked, check
from lepton_learn.schema import Column, ColumnType, Schema, Transform

LABEL = Column(name="label", type=ColumnType.CATEGORY, transform=Transform.INDEX)


def cells(*values: str | None) -> Texts:
    """A column of CSV."""
    return Texts.of(pa.array(values, pa.string()), untyped=True)


def column(kind: ColumnType, **facts: Any) -> Column:
    """The feature `x`."""
    transform = Transform.ONE_HOT if kind is ColumnType.CATEGORY else Transform.IDENTITY
    return Column(name="x", type=kind, transform=transform, **facts)


def checked(feature: Column, values: Values) -> Checked:
    """A batch of one feature and a good label, checked."""
    batch = RecordBatch({"x": values, "label": cells(*["a"] * len(values))}, np.arange(10, 10 + len(values)))
    return check(batch, Schema((feature, LABEL), "label"), file="x.csv")


NUMBER = column(ColumnType.NUMBER)
INTEGER = column(ColumnType.INTEGER)
CATEGORY = column(ColumnType.CATEGORY)
IMAGE = column(ColumnType.IMAGE, shape=(2, 2, 1))
TENSOR = column(ColumnType.TENSOR, shape=(2,))


@pytest.mark.parametrize(
    ("feature", "values", "expected"),
    [
        (NUMBER, cells("1", "-2.5", "+1e3", ".5"), np.array([1, -2.5, 1000, 0.5], np.float32)),
        (NUMBER, Numbers(np.array([1, 2], np.int64)), np.array([1, 2], np.float32)),
        (NUMBER, Numbers(np.array([[1.5], [2]])), np.array([1.5, 2], np.float32)),
        (INTEGER, cells("1", "-2", "+3", "4.0"), np.array([1, -2, 3, 4])),
        (INTEGER, cells("9223372036854775807"), np.array([2**63 - 1])),
        (INTEGER, Numbers(np.array([1.0, 2.0], np.float32)), np.array([1, 2])),
        (INTEGER, Numbers(np.array([True, False])), np.array([1, 0])),
        (CATEGORY, cells("ä", "b"), np.array(["ä", "b"], object)),
        (CATEGORY, Numbers(np.array([3, 1], np.uint8)), np.array(["3", "1"], object)),
        (IMAGE, Numbers(np.ones((1, 2, 2), np.uint8)), np.ones((1, 2, 2, 1), np.uint8)),
        (IMAGE, Numbers(np.ones((1, 4), np.uint8)), np.ones((1, 2, 2, 1), np.uint8)),
        (IMAGE, Numbers(np.ones((1, 2, 2, 1), np.float64)), np.ones((1, 2, 2, 1), np.uint8)),
        (TENSOR, Numbers(np.array([[1, 2]])), np.array([[1, 2]], np.float32)),
    ],
    ids=[
        "number-texts",
        "number-integers",
        "number-column-vector",
        "integer-texts",
        "largest-integer",
        "integer-floats",
        "integer-bools",
        "category-texts",
        "category-integers",
        "image-without-channel",
        "flat-image",
        "image-of-floats",
        "tensor-of-integers",
    ],
)
def test_what_fits_becomes_the_dtype_of_its_type(feature: Column, values: Values, expected: Any) -> None:
    found = checked(feature, values)
    assert found.faults == ()
    assert found.records.columns["x"].dtype == expected.dtype
    np.testing.assert_array_equal(found.records.columns["x"], expected)


BOUNDED = column(ColumnType.NUMBER, minimum=0.0, maximum=10.0)


@pytest.mark.parametrize(
    ("feature", "values", "reason"),
    [
        (NUMBER, cells("1", "twelve"), "'twelve' is not a number"),
        (NUMBER, cells("1", "1_000"), "'1_000' is not a number"),
        (NUMBER, cells("1", "0x1F"), "'0x1F' is not a number"),
        (NUMBER, cells("1", None), "the value is missing; expected a number"),
        (NUMBER, cells("1", "nan"), "NaN is not a number to learn from; expected a finite number"),
        (NUMBER, cells("1", "-inf"), "the number is infinite; expected a finite number"),
        (NUMBER, cells("1", "1e39"), "1e+39 is too large; expected a 32-bit number"),
        (
            NUMBER,
            Numbers(np.array([1, np.nan])),
            "NaN is not a number to learn from; expected a finite number",
        ),
        (NUMBER, Numbers(np.array([1, np.inf])), "the number is infinite; expected a finite number"),
        (
            NUMBER,
            Numbers(np.array([1.0, 0.0]), np.array([False, True])),
            "the value is missing; expected a number",
        ),
        (BOUNDED, cells("1", "-0.5"), "-0.5 is too small; expected at least 0"),
        (BOUNDED, cells("1", "10.5"), "10.5 is too large; expected at most 10"),
        (INTEGER, cells("1", "1.5"), "'1.5' is not a whole number"),
        (INTEGER, cells("1", "0x1F"), "'0x1F' is not a whole number"),
        (INTEGER, cells("1", "9223372036854775808"), "'9223372036854775808' is not a whole number"),
        (INTEGER, cells("1", "x" * 100), "'" + "x" * 64 + "...' is not a whole number"),
        (INTEGER, Numbers(np.array([1, 1.5])), "1.5 is not a whole number of 64 bits"),
        (INTEGER, Numbers(np.array([1, np.nan])), "nan is not a whole number of 64 bits"),
        (
            INTEGER,
            Numbers(np.array([1, 2**63], np.uint64)),
            "9223372036854775808 is not a whole number of 64 bits",
        ),
        (
            column(ColumnType.INTEGER, values=("1", "2")),
            cells("1", "3"),
            "3 is not an allowed value; expected one of 1, 2",
        ),
        (CATEGORY, cells("a", None), "the value is missing; expected a category"),
        (
            CATEGORY,
            cells("a", "ä" * 513),
            "the text is longer than 1024 bytes; expected the name of a category",
        ),
        (
            column(ColumnType.CATEGORY, values=("a", "b")),
            cells("a", "z"),
            "'z' is not an allowed value; expected one of a, b",
        ),
        (
            IMAGE,
            Numbers(np.stack([np.ones((2, 2)), np.full((2, 2), 256)])),
            "the image holds values that are no bytes from 0 to 255",
        ),
        (
            IMAGE,
            Numbers(np.stack([np.ones((2, 2)), np.full((2, 2), np.nan)])),
            "the image holds values that are no bytes from 0 to 255",
        ),
        (
            TENSOR,
            Numbers(np.array([[1, 2], [3, np.inf]])),
            "the tensor holds NaN or infinity; expected finite numbers",
        ),
    ],
)
def test_what_does_not_fit_is_a_fault_of_its_record(feature: Column, values: Values, reason: str) -> None:
    found = checked(feature, values)
    assert found.faults == (Fault(11, reason, "x"),)
    assert found.records.places.tolist() == [10]
    assert [len(column) for column in found.records.columns.values()] == [1, 1]


def test_images_are_decoded_and_those_of_another_size_are_faults(digits: Any) -> None:
    import io

    from PIL import Image

    files: list[bytes | None] = []
    for size in (2, 3):
        buffer = io.BytesIO()
        Image.fromarray(digits[0][0][:size, :size]).save(buffer, "PNG")
        files.append(buffer.getvalue())
    found = checked(IMAGE, Pictures([*files, None, b"junk"]))
    np.testing.assert_array_equal(found.records.columns["x"][0, ..., 0], digits[0][0][:2, :2])
    assert [fault.message for fault in found.faults] == [
        "the image has the shape [3, 3, 1]; expected [2, 2, 1]",
        "the image is missing",
        "the image is damaged or none; expected PNG, JPEG or BMP",
    ]


@pytest.mark.parametrize(
    ("feature", "values", "text"),
    [
        (NUMBER, Pictures([b""]), "the column 'x' holds image files; the schema says a number"),
        (NUMBER, Numbers(np.zeros((1, 3))), "the column 'x' holds arrays of shape [3]"),
        (CATEGORY, Numbers(np.zeros(1)), "the column 'x' holds numbers of type float64"),
        (IMAGE, cells("a"), "the column 'x' holds texts; the schema says an image of shape [2, 2, 1]"),
        (IMAGE, Numbers(np.zeros((1, 3, 3), np.uint8)), "the column 'x' holds arrays of shape [3, 3]"),
        (TENSOR, Pictures([b""]), "the column 'x' holds image files; the schema says a tensor of shape [2]"),
        (TENSOR, Numbers(np.zeros((1, 3))), "the column 'x' holds arrays of shape [3]"),
    ],
)
def test_a_column_that_can_hold_no_such_value_ends_the_file(
    feature: Column, values: Values, text: str
) -> None:
    with pytest.raises(SchemaViolation) as caught:
        checked(feature, values)
    assert str(caught.value).startswith("x.csv: " + text)
    assert caught.value.metadata["column"] == "x"


def test_a_record_with_several_faults_is_told_once_and_in_order() -> None:
    batch = RecordBatch(
        {"x": cells("a", "1", "b"), "label": cells("a", None, None)},
        np.array([3, 5, 8]),
        faults=(Fault(4, "the row has 3 cells; expected 2"),),
    )
    found = check(batch, Schema((NUMBER, LABEL), "label"), file="x.csv")
    assert [(fault.place, fault.column) for fault in found.faults] == [
        (3, "x"),
        (4, ""),
        (5, "label"),
        (8, "x"),
    ]
    assert len(found.records) == 0

"""CSV files are read as texts with their places, whatever single rows are like."""

from typing import Any

import pytest

from lepton_common.errors import LeptonError, MalformedFile, SchemaViolation, TooLarge
from lepton_data_ingest.formats.csv import read
from lepton_data_ingest.formats.records import Fault, RecordBatch, Texts


def batches(path: Any, columns: list[str] | None = None) -> list[RecordBatch]:
    """All records of a file."""
    return list(read(path, path.name, columns=columns).batches)


def cells(batch: RecordBatch, column: str) -> list[str | None]:
    """A column as Python's texts."""
    values = batch.columns[column]
    assert isinstance(values, Texts) and values.untyped
    return values.values.to_pylist()


def test_headers_become_names_and_cells_stay_texts(iris_csv: Any) -> None:
    [batch] = batches(iris_csv)
    assert list(batch.columns) == [
        "sepal length (cm)",
        "sepal width (cm)",
        "petal length (cm)",
        "petal width (cm)",
        "species",
    ]
    assert cells(batch, "sepal length (cm)")[:3] == ["5.1", "4.9", "4.7"]
    assert set(cells(batch, "species")) == {"setosa", "versicolor", "virginica"}
    assert batch.places.tolist() == list(range(150))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("1, two ", ["1", "two"]),
        ('"1","a, b"', ["1", "a, b"]),
        ('1,"say ""yes"""', ["1", 'say "yes"']),
        ('1,"two\nlines"', ["1", "two\nlines"]),
        ('1,5" disk', ["1", '5" disk']),
        ("1,", ["1", None]),
        ('1,""', ["1", None]),
        ("1,   ", ["1", None]),
        ("1,ä€😀", ["1", "ä€😀"]),
    ],
    ids=["blanks", "comma", "quote", "newline", "inch", "empty", "empty-quoted", "blank", "unicode"],
)
def test_a_row_is_read_as_rfc_4180_says(files: Any, row: str, expected: list[str | None]) -> None:
    [batch] = batches(files.csv("x.csv", "a,b", row))
    assert [cells(batch, name)[0] for name in ("a", "b")] == expected


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(files: Any) -> None:
    [batch] = batches(files.write("x.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n3,4\r\n"))
    assert (cells(batch, "a"), cells(batch, "b")) == (["1", "3"], ["2", "4"])


def test_broken_rows_are_faults_and_the_others_keep_their_places(files: Any) -> None:
    path = files.write("x.csv", b"a,b\n1,2\n3\n\n4,5\n6,7,8\n9,\xff\n10,11\n\xff\n")
    [batch, rest] = batches(path)
    assert cells(batch, "a") == ["1", "4", "10"]
    assert batch.places.tolist() == [0, 2, 5]
    assert sorted(batch.faults + rest.faults, key=lambda fault: fault.place) == [
        Fault(1, "the row has 1 cells; expected 2"),
        Fault(3, "the row has 3 cells; expected 2"),
        Fault(4, "it is not UTF-8", column="b"),
        Fault(6, "the row has 1 cells; expected 2"),
    ]


def test_places_are_right_across_many_batches(files: Any) -> None:
    rows = ["broken" if number % 7 == 3 else f"{number},{'x' * 50}" for number in range(200_000)]
    found = batches(files.csv("x.csv", "a,b", *rows))
    assert len(found) > 2
    places = [place for batch in found for place in batch.places.tolist()]
    assert places == [int(cell or -1) for batch in found for cell in cells(batch, "a")]
    faulty = sorted(fault.place for batch in found for fault in batch.faults)
    assert faulty == list(range(3, 200_000, 7))


def test_only_the_wanted_columns_are_read(files: Any) -> None:
    path = files.csv("x.csv", "a,b,c", "1,2,3")
    assert list(batches(path, ["c", "a"])[0].columns) == ["a", "c"]
    with pytest.raises(SchemaViolation, match=r"x.csv: there is no column 'd'; its columns are a, b, c"):
        batches(path, ["d"])


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (b"", MalformedFile, "line 1: it is empty"),
        (b"\n1,2\n", MalformedFile, "line 1: it is empty"),
        (b"a,b\n", MalformedFile, "line 2: the file ends after its header"),
        (b"a,\xff\n1,2\n", MalformedFile, "line 1: it is not readable"),
        (b"a,,c\n1,2,3\n", MalformedFile, "column 1: it is named ''; expected a name of 1 to 128 bytes"),
        (b"a,b\x07\n1,2\n", MalformedFile, "without control characters"),
        (b"a," + b"x" * 129 + b"\n1,2\n", MalformedFile, "a name of 1 to 128 bytes"),
        (b"a, a\n1,2\n", MalformedFile, "column 1: it is named 'a', as column 0"),
        (b"a;b\n1;2\n", MalformedFile, "expected columns separated by commas"),
        (b",".join(b"c%d" % n for n in range(5000)) + b"\n1\n", TooLarge, "5000 columns"),
        (b'a,b\n1,"' + b"x" * 5_000_000, MalformedFile, "does not end within 2097152 bytes"),
        (b'a,b\n1,"2\n3,4\n5,6\n', MalformedFile, "the last row: a quote is never closed"),
        (b'a,b\n"1,2\n3,4\n5,6\n', MalformedFile, "the last row: a quote is never closed"),
    ],
    ids=[
        "empty",
        "no-header",
        "only-header",
        "header-not-utf8",
        "nameless-column",
        "control-character",
        "long-name",
        "same-name-twice",
        "semicolons",
        "too-many-columns",
        "endless-quote",
        "open-quote",
        "open-quote-in-a-broken-row",
    ],
)
def test_a_file_without_a_usable_header_or_rows_is_refused(
    files: Any, data: bytes, error: type[LeptonError], text: str
) -> None:
    with pytest.raises(error) as caught:
        batches(files.write("x.csv", data))
    assert text in str(caught.value)

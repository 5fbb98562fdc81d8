"""A file's format is told by its content, and a name that says otherwise is a fault."""

import gzip
from typing import Any

import numpy as np
import pytest

from lepton_common.errors import MalformedFile
from lepton_data_ingest.formats.format import Format
from lepton_data_ingest.formats.sniffing import sniff


@pytest.mark.parametrize("name", ["data", "data.bin", "data.csv"])
def test_content_tells_the_format_under_any_name(files: Any, digits: Any, name: str) -> None:
    images, labels = digits[0][:3], digits[1][:3]
    found = {
        sniff(files.parquet("p", x=[1]), name),
        sniff(files.npz("n.npz", x=labels), name),
        sniff(files.idx("i", images), name),
        sniff(files.image_tar("t", images, labels), name),
        sniff(files.csv("c", "a,b", "1,2"), name),
    }
    assert found == set(Format)


def test_gzip_is_looked_into(files: Any, digits: Any) -> None:
    images, labels = digits[0][:3], digits[1][:3]
    assert sniff(files.idx("i.gz", images, compressed=True), "x") is Format.IDX
    assert sniff(files.image_tar("t.tgz", images, labels, mode="w:gz"), "x") is Format.IMAGE_TAR


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("x.parquet", b"a,b\n1,2\n", "does not start like Parquet"),
        ("x.npz", b"a,b\n1,2\n", "does not start like NPZ"),
        ("x.tar", bytes(1024), "does not start like tar"),
        ("x.bin", b"\x89PNG\r\n\x1a\n\0\0", "the format is not known"),
        ("x.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0), "it is gzip of something else"),
        ("x.gz", b"\x1f\x8b\x08" + bytes(20), "it is damaged gzip"),
    ],
    ids=["no-parquet", "no-npz", "no-tar", "png", "csv-in-gzip", "damaged-gzip"],
)
def test_what_is_not_known_or_not_what_its_name_says_is_refused(
    files: Any, name: str, data: bytes, text: str
) -> None:
    with pytest.raises(MalformedFile, match=f"{name}: byte 0: .*{text}"):
        sniff(files.write(name, data), name)


def test_an_unnamed_text_is_csv(files: Any) -> None:
    assert sniff(files.write("x", np.array(["a,b"]).tobytes().replace(b"\0", b"")), "x") is Format.CSV

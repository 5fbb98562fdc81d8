"""Archives of images are read in order, without trust in names, lengths or kinds."""

import io
import tarfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lepton_common.errors import MalformedFile
from lepton_data_ingest.formats.image_tar import read
from lepton_data_ingest.formats.images import UnusableImage, decode
from lepton_data_ingest.formats.records import Fault, Pictures, RecordBatch, Texts


def batches(path: Any) -> list[RecordBatch]:
    """All records of an archive."""
    return list(read(path, path.name, image="image", label="label").batches)


def labels(batch: RecordBatch) -> list[str | None]:
    """The labels of a batch."""
    values = batch.columns["label"]
    assert isinstance(values, Texts)
    return values.values.to_pylist()


def pictures(batch: RecordBatch) -> list[bytes]:
    """The image files of a batch."""
    values = batch.columns["image"]
    assert isinstance(values, Pictures)
    return [file for file in values.files if file is not None]


@pytest.mark.parametrize("mode", ["w", "w:gz"], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"]
)
def test_folders_are_labels(files: Any, digits: Any, monkeypatch: Any, layout: int, mode: str) -> None:
    monkeypatch.setattr(tarfile.TarFile, "format", layout)
    images, said = digits[0][:50], digits[1][:50]
    [batch] = batches(files.image_tar("digits.tar", images, said, mode=mode))
    assert labels(batch) == [str(label) for label in said]
    assert batch.places.tolist() == list(range(50))
    decoded = np.stack([decode(file)[..., 0] for file in pictures(batch)])
    np.testing.assert_array_equal(decoded, images)


@pytest.mark.parametrize("layout", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_long_and_foreign_names_are_read(files: Any, monkeypatch: Any, layout: int) -> None:
    monkeypatch.setattr(tarfile.TarFile, "format", layout)
    path = files.tar("x.tar", {f"über {'long ' * 40}/a.png": b"1", "b/c.png": b"2"})
    [batch] = batches(path)
    assert labels(batch) == [f"über {'long ' * 40}", "b"]


def test_the_folder_that_holds_an_image_is_its_label(files: Any) -> None:
    path = files.tar("x.tar", {"./cat/1.png": b"1", "set/train/dog/2.JPG": b"2", "owl/3.jpeg": b"3"})
    assert labels(batches(path)[0]) == ["cat", "dog", "owl"]


def test_what_is_no_image_is_a_fault_and_hidden_files_are_not_counted(files: Any) -> None:
    path = files.folder / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in [
            ("cat", tarfile.DIRTYPE),
            ("cat/.DS_Store", tarfile.REGTYPE),
            ("cat/1.png", tarfile.REGTYPE),
            ("cat/link.png", tarfile.SYMTYPE),
            ("cat/hard.png", tarfile.LNKTYPE),
            ("cat/device.png", tarfile.CHRTYPE),
            ("cat/pipe.png", tarfile.FIFOTYPE),
            ("cat/notes.txt", tarfile.REGTYPE),
            ("top.png", tarfile.REGTYPE),
            ("cat/2.png", tarfile.REGTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            info.size = 3 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"abc"))
    [batch] = batches(path)
    assert batch.places.tolist() == [0, 7]
    assert list(batch.faults) == [
        Fault(1, "'cat/link.png' is a symbolic link; expected an image file"),
        Fault(2, "'cat/hard.png' is a link; expected an image file"),
        Fault(3, "'cat/device.png' is a character device; expected an image file"),
        Fault(4, "'cat/pipe.png' is a pipe; expected an image file"),
        Fault(5, "'cat/notes.txt' is not named as an image; expected .png, .jpg or .bmp"),
        Fault(6, "'top.png' is in no folder; expected {label}/{file}"),
    ]


@pytest.mark.parametrize("name", ["../etc/passwd.png", "cat/../../x.png", "/etc/x.png", "cat/.."])
def test_a_name_that_leads_out_of_the_archive_ends_it(files: Any, name: str) -> None:
    with pytest.raises(MalformedFile, match="leads out of it; expected names below the root"):
        batches(files.tar("x.tar", {"cat/1.png": b"1", name: b"2"}))


def test_an_archive_that_ends_too_early_is_refused_at_every_length(files: Any) -> None:
    data = files.tar("x.tar", {"cat/1.png": bytes(700), "dog/2.png": bytes(10)}).read_bytes()
    whole = 512 + 1024 + 512 + 512 + 512
    for length in range(0, whole, 128):
        with pytest.raises(MalformedFile, match=r"x\.tar: byte"):
            batches(files.write("x.tar", data[:length]))
    assert len(batches(files.write("x.tar", data[:whole]))[0].places) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: b"\1" + data[1:], "byte 0: this is not a tar header"),
        (lambda data: data[:1024] + b"no header" + data[1033:], "byte 1024: this is not a tar header"),
    ],
    ids=["first", "second"],
)
def test_a_damaged_header_is_noticed(files: Any, change: Any, text: str) -> None:
    data = files.tar("x.tar", {"cat/1.png": b"1", "dog/2.png": b"2"}).read_bytes()
    with pytest.raises(MalformedFile, match=text):
        batches(files.write("x.tar", change(data)))


def sized(field: bytes) -> bytes:
    """A header whose length field is this."""
    header = bytearray(tarfile.TarInfo("cat/1.png").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (b"\x80" + (10**10).to_bytes(11, "big"), "expected 10000000000 bytes of 'cat/1.png'"),
        (b"77777777777\0", "expected 8589934591 bytes of 'cat/1.png'"),
        (b"-1         \0", "is no number"),
        (b"9          \0", "is no number"),
    ],
    ids=["ten-gigabytes", "eight-gigabytes", "negative", "not-octal"],
)
def test_a_length_that_the_archive_does_not_have_is_refused(files: Any, field: bytes, text: str) -> None:
    with pytest.raises(MalformedFile, match=text):
        batches(files.write("x.tar", sized(field) + bytes(2048)))


def test_damage_in_gzip_is_noticed(files: Any) -> None:
    data = bytearray(files.tar("x.tar.gz", {"cat/1.png": bytes(range(256)) * 40}, mode="w:gz").read_bytes())
    with pytest.raises(MalformedFile, match="ends too early or is damaged"):
        batches(files.write("cut.tar.gz", bytes(data[:-20])))
    data[-6] ^= 1
    with pytest.raises(MalformedFile, match="ends too early or is damaged"):
        batches(files.write("flipped.tar.gz", bytes(data)))


def test_an_archive_without_files_is_refused(files: Any) -> None:
    with pytest.raises(MalformedFile, match="it holds no file"):
        batches(files.tar("x.tar", {}))


def encoded(mode: str, size: tuple[int, int], kind: str = "PNG") -> bytes:
    """An image file of one mode."""
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("P", 3), ("RGB", 3), ("RGBA", 4), ("LA", 4)],
    ids=["bilevel", "grey", "palette", "colour", "transparent", "grey-transparent"],
)
def test_an_image_has_the_channels_of_its_mode(mode: str, channels: int) -> None:
    assert decode(encoded(mode, (5, 3))).shape == (3, 5, channels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_every_kind_of_image_file_is_decoded(digits: Any, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(digits[0][0]).save(buffer, kind)
    assert decode(buffer.getvalue()).shape == (8, 8, 1)


def test_a_grey_image_fits_three_channels() -> None:
    assert decode(encoded("L", (5, 3)), (3, 5, 3)).shape == (3, 5, 3)


@pytest.mark.parametrize(
    ("data", "shape", "text"),
    [
        (b"", None, "damaged or none"),
        (b"GIF89a" + bytes(100), None, "damaged or none"),
        (encoded("L", (50, 50))[:60], None, "damaged or none"),
        (encoded("I;16", (5, 3)), None, "the image has mode I;16; expected 8 bits a channel"),
        (encoded("L", (5, 3)), (3, 4, 1), r"the image has the shape [3, 5, 1]; expected [3, 4, 1]"),
        (encoded("RGB", (5, 3)), (3, 5, 1), r"the image has the shape [3, 5, 3]; expected [3, 5, 1]"),
        (encoded("1", (5000, 4000)), None, "the image has 5000 x 4000 pixels"),
        (encoded("1", (10_000, 9_500)), None, "far too large; expected at most 16 million pixels"),
        (encoded("1", (20_000, 10_000)), None, "far too large; expected at most 16 million pixels"),
    ],
    ids=["empty", "gif", "cut", "16-bit", "other-size", "other-channels", "large", "larger", "bomb"],
)
def test_an_image_that_is_not_as_expected_says_so(
    data: bytes, shape: tuple[int, int, int] | None, text: str
) -> None:
    with pytest.raises(UnusableImage) as caught:
        decode(data, shape)
    assert text in str(caught.value)

"""A version is its files: what they must be, and the digest that names them."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_common.errors import InvalidField
from lepton_registry.model import (
    File,
    Format,
    artifact_digest,
    check_artifact,
    check_model_name,
    is_latest,
    model_of,
)

ONNX = File(path="model.onnx", sha256="a" * 64, size_bytes=10, key="models/blobs/a")
EXTRA = File(path="transform.json", sha256="b" * 64, size_bytes=20, key="models/blobs/b")


def test_the_digest_is_that_of_one_line_per_file() -> None:
    text = f"model.onnx {'a' * 64} 10\ntransform.json {'b' * 64} 20\n"
    assert artifact_digest([EXTRA, ONNX]) == hashlib.sha256(text.encode()).hexdigest()


@given(files=st.permutations([ONNX, EXTRA, replace(EXTRA, path="sub/a"), replace(EXTRA, path="sub.b")]))
def test_the_order_of_the_files_does_not_count(files: list[File]) -> None:
    assert artifact_digest(files) == artifact_digest(sorted(files, key=lambda file: file.path))


def test_where_the_bytes_lie_does_not_count() -> None:
    assert artifact_digest([replace(ONNX, key="elsewhere")]) == artifact_digest([ONNX])


@pytest.mark.parametrize(
    "other",
    [replace(ONNX, path="m.onnx"), replace(ONNX, sha256="c" * 64), replace(ONNX, size_bytes=11)],
    ids=["path", "content", "length"],
)
def test_every_other_artifact_has_another_digest(other: File) -> None:
    assert artifact_digest([other]) != artifact_digest([ONNX])
    assert artifact_digest([ONNX, EXTRA]) != artifact_digest([ONNX])


def test_a_whole_artifact_is_taken() -> None:
    check_artifact([EXTRA, ONNX], Format.ONNX)
    check_artifact([replace(ONNX, path="model.keras")], Format.KERAS)


@pytest.mark.parametrize(
    ("files", "artifact_format", "field"),
    [
        ([ONNX], None, "format"),
        ([ONNX, ONNX], Format.ONNX, "files[1].path"),
        ([ONNX], Format.KERAS, "files"),
        ([EXTRA], Format.ONNX, "files"),
        ([replace(ONNX, key="../model.onnx")], Format.ONNX, "files[0].key"),
        ([ONNX, replace(EXTRA, key="/etc/passwd")], Format.ONNX, "files[1].key"),
    ],
    ids=["no format", "a path twice", "another format's file", "no model", "key with ..", "absolute key"],
)
def test_what_is_no_artifact_is_refused_by_field(
    files: list[File], artifact_format: Format | None, field: str
) -> None:
    with pytest.raises(InvalidField) as refusal:
        check_artifact(files, artifact_format)
    assert [violation.field for violation in refusal.value.violations] == [f"model_version.{field}"]


@pytest.mark.parametrize("name", ["models/a", "models/digits-2", "models/" + "a" * 63])
def test_a_models_name_is_taken(name: str) -> None:
    assert check_model_name(name) == name


@pytest.mark.parametrize(
    "name", ["models/", "models/2a", "models/-", "models/a-", "models/A", "models/" + "a" * 64, "models/a\n"]
)
def test_what_no_model_can_be_called_is_refused(name: str) -> None:
    with pytest.raises(InvalidField):
        check_model_name(name)


def test_a_versions_name_tells_its_model_and_whether_it_is_open() -> None:
    assert model_of("models/digits/versions/3") == "models/digits"
    assert is_latest("models/digits/versions/latest")
    assert not is_latest("models/latest/versions/3")

"""What makes a model version: its name, its files and their digest."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from lepton_common.errors import FieldViolation, InvalidField
from lepton_common.keys import check_key

LATEST = "latest"
"""Stands for the number of the newest version where a version is named."""

_MODEL = re.compile(r"models/[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


class Format(Enum):
    """How a model is stored; the value is the file that such an artifact must hold."""

    KERAS = "model.keras"
    ONNX = "model.onnx"


@dataclass(frozen=True)
class File:
    """One file of an artifact.

    Attributes:
        path: Where it is below the artifact.
        sha256: SHA-256 of its bytes, in lower-case hexadecimal.
        size_bytes: Its length.
        key: Key of its bytes in the object store.
    """

    path: str
    sha256: str
    size_bytes: int
    key: str


def artifact_digest(files: Sequence[File]) -> str:
    """Return the identity of an artifact: the same files have the same digest, wherever their bytes lie.

    It is the SHA-256, in lower-case hexadecimal, of one line per file in the bytewise order of the paths:
    path, digest and length with a space between them, and a line feed.
    """
    lines = sorted((file.path.encode(), f" {file.sha256} {file.size_bytes}\n".encode()) for file in files)
    return hashlib.sha256(b"".join(path + rest for path, rest in lines)).hexdigest()


def check_artifact(files: Sequence[File], artifact_format: Format | None) -> None:
    """Check that files make an artifact of a format.

    Raises:
        InvalidField: There is no format, two files have one path, the file that the format asks for
            is missing, or a key is none.
    """
    if artifact_format is None:
        raise _invalid("format", "must be KERAS or ONNX")
    seen: set[str] = set()
    for place, file in enumerate(files):
        if file.path in seen:
            raise _invalid(f"files[{place}].path", f"{file.path!r} is there twice")
        seen.add(file.path)
        check_key(file.key, field=f"model_version.files[{place}].key")
    if artifact_format.value not in seen:
        raise _invalid("files", f"must hold {artifact_format.value!r}, as the format asks for")


def check_model_name(name: str) -> str:
    """Return the name of a model that is to be made.

    Raises:
        InvalidField: No model can have it.
    """
    if _MODEL.fullmatch(name):
        return name
    rule = "must be models/ and an id: lower-case letters, digits and -, from a letter on, at most 63"
    raise InvalidField(f"{name!r} is no model's name", violations=[FieldViolation("parent", rule)])


def model_of(version: str) -> str:
    """Return the name of the model that a version is of.

    >>> model_of("models/digits/versions/3")
    'models/digits'
    """
    return version.rsplit("/", 2)[0]


def is_latest(version: str) -> bool:
    """Say whether a version's name leaves open which version it is."""
    return version.endswith(f"/{LATEST}")


def _invalid(field: str, rule: str) -> InvalidField:
    return InvalidField(
        f"the model version's {field} {rule}",
        violations=[FieldViolation(f"model_version.{field}", rule)],
    )

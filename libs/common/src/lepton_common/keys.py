"""Keys of objects: the rule that lets one key mean the same object in every store."""

import re

from lepton_common.errors import FieldViolation, InvalidField

MAX_KEY_BYTES = 1000
"""S3 allows 1024 for the bucket's prefix and the key together."""

_SEGMENT = re.compile(r"[A-Za-z0-9_.=@+-]{1,200}")


def check_key(key: str, *, field: str = "key") -> str:
    """Return `key` when every store can hold it under that very name.

    A key is segments joined by `/`, each of letters, digits and `_ . = @ + -`, none of them `.`
    or `..`. So no key leaves the root of the store, and none meets a temporary file.

    Raises:
        InvalidField: The key breaks a rule; the violation names `field`.
    """
    segments = key.split("/")
    if len(key) <= MAX_KEY_BYTES and all(
        _SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments
    ):
        return key
    rule = "segments of letters, digits and _ . = @ + - joined by /, none of them '.' or '..'"
    raise InvalidField(
        f"{key[:MAX_KEY_BYTES]!r} is not an object key",
        violations=[FieldViolation(field, f"must be {rule}, of at most {MAX_KEY_BYTES} bytes")],
    )

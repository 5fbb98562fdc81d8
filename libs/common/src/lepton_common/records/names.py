"""Resource names: `collection/id` pairs joined by `/`, as in `models/digits/versions/3`."""

import re

from lepton_common.errors import FieldViolation, InvalidField

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_NUMBER_DIGITS = 19
"""Enough for every 64-bit number."""


def check_name(name: str) -> str:
    """Return `name` when it is a resource name.

    Raises:
        InvalidField: It is not.
    """
    segments = name.split("/")
    if len(segments) % 2 == 0 and all(_SEGMENT.fullmatch(segment) for segment in segments):
        return name
    raise InvalidField(
        f"{name[:200]!r} is not a resource name",
        violations=[FieldViolation("name", "must be collection/id pairs joined by /")],
    )


def parent_of(name: str) -> str:
    """Return the name of the direct parent; empty for a resource without one."""
    return "/".join(name.split("/")[:-2])


def sort_key(name: str) -> str:
    """Return what to compare by bytes so that names come in order and their numbers by value.

    A number gets a `#`, which no name holds, so two names never share a key.
    """
    return "/".join(
        "#" + segment.zfill(_NUMBER_DIGITS) if segment.isdigit() and segment[0] != "0" else segment
        for segment in name.split("/")
    )

"""Requests against the rules that their contract declares (`buf.validate`)."""

import protovalidate
from google.protobuf.message import Message
from protovalidate import ViolationPb

from lepton_common.errors import FieldViolation, InvalidField


def check(request: Message) -> None:
    """Checks a request message.

    Raises:
        InvalidField: with every rule that is broken, and the path of its field.
    """
    violations = [
        FieldViolation(_path(violation.proto), violation.proto.message)
        for violation in protovalidate.collect_violations(request)
    ]
    if violations:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        place = f"{first.field}: " if first.field else ""
        raise InvalidField(f"{place}{first.description}{more}", violations=violations)


def _path(violation: ViolationPb) -> str:
    """Writes a field's path as people do: `spec.sources[2].upload`, `labels["team"]`."""
    path = ""
    for element in violation.field.elements if violation.field else ():
        path += f".{element.field_name}" if path else element.field_name
        subscript = element.subscript
        if subscript is not None:
            key = f'"{subscript.value}"' if isinstance(subscript.value, str) else subscript.value
            path += f"[{key}]"
    return path

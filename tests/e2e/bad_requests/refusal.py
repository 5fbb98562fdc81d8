"""What a bad request must be answered with."""

from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.message import Message

from lepton_common.errors import LeptonError

SHA = "0" * 64
ID_RULE = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
PAGE_RULE = "must come from the last response"


@dataclass(frozen=True)
class Refusal:
    """A request and the error that it must end in."""

    request: Message
    error: type[LeptonError]
    says: tuple[str, ...]
    """What the error tells, in its text or of a field: what is at fault, and what would be right."""


Refusals: TypeAlias = dict[str, Refusal]
"""By what is wrong with the request."""


def refusal(request: Message, error: type[LeptonError], *says: str) -> Refusal:
    """Short for a line of a table."""
    return Refusal(request, error, says)

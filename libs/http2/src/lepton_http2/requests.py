"""Header fields that make a request, and those that do not (RFC 9113, sections 8.2 and 8.3)."""

import re
from collections.abc import Sequence

from lepton_http2.errors import ErrorCode, StreamFault
from lepton_http2.hpack import Field

__all__ = ["REGULAR", "Request", "check_trailers", "classify", "read_request"]

# What a field can be. Pseudo-header fields are the positive ones up to _AUTHORITY.
_MALFORMED = -1
REGULAR = 0
_METHOD, _SCHEME, _PATH, _AUTHORITY = 1, 2, 3, 4
_HOST, _CONTENT_LENGTH = 5, 6

_PSEUDO = {b":method": _METHOD, b":scheme": _SCHEME, b":path": _PATH, b":authority": _AUTHORITY}
# They are about a connection of HTTP/1.1.
_CONNECTION_SPECIFIC = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"(?:[^\0\r\n\t ](?:[^\0\r\n]*[^\0\r\n\t ])?)?")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class Request:
    """The head of a request. Requests with the same header block share one."""

    __slots__ = (
        "authority",
        "content_length",
        "fields",
        "meaning",
        "method",
        "oversized",
        "path",
        "prototype",
        "scheme",
        "varying",
    )

    def __init__(self) -> None:
        self.method = self.scheme = self.path = self.authority = b""
        self.content_length: int | None = None
        self.fields: list[Field] = []
        """All but the pseudo-header fields, in their order."""
        self.oversized = False
        """Whether the header list is longer than the limit. Some of its fields were left out."""
        self.meaning: object = None
        """What the protocol above reads from it: worked out once, kept here."""
        self.prototype: Request | None = None
        """An earlier one that differs from it in the fields at `prototype.varying` alone."""
        self.varying: Sequence[int] = ()
        """The places of the fields in which others may differ that have this one as their prototype."""

    def varied(self, fields: list[Field]) -> "Request":
        """One with other fields, of which this one is the prototype."""
        request = Request.__new__(Request)
        request.method = self.method
        request.scheme = self.scheme
        request.path = self.path
        request.authority = self.authority
        request.content_length = self.content_length
        request.fields = fields
        request.oversized = False
        request.meaning = None
        request.prototype = self
        request.varying = self.varying
        return request


def classify(name: bytes, value: bytes) -> int:
    """Says what a field is, for `hpack.Decoder`."""
    if name in _PSEUDO:
        if name == b":path" and not value:
            return _MALFORMED
        return _PSEUDO[name] if _VALUE.fullmatch(value) else _MALFORMED
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or name in _CONNECTION_SPECIFIC:
        return _MALFORMED
    if name == b"te" and value.lower() != b"trailers":
        return _MALFORMED
    if name == b"content-length":
        return _CONTENT_LENGTH if _LENGTH.fullmatch(value) else _MALFORMED
    return _HOST if name == b"host" else REGULAR


# A branch for each kind of field, in the one loop that there is for each request.
def read_request(fields: Sequence[Field], *, max_list_bytes: int) -> Request:  # noqa: C901
    """Reads the header list of a request.

    Raises:
        StreamFault: it is malformed.
    """
    request = Request()
    regular = request.fields
    host = None
    # One bit for each pseudo-header field, and bit 0 for any regular one.
    seen = 0
    left = max_list_bytes
    for field in fields:
        name, value, size, kind = field
        left -= size
        if kind > _AUTHORITY or kind == REGULAR:
            seen |= 1
            if kind == _CONTENT_LENGTH:
                _read_length(request, value)
            elif kind == _HOST:
                host = value
            if left >= 0:
                regular.append(field)
        elif kind == _MALFORMED:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, f"malformed header field {name!r}")
        else:
            if seen & (1 << kind | 1):
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, f"misplaced {name!r}")
            seen |= 1 << kind
            if kind == _METHOD:
                request.method = value
            elif kind == _PATH:
                request.path = value
            elif kind == _SCHEME:
                request.scheme = value
            else:
                request.authority = value
    request.oversized = left < 0
    _check_complete(request, host)
    return request


def _read_length(request: Request, value: bytes) -> None:
    length = int(value)
    if request.content_length not in (None, length):
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "two content-lengths differ")
    request.content_length = length


def _check_complete(request: Request, host: bytes | None) -> None:
    if request.method == b"CONNECT":
        complete = request.authority and not request.scheme and not request.path
    else:
        complete = request.method and request.scheme and request.path[:1] in (b"/", b"*")
    if not complete:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "the pseudo-header fields make no request")
    if host is not None and request.authority and host != request.authority:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "host and :authority differ")


def check_trailers(fields: Sequence[Field]) -> None:
    """Checks the fields behind a body.

    Raises:
        StreamFault: they are malformed.
    """
    for name, _, _, kind in fields:
        if kind == _MALFORMED or _METHOD <= kind <= _AUTHORITY:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, f"malformed trailer {name!r}")

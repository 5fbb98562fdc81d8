"""What the header fields of a request say about a call."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lepton_http2.grpc.methods import ANY_PATH, Method
from lepton_http2.grpc.status import RpcError, StatusCode
from lepton_http2.hpack import Field
from lepton_http2.requests import Request

__all__ = ["Head", "HttpRefusal", "read_head"]

_UNIT_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST_DIGITS = 8
_IDENTITY, _GZIP = b"identity", b"gzip"
_TELLING = {b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"}
# Fields of the protocol and of HTTP, which are no metadata of the caller's.
_OWN = {b"te", b"content-type", b"content-length", b"host"}


@dataclass(frozen=True)
class HttpRefusal:
    """What HTTP says to a request that is no call of gRPC."""

    status: int
    message: str


_NO_METHOD = Method(path="")


class Head:
    """The head of a call. Calls with the same header block share one."""

    def __init__(self, request: Request, method: Method) -> None:
        self.request = request
        self.method = method
        self.refusal: HttpRefusal | None = None
        """What to answer when the request has ended, if it is no call."""
        self.timeout_seconds: float | None = None
        self.compressed = False
        """Whether messages may be compressed, with gzip."""
        self.accepts_gzip = False
        self.relayed: bytes | None = None
        """What a relay sends of it: worked out once, kept here."""
        self._metadata: tuple[tuple[str, str | bytes], ...] | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The caller's metadata, in order: text, or bytes where the name ends in `-bin`."""
        if self._metadata is None:
            self._metadata = _read_metadata(self.request.fields)
        return self._metadata

    def field(self, name: bytes) -> bytes | None:
        """The value of the last header field of this name; None if there is none."""
        found = None
        for field in self.request.fields:
            if field[0] == name:
                found = field[1]
        return found

    @cached_property
    def _telling(self) -> Sequence[int]:
        """Of `Request.varying`, the fields that more depends on than their own place in the metadata."""
        names = [(place, self.request.fields[place][0]) for place in self.request.varying]
        return [place for place, name in names if name in _TELLING or name.endswith(b"-bin")]

    def fits(self, request: Request) -> bool:
        """Whether a request that has this one's as its prototype has this head but for metadata of text."""
        fields, earlier = request.fields, self.request.fields
        return all(fields[place] is earlier[place] for place in self._telling)

    def varied(self, request: Request) -> Head:
        """The head of such a request."""
        head = Head(request, self.method)
        head.refusal = self.refusal
        head.timeout_seconds = self.timeout_seconds
        head.compressed = self.compressed
        head.accepts_gzip = self.accepts_gzip
        return head


def read_head(request: Request, methods: Mapping[bytes, Method]) -> Head:
    """Reads the head of a call.

    Raises:
        RpcError: the call cannot be answered.
    """
    prototype = None if request.prototype is None else request.prototype.meaning
    if isinstance(prototype, Head) and prototype.fits(request):
        return prototype.varied(request)
    return _read_head(request, methods)


def _read_head(request: Request, methods: Mapping[bytes, Method]) -> Head:
    told: dict[bytes, bytes] = {}
    binary = False
    for name, value, _, _ in request.fields:
        if name in _TELLING:
            told[name] = value
        elif name.endswith(b"-bin"):
            binary = True
    refusal = _refusal(request, told.get(b"content-type", b""))
    if refusal is not None:
        head = Head(request, _NO_METHOD)
        head.refusal = refusal
        return head
    if request.oversized:
        raise RpcError(StatusCode.RESOURCE_EXHAUSTED, "the metadata is too large")
    method = methods.get(request.path, methods.get(ANY_PATH))
    if method is None:
        raise RpcError(StatusCode.UNIMPLEMENTED, f"there is no method {request.path.decode('latin-1')}")
    head = Head(request, method)
    if b"grpc-timeout" in told:
        head.timeout_seconds = _read_timeout(told[b"grpc-timeout"])
    if b"grpc-encoding" in told:
        head.compressed = _read_encoding(told[b"grpc-encoding"])
    head.accepts_gzip = _GZIP in told.get(b"grpc-accept-encoding", b"")
    if binary:
        # Now, since it may be malformed.
        _ = head.metadata
    return head


def _refusal(request: Request, content_type: bytes) -> HttpRefusal | None:
    media = content_type[:16].lower()
    if media != b"application/grpc" or content_type[16:17] not in (b"", b"+", b";"):
        return HttpRefusal(415, "the content-type must be application/grpc")
    return None if request.method == b"POST" else HttpRefusal(405, "calls are made with POST")


def _read_timeout(value: bytes) -> float:
    digits, unit = value[:-1], value[-1:]
    if not digits.isdigit() or len(digits) > _MOST_DIGITS or unit not in _UNIT_SECONDS:
        raise RpcError(StatusCode.INTERNAL, "grpc-timeout is malformed")
    return int(digits) * _UNIT_SECONDS[unit]


def _read_encoding(value: bytes) -> bool:
    if value not in (_GZIP, _IDENTITY):
        raise RpcError(
            StatusCode.UNIMPLEMENTED,
            "messages can be compressed with gzip alone",
            metadata=[("grpc-accept-encoding", "identity,gzip")],
        )
    return value == _GZIP


def _read_metadata(fields: Sequence[Field]) -> tuple[tuple[str, str | bytes], ...]:
    """The fields that are metadata of the caller's.

    Raises:
        RpcError: binary metadata is malformed.
    """
    metadata: list[tuple[str, str | bytes]] = []
    for name, value, _, _ in fields:
        if name in _OWN or name.startswith(b"grpc-"):
            continue
        if name.endswith(b"-bin"):
            metadata += ((name.decode(), _decode_base64(part)) for part in value.split(b","))
        else:
            metadata.append((name.decode(), value.decode("latin-1")))
    return tuple(metadata)


def _decode_base64(value: bytes) -> bytes:
    value = value.strip()
    try:
        return b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except Base64Error as error:
        raise RpcError(StatusCode.INTERNAL, "binary metadata is not base64") from error

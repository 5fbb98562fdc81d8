"""How a call ends: codes, messages, details, and the header blocks that say so."""

import re
from base64 import b64encode
from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache

from lepton_http2.hpack import encode

__all__ = [
    "HEADERS",
    "Metadata",
    "RpcError",
    "StatusCode",
    "encode_metadata",
    "error_block",
    "http_error_block",
    "trailers_block",
]

Metadata = Iterable[tuple[str, str | bytes]]
"""Names in lower case, and values: text, or bytes where the name ends in `-bin`."""

_NAME = re.compile("[0-9a-z_.-]+")
# The names of the protocol's own that servers may use: what they understand, and when to try again.
_TOLD = {"grpc-accept-encoding", "grpc-retry-pushback-ms"}
_CONTENT_TYPE = (b"content-type", b"application/grpc")

HEADERS = encode([(b":status", b"200"), _CONTENT_TYPE], compress=False)
"""The header block in front of messages."""


class StatusCode(IntEnum):
    """The codes of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """Ends a call with a status: raised by handlers, and by what reads requests for them.

    Args:
        code: the status; never OK. Numbers that have no name are sent as they are.
        message: for the caller, any text.
        details: a serialised `google.rpc.Status`, for the caller's program.
        metadata: further trailers.

    Raises:
        ValueError: the metadata cannot be sent.
    """

    def __init__(
        self, code: int, message: str = "", *, details: bytes = b"", metadata: Metadata = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.metadata = tuple(metadata)
        encode_metadata(self.metadata)


def encode_metadata(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Metadata as header fields.

    Raises:
        ValueError: a name or a value cannot be sent.
    """
    fields = []
    for name, value in metadata:
        if name.endswith("-bin"):
            if isinstance(value, str):
                raise ValueError(f"{name} takes bytes")
            # Without padding, as the protocol asks of what is sent.
            field = b64encode(value).rstrip(b"=")
        elif isinstance(value, str) and value.isascii() and value.isprintable() and value == value.strip():
            field = value.encode()
        else:
            raise ValueError(f"{name} takes printable ASCII without spaces around it")
        if (name.startswith("grpc-") and name not in _TOLD) or not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of metadata")
        fields.append((name.encode(), field))
    return fields


def _percent_encode(message: str) -> bytes:
    """A status message as a header value: printable ASCII but `%` stands for itself."""
    return b"".join(
        bytes([octet]) if 0x20 <= octet <= 0x7E and octet != 0x25 else b"%%%02X" % octet
        for octet in message.encode("utf-8", "replace")
    )


def _status_fields(code: int, message: str, details: bytes) -> list[tuple[bytes, bytes]]:
    fields = [(b"grpc-status", b"%d" % code)]
    if message:
        text = _percent_encode(message)
        # A header value cannot begin or end with a space.
        if text[0] == 0x20:
            text = b"%20" + text[1:]
        if text[-1] == 0x20:
            text = text[:-1] + b"%20"
        fields.append((b"grpc-message", text))
    if details:
        fields.append((b"grpc-status-details-bin", b64encode(details).rstrip(b"=")))
    return fields


@lru_cache(maxsize=256)
def error_block(
    code: int, message: str, details: bytes = b"", metadata: tuple[tuple[str, str | bytes], ...] = ()
) -> bytes:
    """The one header block of an answer that is nothing but a status."""
    fields = [(b":status", b"200"), _CONTENT_TYPE, *_status_fields(code, message, details)]
    return encode([*fields, *encode_metadata(metadata)], compress=False)


def trailers_block(code: int, message: str = "", details: bytes = b"", metadata: Metadata = ()) -> bytes:
    """The header block behind the messages of an answer."""
    return encode([*_status_fields(code, message, details), *encode_metadata(metadata)], compress=False)


def http_error_block(status: int, fields: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The header block of an answer to what is no call of gRPC."""
    return encode([(b":status", b"%d" % status), (b"content-type", b"text/plain"), *fields], compress=False)

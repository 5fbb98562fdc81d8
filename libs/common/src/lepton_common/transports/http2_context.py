"""A call of `lepton_http2`, as the stages and the servicers of gRPC know calls."""

from collections.abc import Callable
from typing import Any

import grpc

from lepton_common.status import DETAILS_KEY
from lepton_http2.grpc import Call, RpcError, StatusCode
from lepton_http2.grpc.status import Metadata

_SPIFFE = b"spiffe://"


class Context:
    """What of `grpc.aio.ServicerContext` stages and servicers use.

    Args:
        call: the call.
        encode: makes bytes of its responses.
    """

    def __init__(self, call: Call, encode: Callable[[Any], bytes]) -> None:
        self._call = call
        self._encode = encode
        self._code: Any = 0
        self._text = ""
        self._trailing: Metadata = ()

    def invocation_metadata(self) -> Metadata:
        """The caller's metadata."""
        return self._call.metadata

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Keeps metadata to be sent behind the answer."""
        self._call.set_trailing_metadata(metadata)

    def time_remaining(self) -> float | None:
        """The seconds that the caller still waits; None if it waits for ever."""
        return self._call.time_remaining()

    def peer(self) -> str:
        """The caller's address, as gRPC writes it."""
        return peer_name(self._call)

    def auth_context(self) -> dict[str, list[bytes]]:
        """What is known of the caller's certificate."""
        return certificate_properties(self._call)

    def code(self) -> Any:
        """The status that was set; 0 for none."""
        return self._code

    def set_code(self, code: grpc.StatusCode) -> None:
        """Sets the status of an answer that is none."""
        self._code = code

    def set_details(self, text: str) -> None:
        """Sets its text."""
        self._text = text

    async def write(self, message: Any) -> None:
        """Sends one of many responses."""
        await self._call.send(self._encode(message))

    async def abort(self, code: grpc.StatusCode, text: str = "", trailing_metadata: Metadata = ()) -> None:
        """Ends the call; metadata takes the place of what was set before.

        Raises:
            AbortError: always, so that nothing follows.
        """
        self._code, self._text, self._trailing = code, text, tuple(trailing_metadata)
        raise grpc.aio.AbortError("the call was aborted")

    def status(self) -> RpcError:
        """What the call was aborted with."""
        if self._trailing:
            self._call.set_trailing_metadata(())
        code = self._code.value[0] if isinstance(self._code, grpc.StatusCode) else int(self._code)
        details = b""
        metadata = []
        for name, value in self._trailing:
            if name == DETAILS_KEY and isinstance(value, bytes):
                details = value
            else:
                metadata.append((name, value))
        return RpcError(code, self._text, details=details, metadata=metadata)


def peer_name(call: Call) -> str:
    """The caller's address, as gRPC writes it."""
    return f"ipv6:{call.peer}" if call.peer.startswith("[") else f"ipv4:{call.peer}"


def certificate_properties(call: Call) -> dict[str, list[bytes]]:
    """What gRPC would say of the caller's certificate: its DNS names, and the SPIFFE id if it has one."""
    certificate = call.peer_certificate
    if certificate is None:
        return {}
    names: dict[str, list[bytes]] = {"DNS": [], "URI": []}
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in names:
            names[kind].append(value.encode())
    # A certificate with a SPIFFE id has no other URI (the X.509-SVID specification, section 2).
    spiffe = names["URI"] if len(names["URI"]) == 1 and names["URI"][0].startswith(_SPIFFE) else []
    return {"peer_dns": names["DNS"], "peer_spiffe_id": spiffe}


def check_size(data: bytes, largest: int) -> None:
    """Checks a response before it is sent.

    Raises:
        RpcError: it is too large.
    """
    if len(data) > largest:
        raise RpcError(
            StatusCode.RESOURCE_EXHAUSTED, f"Sent message larger than max ({len(data)} vs. {largest})"
        )

"""The back: calls that came in elsewhere, for the handlers here."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

from lepton_http2.grpc.call import Call
from lepton_http2.grpc.handling import Handling
from lepton_http2.grpc.head import Head
from lepton_http2.relay.link import TO_FRONT, Link
from lepton_http2.relay.records import Flag, Kind, Record, split_fields
from lepton_http2.requests import Request

if TYPE_CHECKING:
    from lepton_http2.grpc.methods import Method
    from lepton_http2.grpc.session import Session
    from lepton_http2.relay.shared import Shared
    from lepton_http2.sending import Answer

__all__ = ["Back", "RelayedCall"]

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

# Requests that are remembered with their heads, by the header fields that say the same.
_MOST_REQUESTS = 1024

# Looked at for every call.
_CALL, _ANSWER = Kind.CALL.value, Kind.ANSWER
_COMPRESSED, _ACCEPTS_GZIP = Flag.COMPRESSED.value, Flag.ACCEPTS_GZIP.value


class Back:
    """The calls of one front.

    Args:
        shared: what lies between.
        methods: in the order that both sides have.
        spawn: runs a handler, and keeps hold of it.
        broken: called if what the front sends is not what it should be.
    """

    def __init__(
        self, shared: Shared, methods: Sequence[Method], *, spawn: Spawn, broken: Callable[[], None]
    ) -> None:
        self.calls: dict[int, RelayedCall] = {}
        self.spawn = spawn
        self.link = Link(shared, sends=TO_FRONT, owner=self, patient=True, broken=broken)
        self._methods = methods
        self._connections: dict[int, _Connection] = {}
        self._requests: dict[tuple[int, int, bytes], Request] = {}

    def take(self, record: Record) -> None:
        """See `Owner`."""
        kind = record.kind
        if kind == _CALL:
            self._begin(record)
        elif kind == Kind.OPEN:
            certificate = json.loads(bytes(record.body), object_hook=_with_tuples)
            self._connections[record.connection] = _Connection(self, record.head.decode(), certificate)
        elif kind == Kind.CLOSE:
            del self._connections[record.connection]
        else:
            call = self.calls.get(record.call)
            # It may have been answered meanwhile.
            if call is not None:
                self._go_on(call, record)

    def ring_full(self) -> None:
        """See `Owner`. Streams wait for `Call.drained`, and no more calls are taken."""

    def ring_free(self) -> None:
        """See `Owner`."""
        for call in list(self.calls.values()):
            call.drained()

    def lost(self) -> None:
        """The front is no more, and its callers with it."""
        self.link.close()
        for call in list(self.calls.values()):
            self._cancel(call)
        self._connections.clear()

    def end(self, call: Call) -> None:
        """A call is over."""
        del self.calls[call.id]
        call.closed = True
        call.forgotten()

    def _begin(self, record: Record) -> None:
        connection = self._connections[record.connection]
        request = self._request(record)
        # What a session is to other calls: as far as they ask, it is the same.
        call = RelayedCall(cast("Session", connection), record.call, request, 0, 0)
        head = call.head = cast(Head, request.meaning)
        if record.deadline:
            call.deadline = record.deadline
        self.calls[record.call] = call
        method = head.method
        if method.takes_stream:
            call.inbox = deque()
            call.task = self.spawn(connection.run(call))
            return
        call.ended = True
        if record.flags & _COMPRESSED:
            call.was_compressed = True
        message = cast(bytes, record.body) if method.in_place else bytes(record.body)
        connection.answer_whole(call, message)

    def _request(self, record: Record) -> Request:
        """The header fields of a call, with the head that they make."""
        key = (record.method, record.flags & _ACCEPTS_GZIP, record.head)
        request = self._requests.get(key)
        if request is None:
            request = Request()
            request.fields = split_fields(record.head)
            head = request.meaning = Head(request, self._methods[record.method])
            head.accepts_gzip = bool(record.flags & Flag.ACCEPTS_GZIP)
            if len(self._requests) >= _MOST_REQUESTS:
                self._requests.clear()
            self._requests[key] = request
        return request

    def _go_on(self, call: RelayedCall, record: Record) -> None:
        kind = record.kind
        if kind == Kind.MESSAGE:
            call.arrive(bytes(record.body), compressed=bool(record.flags & Flag.COMPRESSED))
        elif kind == Kind.ENDED:
            call.ended = True
            call.check_complete()
        elif kind == Kind.TAKEN:
            call.queued_bytes -= record.amount
            call.drained()
        elif kind == Kind.CANCEL:
            self._cancel(call)
        else:
            raise ValueError(f"a record is of kind {kind}")

    def _cancel(self, call: Call) -> None:
        self.end(call)
        call.cancel()


class RelayedCall(Call):
    """A call whose caller is connected to a front.

    `queued_bytes` is what the front has not told that the caller took. Messages come decompressed.
    """

    takes_long = False

    def arrive(self, message: bytes, *, compressed: bool) -> None:
        """Takes one of many messages."""
        assert self.inbox is not None
        self.inbox.append((message, compressed))
        self.connection.buffered_bytes += len(message)
        # Whoever waits for a message looks again.
        self.check_complete()

    def unpack(self, message: bytes) -> bytes:
        return message

    def forgotten(self) -> None:
        if self.inbox is not None:
            self.inbox = None
        # Most calls have nobody who waits.
        if self.task is not None:
            super().forgotten()

    def _send_message(self, message: bytes) -> None:
        if not self.headers_sent:
            self._plain = False
            self._send_headers()
        # The front compresses it.
        compressed = self.compress and self._announced_gzip
        self.connection.outbound.message(self, message, compressed=compressed)


class _Connection(Handling):
    """A client's connection to a front: to its calls what a `Session` is, and its host and outbound."""

    # The link sees to it that what is sent is told.
    flushing = True

    def __init__(self, back: Back, peer: str, certificate: dict[str, Any] | None) -> None:
        self.peer = peer
        self.peer_certificate = certificate
        self.spawn = back.spawn
        self.unflushed_bytes = 0
        self.buffered_bytes = 0
        self._back = back
        self._link = back.link

    @property
    def host(self) -> Any:
        """See `Session`."""
        return self

    @property
    def outbound(self) -> _Connection:
        """See `Session`."""
        return self

    @property
    def paused(self) -> bool:
        """See `Session`."""
        return self._link.is_full

    def answer_whole(self, call: Call, message: bytes) -> None:
        """Has a call answered whose only message is here."""
        direct = call.head.method.direct
        if direct is not None:
            self._answer(call, direct, message)
        else:
            call.begin_task(message)

    # See `Session` and its `Host`.

    def flush_soon(self) -> None: ...

    def flush(self) -> None:
        self.unflushed_bytes = 0
        self._link.tell()

    def consumed(self, call: Call, size: int) -> None:
        self._link.put(Kind.TAKEN, call.id, amount=size)

    # See `Outbound`.

    def answer(self, call: Call, answer: Answer, body: bytes, trailers: bytes | None = None) -> None:
        self._link.put(_ANSWER, call.id, head=trailers or b"", body=body)
        self._back.end(call)

    def headers(self, call: Call, block: bytes, *, end: bool = False) -> None:
        call.headers_sent = True
        self._link.put(Kind.HEADERS, call.id, flags=Flag.LAST if end else 0, head=block)
        if end:
            self._back.end(call)

    def message(self, call: Call, body: bytes, *, compressed: bool = False) -> None:
        call.queued_bytes += len(body)
        self._link.put(Kind.MESSAGE, call.id, flags=Flag.COMPRESSED if compressed else 0, body=body)

    def end(self, call: Call, trailers: bytes = b"") -> None:
        call.trailers = trailers
        self._link.put(Kind.END, call.id, head=trailers)
        self._back.end(call)


def _with_tuples(certificate: dict[str, Any]) -> dict[str, Any]:
    """What `ssl.SSLSocket.getpeercert` gave: JSON makes lists of its tuples."""
    return {name: _tuples(value) for name, value in certificate.items()}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value

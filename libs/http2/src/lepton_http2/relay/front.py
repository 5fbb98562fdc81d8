"""The front: calls as connections bring them, for handlers that are elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from lepton_http2.grpc.call import Call
from lepton_http2.grpc.messages import PREFIX_BYTES, compress
from lepton_http2.grpc.methods import Method, bidirectional, direct
from lepton_http2.grpc.protocol import ServerProtocol
from lepton_http2.relay.link import TO_BACK, Link
from lepton_http2.relay.records import Flag, Kind, Record, join_fields

if TYPE_CHECKING:
    from lepton_http2.grpc.server import Server
    from lepton_http2.relay.shared import Shared

__all__ = ["Front", "FrontProtocol"]

# What may be under way of a stream's messages, each way, before somebody takes them.
_MOST_UNDER_WAY_BYTES = 256 << 10
_MOST_QUEUED_BYTES = 64 << 10


class Front:
    """What relays the calls of one process.

    Args:
        shared: what lies between.
        methods: their paths and whether they take streams, in the order that both sides have.
        counted: told how many connections there are, whenever that changes.
        broken: called if what the back sends is not what it should be.
    """

    def __init__(
        self,
        shared: Shared,
        methods: Sequence[tuple[str, bool]],
        *,
        counted: Callable[[int], None],
        broken: Callable[[], None],
    ) -> None:
        self.link = Link(shared, sends=TO_BACK, owner=self, patient=False, broken=broken)
        self.methods = [self._method(index, *method) for index, method in enumerate(methods)]
        self._counted = counted
        self._protocols: set[FrontProtocol] = set()
        self._calls: dict[int, _FrontCall] = {}
        self._call_count = 0
        self._connection_count = 0

    def _method(self, index: int, path: str, takes_stream: bool) -> Method:
        if takes_stream:
            return bidirectional(path, partial(self._relay_stream, index))
        return direct(path, partial(self._relay_whole, index))

    def _relay_whole(self, index: int, call: Call, message: bytes) -> None:
        self._begin(index, cast(_FrontCall, call), message)

    async def _relay_stream(
        self, index: int, call: Call, messages: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        call = cast(_FrontCall, call)
        self._begin(index, call, b"")
        async for message in messages:
            flags = Flag.COMPRESSED if call.was_compressed else 0
            self.link.put(Kind.MESSAGE, call.number, flags=flags, body=message)
            call.under_way_bytes += PREFIX_BYTES + len(message)
            while call.under_way_bytes > _MOST_UNDER_WAY_BYTES and not call.answered:
                await call.change()
        if call.number:
            self.link.put(Kind.ENDED, call.number)
        while not call.answered:
            await call.change()
        # The back sends all there is.
        return
        yield

    def _begin(self, index: int, call: _FrontCall, message: bytes) -> None:
        protocol = cast(FrontProtocol, call.connection.host)
        if not protocol.number:
            self._connection_count += 1
            protocol.number = self._connection_count
            certificate = json.dumps(protocol.peer_certificate).encode()
            self.link.put(
                Kind.OPEN, 0, connection=protocol.number, head=protocol.peer.encode(), body=certificate
            )
        self._call_count += 1
        number = call.number = self._call_count
        self._calls[number] = call
        head = call.head
        if head.relayed is None:
            # Of the protocol's own, some differ from call to call; the back needs none.
            head.relayed = join_fields(
                field for field in call.request.fields if not field[0].startswith(b"grpc-")
            )
        flags = Flag.ACCEPTS_GZIP if head.accepts_gzip else 0
        if call.was_compressed:
            flags |= Flag.COMPRESSED
        self.link.put(
            Kind.CALL,
            number,
            flags=flags,
            method=index,
            connection=protocol.number,
            deadline=call.deadline or 0.0,
            head=head.relayed,
            body=message,
        )

    def over(self, call: _FrontCall) -> None:
        """A call is over that the back has not answered to its end."""
        if self._calls.pop(call.number, None) is not None:
            self.link.put(Kind.CANCEL, call.number)

    def opened(self, protocol: FrontProtocol) -> None:
        """A connection has begun."""
        self._protocols.add(protocol)
        self._counted(len(self._protocols))

    def closed(self, protocol: FrontProtocol) -> None:
        """A connection has ended."""
        self._protocols.discard(protocol)
        self._counted(len(self._protocols))
        if protocol.number:
            self.link.put(Kind.CLOSE, 0, connection=protocol.number)

    # What the link calls.

    def take(self, record: Record) -> None:
        """See `Owner`."""
        call = self._calls.get(record.call)
        if call is None:
            return
        kind = record.kind
        last = kind in (Kind.ANSWER, Kind.END) or (kind == Kind.HEADERS and record.flags & Flag.LAST)
        if last:
            del self._calls[record.call]
        if not call.answered:
            call.answer(record)

    def ring_full(self) -> None:
        """See `Owner`: clients are not read any more."""
        for protocol in self._protocols:
            protocol.hold()

    def ring_free(self) -> None:
        """See `Owner`."""
        for protocol in list(self._protocols):
            protocol.go_on()


class _FrontCall(Call):
    """A call that the back answers."""

    number = 0
    """Its number on the link; 0 before it has one."""
    under_way_bytes = 0
    """Messages of the caller's that no handler has taken."""
    _untaken_bytes = 0
    """Messages of the back's of which it has not heard that the caller took them."""
    _changed: asyncio.Future[None] | None = None

    @property
    def front(self) -> Front:
        """Where it is relayed."""
        return cast(FrontProtocol, self.connection.host).front

    async def change(self) -> None:
        """Waits until something has changed."""
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def answer(self, record: Record) -> None:
        """Does what the back says."""
        kind, connection = record.kind, self.connection
        if kind == Kind.ANSWER:
            self.reply(cast(bytes, record.body), trailers=record.head or None)
            return
        outbound = connection.outbound
        if kind == Kind.TAKEN:
            self.under_way_bytes -= record.amount
            self._look()
            return
        if kind == Kind.HEADERS:
            outbound.headers(self, record.head, end=bool(record.flags & Flag.LAST))
        elif kind == Kind.MESSAGE:
            compressed = bool(record.flags & Flag.COMPRESSED)
            body = cast(bytes, record.body)
            outbound.message(self, compress(body) if compressed else body, compressed=compressed)
            self._untaken_bytes += len(body)
            self._confirm()
        elif kind == Kind.END:
            outbound.end(self, record.head)
            self._look()
        else:
            raise ValueError(f"a record is of kind {kind}")
        connection.flush_soon()

    def _confirm(self) -> None:
        """Tells the back what the caller has taken, or will have at once."""
        if self._untaken_bytes and self.queued_bytes <= _MOST_QUEUED_BYTES and not self.connection.paused:
            self.front.link.put(Kind.TAKEN, self.number, amount=self._untaken_bytes)
            self._untaken_bytes = 0

    def _look(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def drained(self) -> None:
        super().drained()
        self._confirm()

    def forgotten(self) -> None:
        super().forgotten()
        self._look()
        if self.number:
            self.front.over(self)


class FrontProtocol(ServerProtocol):
    """A connection whose calls are relayed."""

    number = 0
    """Its number on the link; 0 before its first call."""

    def __init__(self, server: Server, front: Front) -> None:
        super().__init__(server)
        self.front = front
        self.session.stream_type = _FrontCall

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.front.opened(self)
        if self.front.link.is_full:
            self.hold()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.front.closed(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.front.link.is_full:
            self.hold()

    def hold(self) -> None:
        """Reads no more."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Reads again, unless the client takes nothing of what it asked for."""
        if self._transport is not None and not self._transport.is_closing() and not self.session.paused:
            self._transport.resume_reading()

"""A call, as its handler sees it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lepton_http2.errors import ErrorCode
from lepton_http2.grpc.messages import PREFIX_BYTES, Reassembly, compress, decompress
from lepton_http2.grpc.status import (
    HEADERS,
    Metadata,
    RpcError,
    StatusCode,
    encode_metadata,
    error_block,
    trailers_block,
)
from lepton_http2.hpack import encode
from lepton_http2.sending import Answer
from lepton_http2.streams import Stream

if TYPE_CHECKING:
    from lepton_http2.grpc.head import Head
    from lepton_http2.grpc.session import Session

__all__ = ["Call"]

_LOG = logging.getLogger(__name__)

# A streaming handler waits while this much of what it sent has not found a window.
_MOST_QUEUED_BYTES = 64 << 10
# Of at most a thousand times as many bytes, in a millisecond or so.
_QUICKLY_DECOMPRESSED_BYTES = 4 << 10
# What streaming handlers may send before it is written, each message with something for its frames.
_MOST_UNFLUSHED_BYTES = 256 << 10
_OVERHEAD_BYTES = 256
_GZIP_FIELD = (b"grpc-encoding", b"gzip")
# One message and OK: all that most calls are answered with.
_MESSAGE = Answer(HEADERS, trailers_block(StatusCode.OK))


class Call(Stream):
    """A call that is not answered yet.

    As with a stream, what most calls never change are attributes of the class.
    """

    connection: Session
    head: Head
    deadline: float | None = None
    """When the caller stops waiting, of `time.monotonic`; None for never."""
    on_cancel: Callable[[], None] | None = None
    """Called when nobody waits for an answer any more: the caller said so, went away, or its time is up."""
    compress = False
    """Whether messages are sent compressed, if the caller understands that. To be set before the first is
    sent; after that, each message is as it says."""
    was_compressed = False
    """Whether the message that the handler took last had come compressed."""

    bucket: set[Any] | None = None
    task: asyncio.Task[None] | None = None
    reassembly: Reassembly | None = None
    inbox: deque[tuple[bytes, bool]] | None = None
    """Messages that the handler has not taken, as they came, and whether they are compressed."""
    unfinished_since: tuple[float, int] | None = None
    """When a message was first seen not to be whole, of `time.monotonic`, and which it was."""
    _plain = True
    """Whether an answer needs no more than a message and OK."""
    _initial: tuple[tuple[str, str | bytes], ...] = ()
    _trailing: tuple[tuple[str, str | bytes], ...] = ()
    _announced_gzip = False
    # Done when there is a message more; when there is room to send.
    _reader: asyncio.Future[None] | None = None
    _sender: asyncio.Future[None] | None = None

    # What a handler asks.

    @property
    def answered(self) -> bool:
        """Whether nothing more can be sent: an answer was, or nobody waits for one."""
        return self.closed or self.trailers is not None

    @property
    def path(self) -> str:
        """`/package.Service/Method`."""
        return self.head.method.path

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The caller's metadata, in order: text, or bytes where the name ends in `-bin`."""
        return self.head.metadata

    def field(self, name: bytes) -> bytes | None:
        """The last header field of this name as it came, in a tenth of the time that `metadata` takes."""
        return self.head.field(name)

    @property
    def peer(self) -> str:
        """The caller's address."""
        return self.connection.host.peer

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The caller's certificate, as of `ssl.SSLSocket.getpeercert`; None if it showed none."""
        return self.connection.host.peer_certificate

    def time_remaining(self) -> float | None:
        """The seconds that the caller still waits, at least 0; None if it waits for ever."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    # What it answers.

    def send_metadata(self, metadata: Metadata) -> None:
        """Sends metadata in front of the first message.

        Raises:
            ValueError: it cannot be sent.
            RuntimeError: a message or metadata was sent before.
        """
        if self.headers_sent:
            raise RuntimeError("metadata was sent before")
        self._initial = tuple(metadata)
        encode_metadata(self._initial)
        self._plain = False
        if not self.answered:
            self._send_headers()
            self.connection.flush_soon()

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Keeps metadata to be sent behind the last message, whatever the status is.

        Raises:
            ValueError: it cannot be sent.
        """
        self._trailing = tuple(metadata)
        encode_metadata(self._trailing)
        self._plain = False

    def reply(self, message: bytes, *, trailers: bytes | None = None) -> None:
        """Answers with one message and OK. Nothing happens if nobody waits any more.

        `trailers` are what `trailers_block` made of OK and trailing metadata: encoded beforehand, where every
        answer has some. To be given where no metadata was set before.
        """
        if self.closed or self.trailers is not None:
            return
        connection = self.connection
        if self._plain and not self.compress:
            connection.outbound.answer(self, _MESSAGE, message, trailers)
        else:
            self._send_message(message)
            self.finish()
        if not connection.flushing:
            connection.flush_soon()

    def abort(self, code: int, message: str = "", *, details: bytes = b"", metadata: Metadata = ()) -> None:
        """Ends the call with a status; see `RpcError`. Nothing happens if nobody waits any more."""
        if self.answered:
            return
        metadata = (*self._trailing, *metadata)
        outbound = self.connection.outbound
        if self.headers_sent:
            outbound.end(self, trailers_block(code, message, details, metadata))
        else:
            outbound.headers(self, error_block(code, message, details, metadata), end=True)
        self.connection.flush_soon()

    def refuse(self, block: bytes) -> None:
        """Ends a call, of which nothing was sent, with what `error_block` made. Encoded beforehand: under
        overload most calls are refused, in the same words. Nothing happens if nobody waits any more.
        """
        if not self.answered:
            self.connection.outbound.headers(self, block, end=True)
            self.connection.flush_soon()

    async def send(self, message: bytes) -> None:
        """Sends one of many messages; waits while the caller takes none.

        Raises:
            RpcError: the call is over.
        """
        if self.answered:
            raise _over()
        connection = self.connection
        self._send_message(message)
        connection.unflushed_bytes += len(message) + _OVERHEAD_BYTES
        if connection.unflushed_bytes > _MOST_UNFLUSHED_BYTES:
            # Now: a handler that never waits for anything else would keep the loop from doing it.
            connection.host.flush()
            await asyncio.sleep(0)
        else:
            connection.flush_soon()
        while not self.closed and (self.queued_bytes > _MOST_QUEUED_BYTES or connection.paused):
            self._sender = asyncio.get_running_loop().create_future()
            await self._sender

    def finish(self) -> None:
        """Ends the call with OK."""
        if self.answered:
            return
        if not self.headers_sent:
            self._send_headers()
        self.connection.outbound.end(self, trailers_block(StatusCode.OK, metadata=self._trailing))
        self.connection.flush_soon()

    def _send_headers(self) -> None:
        block = HEADERS
        if self.head.accepts_gzip and self.compress:
            self._announced_gzip = True
            block += encode([_GZIP_FIELD], compress=False)
        if self._initial:
            block += encode(encode_metadata(self._initial), compress=False)
        self.connection.outbound.headers(self, block)

    def _send_message(self, message: bytes) -> None:
        if not self.headers_sent:
            self._plain = False
            self._send_headers()
        if self.compress and self._announced_gzip:
            self.connection.outbound.message(self, compress(message), compressed=True)
        else:
            self.connection.outbound.message(self, message)

    # What its session tells it.

    def take(self, payload: memoryview) -> None:
        """Takes a piece of the request.

        Raises:
            RpcError: the call cannot go on.
        """
        if self.head.refusal is not None:
            return
        connection = self.connection
        if self.reassembly is None:
            self.reassembly = Reassembly(connection.options.max_message_bytes)
            self.inbox = deque()
        assert self.inbox is not None
        if self.reassembly.is_part(payload):
            self.reassembly.keep(payload)
            connection.buffered_bytes += len(payload)
            self._check_held()
            return
        connection.buffered_bytes -= self.reassembly.buffered_bytes
        try:
            for compressed, message in self.reassembly.feed(payload):
                if compressed and not self.head.compressed:
                    raise RpcError(
                        StatusCode.INTERNAL, "a message is compressed, and grpc-encoding is not set"
                    )
                self.inbox.append((message, compressed))
                connection.buffered_bytes += len(message)
        finally:
            connection.buffered_bytes += self.reassembly.buffered_bytes
        self._check_held()
        _set(self._reader)

    def _check_held(self) -> None:
        connection = self.connection
        if connection.buffered_bytes > connection.options.max_buffered_bytes:
            raise RpcError(
                StatusCode.RESOURCE_EXHAUSTED, "the connection holds too much that nobody has taken"
            )

    def check_complete(self) -> None:
        """Checks a request that has ended.

        Raises:
            RpcError: it ended within a message.
        """
        if self.reassembly is not None and not self.reassembly.complete:
            raise RpcError(StatusCode.INTERNAL, "the request ends within a message")
        _set(self._reader)

    def is_late(self, now: float, *, limit_seconds: float) -> bool:
        """Whether a message that should be whole by now is not. To be asked from time to time."""
        reassembly = self.reassembly
        whole = self.head.method.takes_stream and (reassembly is None or reassembly.complete)
        if self.ended or self.answered or whole:
            self.unfinished_since = None
            return False
        number = 0 if reassembly is None else reassembly.messages
        if self.unfinished_since is None or self.unfinished_since[1] != number:
            self.unfinished_since = now, number
        return now - self.unfinished_since[0] > limit_seconds

    @property
    def takes_long(self) -> bool:
        """Whether the next message takes so long to decompress that others should not wait for it."""
        if not self.inbox:
            return False
        message, compressed = self.inbox[0]
        return compressed and len(message) > _QUICKLY_DECOMPRESSED_BYTES

    def only_message(self) -> bytes:
        """The message of a request that has ended, and should have one.

        Raises:
            RpcError: it has none, or more, or one that cannot be decompressed.
        """
        self._check_only()
        message = self._next_message()
        return self.unpack(message) if self.was_compressed else message

    async def whole_message(self) -> bytes:
        """The same. Nobody else waits for it."""
        self._check_only()
        return await self._next_unpacked()

    def _check_only(self) -> None:
        if self.inbox is None or len(self.inbox) != 1:
            raise RpcError(StatusCode.UNIMPLEMENTED, "the method takes exactly one message")

    def unpack(self, message: bytes) -> bytes:
        """What a message was before it was compressed.

        Raises:
            RpcError: it cannot be decompressed, or is too large.
        """
        return decompress(message, max_message_bytes=self.connection.options.max_message_bytes)

    def begin_task(self, message: bytes) -> None:
        """Has the coroutine of the method answer a request whose message was taken."""
        connection = self.connection
        self.task = connection.host.spawn(connection.run(self, message))

    def expire(self) -> None:
        """The deadline has passed."""
        if self.queued_bytes:
            # The caller takes nothing: a status behind it would not arrive either.
            self.connection.reset(self, ErrorCode.CANCEL)
            self.connection.flush_soon()
        else:
            self.abort(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")
        self.cancel()

    def cancel(self) -> None:
        """Nobody waits any more: the handler is told."""
        if self.task is not None:
            self.task.cancel()
        if self.on_cancel is not None and self.trailers is None:
            try:
                self.on_cancel()
            except Exception:
                _LOG.exception("what %s is to do when it is cancelled failed", self.path)

    def drained(self) -> None:
        """What waited for a window, or for the transport, has been sent."""
        _set(self._sender)

    def forgotten(self) -> None:
        """The call is over."""
        if self.bucket is not None:
            self.bucket.discard(self)
        if self.reassembly is not None and self.inbox is not None:
            held = sum(len(message) for message, _ in self.inbox)
            self.connection.buffered_bytes -= self.reassembly.buffered_bytes + held
            self.reassembly = self.inbox = None
        if self._reader is not None or self._sender is not None:
            _set(self._reader)
            _set(self._sender)

    async def heard_out(self, seconds: float) -> None:
        """Waits until the whole request has come, at most for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.ended and not self.closed:
                    self._reader = asyncio.get_running_loop().create_future()
                    await self._reader

    # What a streaming handler reads.

    def __aiter__(self) -> Call:
        return self

    async def __anext__(self) -> Any:
        """The next message of the request."""
        while not self.inbox:
            if self.closed:
                raise _over()
            if self.ended:
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self.decode(await self._next_unpacked())

    def decode(self, message: bytes) -> Any:
        """What the method makes of a message.

        Raises:
            RpcError: it makes nothing of it.
        """
        try:
            return self.head.method.decode(message)
        except Exception as error:
            raise RpcError(StatusCode.INTERNAL, "a message cannot be decoded") from error

    async def _next_unpacked(self) -> bytes:
        takes_long = self.takes_long
        message = self._next_message()
        if not self.was_compressed:
            return message
        if takes_long:
            return await asyncio.to_thread(self.unpack, message)
        return self.unpack(message)

    def _next_message(self) -> bytes:
        assert self.inbox
        message, self.was_compressed = self.inbox.popleft()
        connection = self.connection
        connection.buffered_bytes -= len(message)
        if not self.ended:
            connection.consumed(self, PREFIX_BYTES + len(message))
            connection.flush_soon()
        return message


def _set(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


def _over() -> RpcError:
    return RpcError(StatusCode.CANCELLED, "the call is over")

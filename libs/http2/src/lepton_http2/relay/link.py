"""One end of what lies between a front and the back, on an event loop."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from lepton_http2.relay.blocks import Lender, Loans
from lepton_http2.relay.records import BLOCK, Flag, Kind, Record
from lepton_http2.relay.ring import RingReader, RingWriter
from lepton_http2.relay.shared import Shared

__all__ = ["TO_BACK", "TO_FRONT", "Link", "Owner"]

TO_BACK, TO_FRONT = 0, 1
"""The directions of `Shared`."""

# Bodies from this size on lie in blocks.
_LEAST_BLOCK_BYTES = 32 << 10
_FREE, _PART = Kind.FREE.value, Kind.PART.value
_ELSEWHERE = Flag.PARTS | Flag.BLOCK
# Quicker than the constructor of a record.
_new_tuple = tuple.__new__


class Owner(Protocol):
    """Who stands at an end."""

    def take(self, record: Record) -> None:
        """Takes a record."""

    def ring_full(self) -> None:
        """Records wait for room: nothing more should be sent than what must."""

    def ring_free(self) -> None:
        """None waits any more."""


class Link:
    """An end: records are put in, and its owner takes those of the other side.

    Args:
        shared: what lies between.
        sends: the direction of what is put in here.
        owner: who stands here.
        patient: whether to take nothing while records wait for room: a side that answers what it takes has no
            end of answers then. One side alone may be, so that one always takes.
        broken: called if what comes from the other side is not what it should be.
    """

    def __init__(
        self, shared: Shared, *, sends: int, owner: Owner, patient: bool, broken: Callable[[], None]
    ) -> None:
        self._shared = shared
        self._owner = owner
        self._patient = patient
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        takes = TO_FRONT if sends == TO_BACK else TO_BACK
        written, self._room_fd = shared.counters[sends]
        self._written_fd, read = shared.counters[takes]
        self._writer = RingWriter(shared.ring(sends), written=written, read=self._room_fd)
        self._reader = RingReader(shared.ring(takes), written=self._written_fd, read=read)
        self._lender = Lender(shared.sizes.block_bytes)
        self._loans = Loans(shared.memory, shared.first_block(takes))
        self._first_block = shared.first_block(sends)
        self._parts: list[bytes | memoryview] = []
        self._telling = False
        self._is_full = False
        self.closed = False
        self._loop.add_reader(self._written_fd, self._read)

    @property
    def is_full(self) -> bool:
        """Whether records wait for room."""
        return self._is_full

    @property
    def lent_bytes(self) -> int:
        """What large messages of this side take of the memory."""
        return self._lender.lent_bytes

    def put(
        self,
        kind: Kind,
        call: int,
        *,
        flags: int = 0,
        method: int = 0,
        connection: int = 0,
        amount: int = 0,
        deadline: float = 0.0,
        head: bytes = b"",
        body: bytes | memoryview = b"",
    ) -> None:
        """Sends a record: with all others of this turn of the loop, or when there is room."""
        if self.closed:
            return
        if len(body) >= _LEAST_BLOCK_BYTES:
            flags, body = self._lend(flags, body)
        writer = self._writer
        writer.put(_new_tuple(Record, (kind, flags, method, call, connection, amount, deadline, head, body)))
        if not self._telling:
            self._telling = True
            self._loop.call_soon(self.tell)
        if writer.is_full and not self._is_full:
            self._is_full = True
            self._loop.add_reader(self._room_fd, self._find_room)
            self._owner.ring_full()

    def tell(self) -> None:
        """Has the other side look at what was put in."""
        self._telling = False
        if not self.closed:
            self._writer.tell()

    def close(self) -> None:
        """Sends and takes no more."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._written_fd)
            self._loop.remove_reader(self._room_fd)
            self._shared.close()

    def _lend(self, flags: int, body: bytes | memoryview) -> tuple[int, bytes | memoryview]:
        """Puts a body into a block, if there is one."""
        start = self._lender.take(len(body))
        if start is None:
            return flags, body
        first = self._first_block + start
        self._shared.view[first : first + len(body)] = body
        return flags | Flag.BLOCK, BLOCK.pack(start, len(body))

    def _find_room(self) -> None:
        writer = self._writer
        writer.write_waiting()
        writer.tell()
        if not writer.is_full:
            self._is_full = False
            self._loop.remove_reader(self._room_fd)
            if self._patient:
                self._loop.add_reader(self._written_fd, self._read)
            self._owner.ring_free()

    def _read(self) -> None:
        if self._is_full and self._patient:
            self._loop.remove_reader(self._written_fd)
            return
        returned = self._loans.returned
        while returned:
            self.put(Kind.FREE, 0, amount=returned.popleft())
        take = self._owner.take
        try:
            for record in self._reader.records():
                kind = record.kind
                if kind == _FREE:
                    self._lender.give_back(record.amount)
                elif kind == _PART:
                    self._parts.append(record.body)
                else:
                    take(self._whole(record) if record.flags & _ELSEWHERE else record)
                if self.closed:
                    return
        except Exception:
            logging.getLogger(__name__).exception("what came over a link makes no sense")
            self._broken()

    def _whole(self, record: Record) -> Record:
        """A record with its body, wherever that is."""
        if record.flags & Flag.PARTS:
            body: bytes | memoryview = b"".join(self._parts)
            self._parts.clear()
        else:
            start, size = BLOCK.unpack(record.body)
            if start + size > self._shared.sizes.block_bytes:
                raise ValueError("a block lies beyond the memory")
            body = self._loans.view(start, size)
        return record._replace(body=body)

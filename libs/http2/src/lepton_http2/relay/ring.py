"""A ring in shared memory with one writer and one reader.

Nothing but records lies in the memory: no index, no flag. How many bytes were written, and how many were
read, is told by two eventfds, whose counters add up what is written to them. The kernel changes a counter
under a lock, so all that a process stored before its `write` is seen by the process whose `read` has got that
count. The writer never stores into room that it was not given back, the reader never loads what it was not
told of. So the order in which a processor lets others see its stores does not matter, neither that of x86 nor
the looser one of ARM, and a reader that sleeps is woken by the same `write`. It costs one system call for all
records of a turn of the loop.
"""

import os
from collections import deque
from collections.abc import Iterator
from itertools import pairwise

from lepton_http2.relay.records import HEADER, LINE_BYTES, Flag, Kind, Record

__all__ = ["RingReader", "RingWriter"]

_HEADER_BYTES = HEADER.size
_pack, _unpack = HEADER.pack_into, HEADER.unpack_from
_new_tuple = tuple.__new__
# A record takes at most this share of a ring, and the reader gives room back when it has read as much. So
# there is always room for one when all is read.
_SHARE = 4


class RingWriter:
    """The writing end.

    Args:
        memory: of the ring.
        written: the eventfd that counts what was written.
        read: the eventfd that counts what was read.
    """

    def __init__(self, memory: memoryview, *, written: int, read: int) -> None:
        self._memory = memory
        self._size = len(memory)
        self._largest = self._size // _SHARE
        self._written = written
        self._read = read
        self._at = 0
        self._room = self._size
        self._untold = 0
        # Records that the ring has no room for, in order.
        self._waiting: deque[Record] = deque()

    @property
    def is_full(self) -> bool:
        """Whether records wait for room."""
        return bool(self._waiting)

    def put(self, record: Record) -> None:
        """Writes a record, or has it wait for room. The reader hears of it with the next `tell`.

        Raises:
            ValueError: its head has no room in any ring of this size.
        """
        head, body = record[-2:]
        if HEADER.size + len(head) + len(body) > self._largest:
            record = self._put_parts(record)
        if self._waiting or not self._write(record):
            self._waiting.append(record)

    def _put_parts(self, record: Record) -> Record:
        """Writes the body of a record ahead; gives what is left."""
        most = self._largest - HEADER.size
        if len(record.head) > most:
            raise ValueError("the head of a record is too large for the ring")
        view = memoryview(record.body)
        for start, stop in pairwise([*range(0, len(view), most), len(view)]):
            self.put(Record(Kind.PART, 0, 0, 0, 0, 0, 0.0, b"", view[start:stop]))
        return record._replace(flags=record.flags | Flag.PARTS, body=b"")

    def _write(self, record: Record) -> bool:
        """Writes a record if there is room for it."""
        kind, flags, method, call, connection, amount, deadline, head, body = record
        head_size, body_size = len(head), len(body)
        size = (_HEADER_BYTES + head_size + body_size + LINE_BYTES - 1) & -LINE_BYTES
        if size > self._room and not self._find_room(size):
            return False
        memory, at = self._memory, self._at
        _pack(
            memory,
            at,
            size,
            kind,
            flags,
            method,
            call,
            connection,
            head_size,
            body_size,
            amount,
            deadline,
        )
        start = at + _HEADER_BYTES
        middle = start + head_size
        stop = middle + body_size
        if stop <= self._size:
            memory[start:middle] = head
            memory[middle:stop] = body
        else:
            self._write_around(start, b"".join((head, body)))
        at += size
        self._at = at if at < self._size else at - self._size
        self._room -= size
        self._untold += size
        return True

    def _write_around(self, start: int, data: bytes) -> None:
        """Writes what goes beyond the end."""
        fits = self._size - start
        self._memory[start:] = data[:fits]
        self._memory[: len(data) - fits] = data[fits:]

    def _find_room(self, size: int) -> bool:
        """Looks at what was read meanwhile."""
        try:
            self._room += os.eventfd_read(self._read)
        except BlockingIOError:
            return False
        return size <= self._room

    def write_waiting(self) -> None:
        """Writes what waits, as far as there is room."""
        waiting = self._waiting
        while waiting and self._write(waiting[0]):
            waiting.popleft()

    def tell(self) -> None:
        """Tells the reader of all that was written."""
        if self._untold:
            os.eventfd_write(self._written, self._untold)
            self._untold = 0


class RingReader:
    """The reading end.

    Args:
        memory: of the ring.
        written: the eventfd that counts what was written.
        read: the eventfd that counts what was read.
    """

    def __init__(self, memory: memoryview, *, written: int, read: int) -> None:
        self._memory = memory
        self._size = len(memory)
        self._written = written
        self._read = read
        self._at = 0
        self._untold = 0

    def records(self) -> Iterator[Record]:
        """The records that were written since, as far as the writer has told.

        Each is out of the ring when it is given. To be read to the end.

        Raises:
            ValueError: what lies there is no record.
        """
        try:
            left = os.eventfd_read(self._written)
        except BlockingIOError:
            return
        memory, end = self._memory, self._size
        while left:
            at = self._at
            size, kind, flags, method, call, connection, head_size, body_size, amount, deadline = _unpack(
                memory, at
            )
            if not _HEADER_BYTES + head_size + body_size <= size <= left:
                raise ValueError("what lies in the ring is no record")
            start = at + _HEADER_BYTES
            middle = start + head_size
            stop = middle + body_size
            if stop <= end:
                head, body = bytes(memory[start:middle]), bytes(memory[middle:stop])
            else:
                whole = self._read_around(start, head_size + body_size)
                head, body = whole[:head_size], whole[head_size:]
            at += size
            self._at = at if at < end else at - end
            left -= size
            self._untold += size
            if self._untold * _SHARE >= end:
                os.eventfd_write(self._read, self._untold)
                self._untold = 0
            # Quicker than its constructor.
            yield _new_tuple(Record, (kind, flags, method, call, connection, amount, deadline, head, body))

    def _read_around(self, start: int, size: int) -> bytes:
        """Reads what goes beyond the end."""
        fits = self._size - start
        return bytes(self._memory[start:]) + bytes(self._memory[: size - fits])

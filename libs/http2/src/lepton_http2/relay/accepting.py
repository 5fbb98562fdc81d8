"""One listening socket, several processes: who accepts the next connection."""

import asyncio
import contextlib
import logging
import mmap
import os
import socket
import ssl
from collections.abc import Callable

__all__ = ["Acceptor", "Loads"]

_LOG = logging.getLogger(__name__)

# How long a process that has more connections than another lets that one go first.
_COURTESY_SECONDS = 0.002
# How long nothing is accepted when there are no descriptors left.
_PAUSE_SECONDS = 0.2
_ABSENT = 2**32 - 1


class Loads:
    """How many connections each process has, where all can see it. They are hints: nothing hangs on them.

    Args:
        fd: of the memory; see `create`. Closed with this.
        count: of processes.
    """

    def __init__(self, fd: int, count: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, 4 * count)
        self._numbers = memoryview(self._memory).cast("I")

    @classmethod
    def create(cls, count: int) -> "Loads":
        """Makes the memory: nobody is there."""
        fd = os.memfd_create("loads")
        os.ftruncate(fd, 4 * count)
        loads = cls(fd, count)
        for index in range(count):
            loads.leave(index)
        return loads

    def set(self, index: int, connections: int) -> None:
        """Says how many a process has."""
        self._numbers[index] = connections

    def leave(self, index: int) -> None:
        """Says that a process is not there."""
        self._numbers[index] = _ABSENT

    def is_least(self, index: int) -> bool:
        """Whether no process that is there has fewer."""
        return self._numbers[index] <= min(self._numbers)

    def present(self) -> list[int]:
        """How many each process has that is there."""
        return [number for number in self._numbers if number != _ABSENT]

    def close(self) -> None:
        """Lets go."""
        os.close(self.fd)


class Acceptor:
    """Accepts connections in one of several processes, one at a time, so that none takes more than its share.

    Args:
        listener: what all of them accept from. It does not block.
        make_protocol: makes the protocol of a connection.
        turn: whether it is for this process to accept now.
        tls: None for plain text.
        handshake_seconds: how long one of TLS may take.
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        turn: Callable[[], bool],
        tls: ssl.SSLContext | None,
        handshake_seconds: float,
    ) -> None:
        self._listener = listener
        self._make_protocol = make_protocol
        self._turn = turn
        self._tls = tls
        self._handshake_seconds = handshake_seconds if tls else None
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(listener, self._readable)

    def close(self) -> None:
        """Accepts no more. Whoever waits is left to the other processes."""
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()
        self._listener.close()

    def _readable(self) -> None:
        if self._turn():
            self._accept()
        else:
            self._wait(_COURTESY_SECONDS, self._accept)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        def go_on() -> None:
            self._loop.add_reader(self._listener, self._readable)
            then()

        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, go_on)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            # Another process was quicker, or the client went away.
            return
        except OSError as error:
            _LOG.error("no connection can be accepted: %s", error)
            self._wait(_PAUSE_SECONDS, self._readable)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._begin(connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket) -> None:
        # What fails in a handshake is the client's affair.
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.TimeoutError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                self._make_protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds or None,
            )

"""Makes hostile connections, many at a time, and holds some open for as long as they are borne."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from lepton_http2 import frames

from .attacks import HELLO, Attack, Ending, attack, body, conversation, head

AT_A_TIME = 64
# How long an attacker tries to write, and how long it reads what comes.
_WRITE_SECONDS = 2.0
_READ_SECONDS = 0.05
_SLOW_SECONDS = 0.5
_MOST_READ = 1 << 16
_LINGER_ZERO = b"\1\0\0\0\0\0\0\0"
# What a server that resets a connection, or closes it, makes of whatever is done with it then.
_GONE = (ConnectionError, TimeoutError)


async def besiege(
    address: str, message: bytes, *, connections: int, first: int = 0, seed: int = 0
) -> Counter[str]:
    """Makes the attacks of these numbers; gives how many there were of each kind.

    Raises:
        OSError: the server takes no connection.
    """
    made: Counter[str] = Counter()
    numbers = iter(range(first, first + connections))

    async def work() -> None:
        for number in numbers:
            chosen = attack(number, message, seed=seed)
            await make(address, chosen)
            made[chosen.name] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(work())
    return made


async def make(address: str, chosen: Attack) -> None:
    """Makes one attack, from the connection to its end."""
    loop = asyncio.get_running_loop()
    with await _connect(address) as connection:
        with suppress(*_GONE):
            async with asyncio.timeout(_WRITE_SECONDS):
                for chunk in chosen.chunks:
                    await loop.sock_sendall(connection, chunk)
                    await asyncio.sleep(0)
            if chosen.ending is Ending.HALF:
                connection.shutdown(socket.SHUT_WR)
            if chosen.ending in (Ending.HALF, Ending.READ):
                async with asyncio.timeout(_READ_SECONDS):
                    while await loop.sock_recv(connection, _MOST_READ):
                        pass
        if chosen.ending is Ending.RESET:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)


async def _connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    connection = socket.socket()
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    except BaseException:
        connection.close()
        raise
    return connection


@asynccontextmanager
async def lingering(
    address: str, message: bytes, connections: int
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Connections that stay: silent, idle or slow ones, and ones that read nothing of what they asked for.

    Gives a task for each, which ends when the server has ended the connection.
    """
    stream_infer = "/inference.GRPCInferenceService/ModelStreamInfer"
    slow = b"".join(conversation(message))
    large_window = frames.PREFACE + frames.settings([(4, frames.MAX_WINDOW)])
    large_window += frames.window_update(0, frames.MAX_WINDOW - frames.FIRST_WINDOW)
    # Of each what is sent at once, and what is sent an octet at a time.
    ways = [
        (b"", b""),
        (HELLO[:10], b""),
        (HELLO, b""),
        (HELLO + frames.frame(frames.PING, 0, 0, bytes(8))[:12], b""),
        (HELLO + head(1), b""),
        (HELLO + head(1) + body(1, b"\0\0\1\0\0", end=False), b"".join([body(1, b"x", end=False)] * 1000)),
        (b"", slow),
        (large_window + head(1, path=stream_infer), b""),
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_linger(await _connect(address), *ways[number % len(ways)]))
            for number in range(connections)
        ]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()


async def _linger(connection: socket.socket, at_once: bytes, slowly: bytes) -> None:
    loop = asyncio.get_running_loop()
    with connection, suppress(*_GONE):
        await loop.sock_sendall(connection, at_once)
        for octet in slowly:
            await asyncio.sleep(_SLOW_SECONDS)
            await loop.sock_sendall(connection, bytes([octet]))
        while await loop.sock_recv(connection, _MOST_READ):
            pass

"""A front process."""

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import uvloop

from lepton_http2.grpc.server import Server
from lepton_http2.relay.accepting import Acceptor, Loads
from lepton_http2.relay.front import Front, FrontProtocol
from lepton_http2.relay.orders import ACCEPT, DRAIN, LEAVE, MOST_SAID_BYTES, READY, Orders, receive_orders
from lepton_http2.relay.shared import Shared

__all__ = ["run", "run_front"]

_FIRST = asyncio.FIRST_COMPLETED


def run(control: socket.socket, *, make_tls: Callable[[Orders], ssl.SSLContext | None]) -> None:
    """Runs `run_front`, on uvloop."""
    uvloop.run(run_front(control, make_tls=make_tls))


async def run_front(control: socket.socket, *, make_tls: Callable[[Orders], ssl.SSLContext | None]) -> None:
    """Does what the back says, until it has drained, or the back is no more.

    SIGTERM and SIGINT mean nothing here: terminals send them to all processes, and the back says what to do.

    Args:
        control: the socket to the back; see `orders`.
        make_tls: makes what TLS needs; None for plain text.

    Raises:
        OSError: the orders cannot be followed.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None)
    orders, descriptors = receive_orders(control)
    control.setblocking(False)
    broken: asyncio.Future[bytes] = loop.create_future()

    def end() -> None:
        if not broken.done():
            broken.set_result(b"")

    loads = Loads(descriptors[0], orders.count)
    front = Front(
        Shared(descriptors[1:], orders.sizes),
        orders.methods,
        counted=partial(loads.set, orders.index),
        broken=end,
    )
    server = Server(front.methods, orders.options)
    tls = make_tls(orders)
    control.send(READY)
    listener = await _hear_accept(control)
    if listener is None:
        return
    loads.set(orders.index, 0)
    acceptor = Acceptor(
        listener,
        lambda: FrontProtocol(server, front),
        turn=partial(loads.is_least, orders.index),
        tls=tls,
        handshake_seconds=orders.options.handshake_seconds,
    )
    while (said := await _first(_hear(control), broken)) == LEAVE:
        server.leave()
    acceptor.close()
    loads.leave(orders.index)
    if said:
        # The back may be gone before the last call has ended.
        drained = loop.create_task(server.drain(*DRAIN.unpack(said)))
        await asyncio.wait([drained, loop.create_task(_first(_hear(control), broken))], return_when=_FIRST)


async def _first(hearing: Coroutine[Any, Any, bytes], broken: asyncio.Future[bytes]) -> bytes:
    """What is heard, or nothing if the link breaks before that."""
    task = asyncio.get_running_loop().create_task(hearing)
    await asyncio.wait([task, broken], return_when=_FIRST)
    return broken.result() if broken.done() else task.result()


async def _hear(control: socket.socket) -> bytes:
    """Waits for what the back says; nothing if it is no more."""
    try:
        return await asyncio.get_running_loop().sock_recv(control, MOST_SAID_BYTES)
    except OSError:
        return b""


async def _hear_accept(control: socket.socket) -> socket.socket | None:
    """Waits for the socket that listens; None if the back says anything else."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(control, readable.set)
    await readable.wait()
    loop.remove_reader(control)
    try:
        said, descriptors, _, _ = socket.recv_fds(control, MOST_SAID_BYTES, 1)
    except OSError:
        return None
    return socket.socket(fileno=descriptors[0]) if said == ACCEPT else None

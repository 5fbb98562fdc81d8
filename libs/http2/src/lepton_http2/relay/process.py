"""A front process."""

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable

from lepton_http2.grpc.server import Server
from lepton_http2.relay.accepting import Acceptor, Loads
from lepton_http2.relay.front import Front, FrontProtocol
from lepton_http2.relay.orders import DRAIN, READY, Orders, receive_orders
from lepton_http2.relay.shared import Shared

__all__ = ["run_front"]


async def run_front(
    control: socket.socket, *, make_tls: Callable[[Orders], ssl.SSLContext | None], ignore_signals: bool = True
) -> None:
    """Does what the back says, until it has drained, or the back is no more.

    Args:
        control: the socket to the back; see `orders`.
        make_tls: makes what TLS needs; None for plain text.
        ignore_signals: whether SIGTERM and SIGINT mean nothing: a terminal sends them to all processes, and this one
            is told by the back.

    Raises:
        OSError: the orders cannot be followed.
    """
    loop = asyncio.get_running_loop()
    if ignore_signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: None)
    orders, descriptors = receive_orders(control)
    control.setblocking(False)
    ended: asyncio.Future[float | None] = loop.create_future()

    def end(grace: float | None = None) -> None:
        if not ended.done():
            ended.set_result(grace)

    listener, loads = socket.socket(fileno=descriptors[0]), Loads(descriptors[1], orders.count)
    front = Front(Shared(descriptors[2:], orders.sizes), orders.methods, broken=end)
    server = Server(front.methods, orders.options)
    loads.set(orders.index, 0)

    def make_protocol() -> FrontProtocol:
        loads.set(orders.index, server.connections + 1)
        return FrontProtocol(server, front)

    def is_turn() -> bool:
        loads.set(orders.index, server.connections)
        return loads.is_least(orders.index)

    acceptor = Acceptor(
        listener,
        make_protocol,
        turn=is_turn,
        tls=make_tls(orders),
        handshake_seconds=orders.options.handshake_seconds,
    )

    def hear() -> None:
        try:
            said = control.recv(DRAIN.size)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        loop.remove_reader(control)
        end(DRAIN.unpack(said)[0] if said else None)

    loop.add_reader(control, hear)
    control.send(READY)
    grace = await ended
    loads.leave(orders.index)
    if grace is not None:
        acceptor.close()
        # The back may go at any time.
        loop.add_reader(control, lambda: None)
        await server.drain(grace)

"""A real server on a loop of its own, for clients that know nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import pytest
import uvloop

from lepton_http2.grpc import Method, Options, Server

T = TypeVar("T")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@dataclass(frozen=True)
class Served:
    """A server that serves."""

    server: Server
    loop: asyncio.AbstractEventLoop
    port: int

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the server's loop, and waits."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def socket(self) -> socket.socket:
        """A connection that speaks for itself."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextlib.contextmanager
def serving(
    loop_name: str,
    methods: list[Method],
    options: Options | None = None,
    *,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Served]:
    """Serves in a thread."""
    loop = LOOPS[loop_name]()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Served:
        server = Server(methods, options)
        _, port = await server.listen("127.0.0.1", 0, tls=tls)
        return Served(server, loop, port)

    served = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield served
        served.run(served.server.close())
        # What was accepted just before is made, and closed, in the next turns of the loop.
        served.run(asyncio.sleep(0.05))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


Serve = Callable[..., Served]


@pytest.fixture(params=["asyncio", "uvloop"])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Starts servers, on each kind of loop."""
    with contextlib.ExitStack() as stack:

        def start(
            methods: list[Method], options: Options | None = None, *, tls: ssl.SSLContext | None = None
        ) -> Served:
            return stack.enter_context(serving(request.param, methods, options, tls=tls))

        yield start


@pytest.fixture
def connect() -> Iterator[Callable[..., grpc.Channel]]:
    """Opens channels of grpcio, which end with the test."""
    with contextlib.ExitStack() as stack:

        def open_channel(served: Served, **options: Any) -> grpc.Channel:
            arguments = [(f"grpc.{name}", value) for name, value in options.items()]
            return stack.enter_context(grpc.insecure_channel(served.address, options=arguments))

        yield open_channel

"""Front processes, as the back starts them and keeps them running."""

import asyncio
import logging
import socket
import subprocess
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from lepton_http2.grpc.methods import Method
from lepton_http2.grpc.options import Options
from lepton_http2.relay.accepting import Loads
from lepton_http2.relay.back import Back
from lepton_http2.relay.orders import ACCEPT, DRAIN, LEAVE, READY, Orders, send_orders
from lepton_http2.relay.shared import Shared, Sizes

__all__ = ["Fronts"]

_LOG = logging.getLogger(__name__)

# How long they may take until all accept connections.
_START_SECONDS = 60.0
# How long one may take to end beyond the time that its calls are given.
_END_SECONDS = 5.0
# A process that ends is started again; one that did not last so long is waited for, longer each time.
_LASTING_SECONDS = 10.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.05, 5.0


class Fronts:
    """Processes that accept connections on one socket and have the calls answered here.

    Args:
        count: how many.
        command: what starts one; the descriptor of its control socket is added. See `run_front`.
        methods: what answers calls.
        options: what each process allows.
        more: see `Orders`.
        sizes: of the memory shared with each.
    """

    def __init__(
        self,
        count: int,
        command: Sequence[str],
        *,
        methods: Sequence[Method],
        options: Options,
        more: dict[str, Any] | None = None,
        sizes: Sizes | None = None,
    ) -> None:
        self._count = count
        self._command = [*command]
        self._methods = tuple(methods)
        self._options = options
        self._more = more or {}
        self._sizes = sizes or Sizes()
        self._listener: socket.socket | None = None
        self._loads: Loads | None = None
        self._fronts: dict[int, _Front] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = asyncio.Event()
        self._failed: str | None = None
        self._draining = False

    @property
    def pids(self) -> list[int]:
        """The processes that run, in the order of their places."""
        return [front.process.pid for _, front in sorted(self._fronts.items())]

    @property
    def connections(self) -> list[int]:
        """How many connections each has that accepts them."""
        return [] if self._loads is None else self._loads.present()

    @property
    def calls(self) -> int:
        """Calls that are not answered."""
        return sum(len(front.back.calls) for front in self._fronts.values())

    async def start(self) -> None:
        """Starts all of them, and waits until they can accept connections.

        Raises:
            OSError: one does not start.
        """
        self._loads = Loads.create(self._count)
        self._keepers = [asyncio.create_task(self._keep(index)) for index in range(self._count)]
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            self._failed = "took too long"
        if self._failed is not None:
            await self.drain(0)
            raise OSError(f"a front process did not start: it {self._failed}")

    def accept(self, listener: socket.socket) -> None:
        """Has them accept connections: as soon as the loop goes on, so what is begun before that comes first.

        Args:
            listener: a socket that listens. It is closed with this.
        """
        listener.setblocking(False)
        self._listener = listener
        for front in self._fronts.values():
            front.accept(listener)

    def leave(self) -> None:
        """Has them ask their clients to go elsewhere. Whatever still comes is answered."""
        for front in self._fronts.values():
            front.say(LEAVE)

    async def drain(self, grace_seconds: float) -> None:
        """Has them accept no more connections, answer the calls that came, and end.

        Args:
            grace_seconds: how long calls may take; then they are cancelled.
        """
        self._draining = True
        if self._listener is not None:
            self._listener.close()
        for front in self._fronts.values():
            front.say(DRAIN.pack(grace_seconds))
        # What does not end by itself in time is ended.
        keepers, self._keepers = self._keepers, []
        if keepers:
            _, late = await asyncio.wait(keepers, timeout=grace_seconds + _END_SECONDS)
            if late:
                _LOG.warning("%d front processes did not end in time", len(late))
            for keeper in late:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        loads, self._loads = self._loads, None
        if loads is not None:
            loads.close()

    async def _keep(self, index: int) -> None:
        """Keeps one running."""
        wait = _FIRST_WAIT_SECONDS
        while not self._draining:
            began = time.monotonic()
            try:
                ended = await self._run(index)
            except OSError as error:
                ended = f"could not be started: {error}"
            if self._draining:
                return
            if not self._ready.is_set():
                self._failed = ended
                self._ready.set()
                return
            _LOG.error("a front process %s; its clients connect anew", ended)
            wait = _FIRST_WAIT_SECONDS if time.monotonic() - began > _LASTING_SECONDS else 2 * wait
            await asyncio.sleep(min(wait, _LONGEST_WAIT_SECONDS))

    async def _run(self, index: int) -> str:
        """Runs one until it ends; says how it did.

        Raises:
            OSError: it cannot be started.
        """
        assert self._loads is not None
        orders = Orders(
            index=index,
            count=self._count,
            methods=[(method.path, method.takes_stream) for method in self._methods],
            options=self._options,
            sizes=self._sizes,
            more=self._more,
        )
        shared = Shared.create(self._sizes)
        front = _Front(self._command, orders, self._loads, shared)
        try:
            front.back = Back(shared, self._methods, spawn=self._spawn, broken=front.process.kill)
            self._fronts[index] = front
            if await front.hear():
                front.is_ready = True
                if self._listener is not None:
                    front.accept(self._listener)
                elif sum(one.is_ready for one in self._fronts.values()) == self._count:
                    self._ready.set()
                await front.hear()
        finally:
            self._fronts.pop(index, None)
            self._loads.leave(index)
            status = front.end()
        return f"ended with status {status}"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Front:
    """A front process, from its start to its end.

    Raises:
        OSError: it cannot be started.
    """

    back: Back
    """What has its calls."""

    def __init__(self, command: Sequence[str], orders: Orders, loads: Loads, shared: Shared) -> None:
        self.is_ready = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            # In the socket before anybody reads them.
            send_orders(self._control, orders, [loads.fd, *shared.fds])
            number = theirs.fileno()
            self.process = subprocess.Popen(
                [*command, str(number)], stdin=subprocess.DEVNULL, pass_fds=[number]
            )

    async def hear(self) -> bool:
        """Waits until it says that it is ready; False if it has ended instead."""
        try:
            return await asyncio.get_running_loop().sock_recv(self._control, len(READY)) == READY
        except OSError:
            return False

    def accept(self, listener: socket.socket) -> None:
        """Has it accept connections. One that has ended meanwhile does not."""
        with suppress(OSError):
            socket.send_fds(self._control, [ACCEPT], [listener.fileno()])

    def say(self, what: bytes) -> None:
        """Tells it something, if it has not ended meanwhile."""
        with suppress(OSError):
            self._control.send(what)

    def end(self) -> int:
        """Ends it, if it has not; gives its status."""
        self.process.kill()
        self._control.close()
        self.back.lost()
        return self.process.wait()

"""The one way to start a Lepton server.

async def run() -> None:
    settings = Settings()
    ...
    await serve(settings, [Service(...)], tasks=[controller.run], on_stop=[store.close])

if __name__ == "__main__":
    main(run)
"""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2
from pydantic import ValidationError

from lepton_common.auth import Credentials
from lepton_common.interceptors.access import Access
from lepton_common.interceptors.answers import answer_errors
from lepton_common.interceptors.call import Stage
from lepton_common.interceptors.chain import CallChain
from lepton_common.interceptors.lifetime import Lifetime
from lepton_common.interceptors.observation import observe
from lepton_common.interceptors.validation import check
from lepton_common.loopback import is_loopback
from lepton_common.methods import Service, open_methods
from lepton_common.settings import ServerSettings
from lepton_common.telemetry.logs import configure_logging
from lepton_common.telemetry.metrics import MetricsEndpoint
from lepton_common.transports import Transport
from lepton_common.transports.choice import (
    OPEN_SERVICES,
    TransportName,
    transport_of_health,
    transport_of_services,
)

__all__ = ["Background", "Ready", "Server", "Service", "TransportName", "main", "serve"]

_LOG = logging.getLogger(__name__)

Background = Callable[[], Coroutine[Any, Any, None]]
"""A coroutine function that runs beside the server."""

Ready = Callable[[], Awaitable[object]]
"""A coroutine function that returns when the server can do its work, or never can again."""

# What still runs after the drain (an open reflection stream, the last bytes of an answer) gets this long.
_STOP_SECONDS = 1.0


class _Health(health.aio.HealthServicer):
    """Health, whose watches can be ended: every channel of ours holds one open (see `rpc`)."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Task[Any]] = set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Tells the status, now and when it changes."""
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        try:
            await super().Watch(request, context)
        finally:
            self._watches.discard(task)

    def end_watches(self) -> None:
        """Ends all watches."""
        for task in self._watches:
            task.cancel()


class Server:
    """A gRPC server with everything around it: health, reflection, access, telemetry, drain.

    Args:
        settings: how it listens and whom it admits.
        services: what it offers.
        tasks: coroutine functions that run while it serves and are cancelled when it has drained.
        ready: awaited before health says of the services that they serve; calls are answered before, and
            of the server as a whole (the empty name) health says so at once. None: ready at once.
        lost: awaited, too; when it returns, health says that nothing serves any more, the server as a whole
            included, so that whoever watches over it sends nobody here and starts it anew. None: never.
        transport: what carries calls.
        workers: how many processes take the connections of `http2`, for this one to answer their calls. 0: it
            takes them itself.
    """

    def __init__(
        self,
        settings: ServerSettings,
        services: Sequence[Service],
        *,
        tasks: Sequence[Background] = (),
        ready: Ready | None = None,
        lost: Ready | None = None,
        transport: TransportName = "grpc",
        workers: int = 0,
    ) -> None:
        self._settings = settings
        self._transport_name = transport
        self._workers = workers
        self._services = tuple(services)
        announcements = [self._announce] if ready else []
        self._backgrounds = (*tasks, *announcements, *([self._give_up] if lost else []))
        self._ready = ready
        self._lost = lost
        self._health = _Health()
        self._lifetime = Lifetime(settings.default_deadline_seconds)
        self._resources = ExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: asyncio.Future[BaseException] | None = None
        self._transport: Transport | None = None
        self._health_transport: Transport | None = None
        self.address = ""
        self.health_address = ""
        self.metrics_address = ""

    async def start(self) -> str:
        """Starts to serve.

        Returns:
            The bound `host:port`.

        Raises:
            OSError: an address cannot be taken, or a file cannot be read.
            ValueError: a file does not hold what it should.
        """
        try:
            return await self._start()
        except BaseException:
            for transport in (self._transport, self._health_transport):
                if transport is not None:
                    await transport.stop(0)
            self._resources.close()
            raise

    async def _start(self) -> str:
        settings = self._settings
        credentials = Credentials(settings.token_file) if settings.token_file else None
        self._failure = asyncio.get_running_loop().create_future()
        self._transport = self._build(credentials)
        address = await self._transport.bind()
        if credentials and settings.tls_certificate is None and not is_loopback(settings.listen):
            _LOG.warning("tokens are taken without TLS on %s", settings.listen)
        await self._set_ready(self._ready is None)
        if settings.health_listen:
            self._health_transport = transport_of_health(
                self._transport_name, settings, health_servicer=self._health
            )
            self.health_address = await self._health_transport.bind()
            await self._health_transport.start()
        if settings.metrics_listen:
            endpoint = MetricsEndpoint(settings.metrics_listen, credentials=credentials)
            self.metrics_address = self._resources.enter_context(endpoint).address
        await self._transport.start()
        for background in self._backgrounds:
            task = asyncio.create_task(background())
            task.add_done_callback(self._note_failure)
            self._tasks.append(task)
        self.address = address
        if settings.address_file is not None:
            _write_whole(settings.address_file, address)
        return address

    def _build(self, credentials: Credentials | None) -> Transport:
        settings = self._settings
        stages: list[Stage] = [observe]
        if settings.otlp_endpoint:
            # Imported for those who want it: the SDK costs 20 MB and a quarter of a second.
            from lepton_common.telemetry.tracing import Tracing

            name = self._services[0].descriptor.full_name
            stages.append(self._resources.enter_context(Tracing(settings.otlp_endpoint, service=name)))
        stages += [answer_errors, self._lifetime]
        if credentials is not None:
            stages.append(Access(credentials))
        methods = [method for service in self._services for method in service.methods()]
        for name in OPEN_SERVICES:
            methods += open_methods(descriptor_pool.Default().FindServiceByName(name))
        chain = CallChain({method.path: method for method in methods}, stages, check=check)
        return transport_of_services(
            self._transport_name,
            self._settings,
            self._services,
            health_servicer=self._health,
            chain=chain,
            lifetime=self._lifetime,
            credentials=credentials,
            workers=self._workers,
        )

    async def _announce(self) -> None:
        """Says that the services serve, once they are ready to."""
        assert self._ready is not None
        await self._ready()
        await self._set_ready(True)
        _LOG.info("ready")

    async def _give_up(self) -> None:
        """Says that nothing serves, once the server can never do its work again."""
        assert self._lost is not None
        await self._lost()
        await self._set_ready(False)
        await self._health.set(health.OVERALL_HEALTH, health_pb2.HealthCheckResponse.NOT_SERVING)
        _LOG.error("lost: the server must be started anew")

    async def _set_ready(self, ready: bool) -> None:
        response = health_pb2.HealthCheckResponse
        for service in self._services:
            await self._health.set(
                service.descriptor.full_name, response.SERVING if ready else response.NOT_SERVING
            )

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._failure is None or self._failure.done():
            return
        if error := task.exception():
            self._failure.set_result(error)

    async def failed(self) -> BaseException:
        """Waits for a background task to die, and gives what it died of."""
        if self._failure is None:
            raise RuntimeError("the server was not started")
        return await asyncio.shield(self._failure)

    async def drain(self) -> None:
        """Stops: says so, finishes what is in flight, then ends tasks and connections.

        A second call does nothing.
        """
        transport, self._transport = self._transport, None
        if transport is None:
            return
        path = self._settings.address_file
        # Only while it is ours: a successor may have written its own meanwhile.
        if path is not None and path.exists() and path.read_text(encoding="utf-8") == self.address:
            path.unlink(missing_ok=True)
        await self._health.enter_graceful_shutdown()
        transport.leave()
        await self._lifetime.drain(self._settings.drain_seconds)
        self._health.end_watches()
        await transport.stop(_STOP_SECONDS)
        # Last, so that a probe hears of the drain as long as there is one.
        if self._health_transport is not None:
            await self._health_transport.stop(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._resources.close)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drain()


async def serve(
    settings: ServerSettings,
    services: Sequence[Service],
    *,
    tasks: Sequence[Background] = (),
    ready: Ready | None = None,
    lost: Ready | None = None,
    on_stop: Sequence[Callable[[], Awaitable[None]]] = (),
    transport: TransportName = "grpc",
    workers: int = 0,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains. A second signal ends the process at once.

    Args:
        settings: see `Server`.
        services: see `Server`.
        tasks: see `Server`. One that dies is logged and ends the process.
        ready: see `Server`.
        lost: see `Server`.
        on_stop: awaited in order when the server has drained.
        transport: see `Server`.
        workers: see `Server`.

    Raises:
        SystemExit: with status 1 when a task died.
    """
    configure_logging(settings.log_level)
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, told_to_stop.set)
    server = Server(
        settings, services, tasks=tasks, ready=ready, lost=lost, transport=transport, workers=workers
    )
    try:
        address = await server.start()
        names = [service.descriptor.full_name for service in services]
        facts = {
            "address": address,
            "health_address": server.health_address,
            "metrics_address": server.metrics_address,
            "services": names,
        }
        _LOG.info("serving", extra=facts)
        failure = await _either(server, told_to_stop)
        for number in signals:
            loop.remove_signal_handler(number)
        _LOG.info("draining")
    finally:
        await server.drain()
        for action in on_stop:
            await action()
    if failure is not None:
        raise SystemExit(1)
    _LOG.info("stopped")


async def _either(server: Server, told_to_stop: asyncio.Event) -> BaseException | None:
    """Waits until the server shall stop; gives what a task died of, if that is why."""
    failed, stopped = asyncio.ensure_future(server.failed()), asyncio.ensure_future(told_to_stop.wait())
    try:
        await asyncio.wait((failed, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not failed.done():
            return None
        error = failed.result()
        _LOG.error("a background task died", exc_info=error)
        return error
    finally:
        failed.cancel()
        stopped.cancel()


def main(
    coroutine_fn: Callable[[], Coroutine[Any, Any, None]],
    *,
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Runs a service's coroutine as the process: whatever ends it is told in one line of JSON.

    Args:
        coroutine_fn: the coroutine function.
        new_loop: makes the event loop it runs on. None: asyncio's own.

    Raises:
        SystemExit: with status 2 for wrong settings, 1 for any other failure.
    """
    configure_logging("INFO")
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(coroutine_fn())
    except ValidationError as error:
        # Without the values: some of them are secrets.
        for fault in error.errors(include_input=False, include_url=False, include_context=False):
            names = ", ".join(f"LEPTON_{part}".upper() for part in fault["loc"]) or "several together"
            _LOG.error("wrong setting: %s: %s", names, fault["msg"])
        raise SystemExit(2) from None
    except Exception:
        _LOG.exception("the service could not go on")
        raise SystemExit(1) from None


def _write_whole(path: Path, text: str) -> None:
    """Writes a file in one step: nobody ever reads half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)

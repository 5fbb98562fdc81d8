"""How a server begins and ends: readiness, draining, background tasks."""

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton_common import errors
from lepton_common.rpc import named_errors

GET = pb.GetDatasetRequest(name="datasets/digits")
WATCH = pb.WatchDatasetVersionRequest(name="datasets/digits/versions/1")
# The published types of both know synchronous channels only.
HealthStub: Any = health_pb2_grpc.HealthStub
ReflectionStub: Any = reflection_pb2_grpc.ServerReflectionStub

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def health(start: Any, cleanup: Any) -> Any:
    """A stub of the health service of a server, which the stub carries along as `server`."""
    server = await start()
    channel = await cleanup.enter_async_context(grpc.aio.insecure_channel(server.address))
    stub = HealthStub(channel)
    stub.server = server
    return stub


class TestReadiness:
    @pytest.mark.parametrize("service", ["", "lepton.dataset.v1.DatasetService"])
    async def test_a_running_server_says_that_it_serves(self, health: Any, service: str) -> None:
        response = await health.Check(health_pb2.HealthCheckRequest(service=service))

        assert response.status == SERVING

    async def test_of_a_service_it_does_not_have_it_says_so(self, health: Any) -> None:
        with pytest.raises(errors.NotFound), named_errors():
            await health.Check(health_pb2.HealthCheckRequest(service="lepton.model.v1.ModelService"))

    async def test_the_address_is_written_when_it_is_ready_and_gone_when_it_is_not(
        self, start: Any, stub_to: Any, tmp_path: Path
    ) -> None:
        path = tmp_path / "address"

        server = await start(address_file=path)

        assert path.read_text() == server.address
        assert (await (await stub_to(path.read_text())).GetDataset(GET)).dataset.name == GET.name
        await server.drain()
        assert not path.exists()
        assert list(tmp_path.iterdir()) == []

    async def test_a_server_that_does_not_start_leaves_the_address_of_another_alone(
        self, start: Any, tmp_path: Path
    ) -> None:
        path = tmp_path / "address"
        server = await start(address_file=path)

        with pytest.raises(OSError, match="cannot listen"):
            await start(address_file=path, listen=server.address)

        assert path.read_text() == server.address

    async def test_a_port_is_never_shared(self, start: Any) -> None:
        server = await start()

        with pytest.raises(OSError, match=f"cannot listen on {server.address}"):
            await start(listen=server.address)

    async def test_a_port_for_metrics_is_never_shared(self, start: Any) -> None:
        server = await start(metrics_listen="127.0.0.1:0")

        with pytest.raises(OSError, match="in use"):
            await start(metrics_listen=server.metrics_address)

    async def test_it_serves_before_it_says_so(self, start: Any, stub_to: Any, cleanup: Any) -> None:
        may_serve = asyncio.Event()
        server = await start(ready=may_serve.wait)
        health = HealthStub(await cleanup.enter_async_context(grpc.aio.insecure_channel(server.address)))
        watch = health.Watch(health_pb2.HealthCheckRequest(service="lepton.dataset.v1.DatasetService"))

        assert (await watch.read()).status == NOT_SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        assert (await (await stub_to(server.address)).GetDataset(GET)).dataset.name == GET.name
        may_serve.set()
        assert (await watch.read()).status == SERVING

    async def test_a_server_that_is_lost_says_so_of_all_of_it(
        self, start: Any, stub_to: Any, cleanup: Any
    ) -> None:
        lost = asyncio.Event()
        server = await start(lost=lost.wait)
        health = HealthStub(await cleanup.enter_async_context(grpc.aio.insecure_channel(server.address)))
        names = ("", "lepton.dataset.v1.DatasetService")
        watches = [health.Watch(health_pb2.HealthCheckRequest(service=name)) for name in names]

        assert [(await watch.read()).status for watch in watches] == [SERVING, SERVING]
        lost.set()
        assert [(await watch.read()).status for watch in watches] == [NOT_SERVING, NOT_SERVING]
        # Clients of ours look at health, and turn to another server.
        with pytest.raises(grpc.aio.AioRpcError, match="backend unhealthy"):
            await (await stub_to(server.address)).GetDataset(GET)


class TestHealthPort:
    @pytest.fixture
    async def port(self, start: Any, cleanup: Any) -> Any:
        """A channel to the port for probes of a server, which the channel carries along as `server`."""
        server = await start(health_listen="127.0.0.1:0")
        channel = await cleanup.enter_async_context(grpc.aio.insecure_channel(server.health_address))
        channel.server = server
        return channel

    async def test_it_answers_health_and_nothing_else(self, port: Any) -> None:
        response = await HealthStub(port).Check(health_pb2.HealthCheckRequest())
        assert response.status == SERVING

        get: Any = port.unary_unary(
            "/lepton.dataset.v1.DatasetService/GetDataset",
            request_serializer=pb.GetDatasetRequest.SerializeToString,
        )
        # Nothing is sent: gRPC's client fails in words of its own where it writes to what has ended.
        reflection = ReflectionStub(port).ServerReflectionInfo()
        for call in (get(GET), reflection.read()):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED

    async def test_it_says_that_the_server_drains(self, port: Any, stub_to: Any, datasets: Any) -> None:
        stub = await stub_to(port.server.address)
        may_end = asyncio.Event()
        datasets.on(GET.name, may_end.wait)
        call = asyncio.ensure_future(stub.GetDataset(GET))
        await datasets.begun.wait()
        watch = HealthStub(port).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING

        drained = asyncio.create_task(port.server.drain())

        assert (await watch.read()).status == NOT_SERVING
        may_end.set()
        await call
        await drained

    async def test_it_is_never_shared(self, start: Any, port: Any) -> None:
        with pytest.raises(OSError, match="cannot listen on"):
            await start(health_listen=port.server.health_address)


class TestDrain:
    async def test_what_is_in_flight_is_finished(self, start: Any, stub_to: Any, datasets: Any) -> None:
        server = await start(drain_seconds=10)
        stub = await stub_to(server.address)
        may_end = asyncio.Event()
        datasets.on(GET.name, may_end.wait)
        call = asyncio.ensure_future(stub.GetDataset(GET))
        await datasets.begun.wait()

        drained = asyncio.create_task(server.drain())
        await asyncio.sleep(0.1)
        assert not drained.done()
        may_end.set()

        assert (await call).dataset.name == GET.name
        begin = time.monotonic()
        await drained
        assert time.monotonic() - begin < 3

    async def test_it_says_so_before_it_stops(self, health: Any, stub_to: Any, datasets: Any) -> None:
        stub = await stub_to(health.server.address)
        may_end = asyncio.Event()
        datasets.on(GET.name, may_end.wait)
        call = asyncio.ensure_future(stub.GetDataset(GET))
        await datasets.begun.wait()
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING

        drained = asyncio.create_task(health.server.drain())

        assert (await watch.read()).status == NOT_SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        may_end.set()
        await call
        await drained

    async def test_new_calls_are_sent_elsewhere(self, health: Any, datasets: Any, cleanup: Any) -> None:
        # A plain channel: one of ours would call again until the server is gone.
        channel = await cleanup.enter_async_context(grpc.aio.insecure_channel(health.server.address))
        call_method: Any = channel.unary_unary(
            "/lepton.dataset.v1.DatasetService/GetDataset",
            request_serializer=pb.GetDatasetRequest.SerializeToString,
            response_deserializer=pb.GetDatasetResponse.FromString,
        )
        may_end = asyncio.Event()
        datasets.on(GET.name, may_end.wait)
        call = asyncio.ensure_future(call_method(GET))
        await datasets.begun.wait()
        drained = asyncio.create_task(health.server.drain())
        await asyncio.sleep(0)

        with pytest.raises(errors.ShuttingDown) as raised, named_errors():
            await call_method(pb.GetDatasetRequest(name="datasets/other"))

        assert raised.value.code == errors.Code.UNAVAILABLE
        may_end.set()
        await call
        await drained

    async def test_a_watch_ends_at_once(self, start: Any, stub_to: Any, datasets: Any) -> None:
        server = await start(drain_seconds=30)
        stub = await stub_to(server.address)
        datasets.on(WATCH.name, forever)
        arrived = []

        async def follow() -> None:
            async for response in stub.WatchDatasetVersion(WATCH):
                arrived.append(response.dataset_version.rejected)

        following = asyncio.create_task(follow())
        await datasets.begun.wait()
        begin = time.monotonic()
        await server.drain()

        assert time.monotonic() - begin < 5
        with pytest.raises(errors.ShuttingDown), named_errors():
            await following
        assert arrived == [0, 1, 2]
        assert datasets.cancelled.is_set()

    async def test_what_takes_too_long_is_ended(self, start: Any, stub_to: Any, datasets: Any) -> None:
        server = await start(drain_seconds=0.3)
        stub = await stub_to(server.address)
        datasets.on(GET.name, forever)

        async def call() -> Any:
            # Its own deadline keeps the retries short: nobody answers any more.
            return await stub.GetDataset(GET, timeout=2)

        calling = asyncio.create_task(call())
        await datasets.begun.wait()
        begin = time.monotonic()
        await server.drain()

        assert 0.3 <= time.monotonic() - begin < 5
        assert datasets.cancelled.is_set()
        with pytest.raises(errors.LeptonError), named_errors():
            await calling

    async def test_a_reflection_stream_that_stays_open_does_not_hold_it_up(self, start: Any) -> None:
        server = await start(drain_seconds=30)
        async with grpc.aio.insecure_channel(server.address) as channel:
            stream = ReflectionStub(channel).ServerReflectionInfo()
            await stream.wait_for_connection()
            begin = time.monotonic()
            await server.drain()

            assert time.monotonic() - begin < 5

    async def test_a_second_drain_does_nothing(self, start: Any) -> None:
        server = await start()

        await server.drain()
        await server.drain()


class TestTasks:
    async def test_they_run_while_it_serves_and_end_with_it(self, start: Any) -> None:
        log: list[str] = []

        async def background() -> None:
            log.append("begun")
            try:
                await forever()
            finally:
                log.append("ended")

        server = await start(tasks=[background])
        await asyncio.sleep(0)
        assert log == ["begun"]

        await server.drain()

        assert log == ["begun", "ended"]

    async def test_one_that_dies_is_noticed(self, start: Any) -> None:
        boom = RuntimeError("boom")

        async def background() -> None:
            raise boom

        server = await start(tasks=[background])

        assert await asyncio.wait_for(server.failed(), 5) is boom

    async def test_one_that_comes_to_its_end_is_no_failure(self, start: Any) -> None:
        async def background() -> None:
            return

        server = await start(tasks=[background])

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.failed(), 0.1)

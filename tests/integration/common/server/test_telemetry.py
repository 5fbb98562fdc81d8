"""What a server tells of its calls: log lines, metrics, traces."""

import asyncio
import json
import logging
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton_common import errors
from lepton_common.auth import mint_token

GET = pb.GetDatasetRequest(name="datasets/digits")
WATCH = pb.WatchDatasetVersionRequest(name="datasets/digits/versions/1")


async def boom() -> None:
    raise RuntimeError("boom")


def call_records(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == "lepton.calls"]


class TestLogs:
    async def test_a_call_is_one_line(self, stub: Any, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

        await stub.GetDataset(GET)

        (record,) = call_records(caplog)
        assert record.levelno == logging.INFO
        assert record.method == "/lepton.dataset.v1.DatasetService/GetDataset"
        assert record.code == "OK"
        assert 0 < record.duration_ms < 5000
        assert record.caller == "anyone"
        assert record.peer.startswith("ipv4:127.0.0.1:")

    @pytest.mark.parametrize(
        ("error", "code", "level"),
        [
            pytest.param(errors.NotFound("gone"), "NOT_FOUND", logging.INFO, id="an answer"),
            pytest.param(RuntimeError("boom"), "INTERNAL", logging.ERROR, id="a fault"),
        ],
    )
    async def test_a_fault_is_louder_than_an_answer(
        self,
        stub: Any,
        datasets: Any,
        caplog: pytest.LogCaptureFixture,
        error: Exception,
        code: str,
        level: int,
    ) -> None:
        caplog.set_level(logging.INFO)

        async def behaviour() -> None:
            raise error

        datasets.on(GET.name, behaviour)

        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetDataset(GET)

        (record,) = call_records(caplog)
        assert (record.code, record.levelno) == (code, level)

    async def test_made_up_methods_do_not_fill_the_log(
        self, start: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        server = await start()
        async with grpc.aio.insecure_channel(server.address) as channel:
            method: Any = channel.unary_unary("/made.up.Service/Method")
            with pytest.raises(grpc.aio.AioRpcError):
                await method(b"")

        (record,) = call_records(caplog)
        assert record.method == "/unknown/unknown"


def read(address: str, *, token: str = "", path: str = "/metrics") -> str:
    request = urllib.request.Request(f"http://{address}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=5) as response:
        return str(response.read().decode())


def sample(text: str, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return float(found.value)
    return 0.0


class TestMetrics:
    @pytest.fixture
    async def server(self, start: Any) -> Any:
        return await start(metrics_listen="127.0.0.1:0")

    async def test_calls_are_counted_by_method_and_code(
        self, server: Any, stub_to: Any, datasets: Any
    ) -> None:
        stub = await stub_to(server.address)
        labels = {"grpc_service": "lepton.dataset.v1.DatasetService"}
        ok = {**labels, "grpc_method": "GetDataset", "grpc_type": "unary", "grpc_code": "OK"}
        failed = {**ok, "grpc_code": "INTERNAL"}
        before = await asyncio.to_thread(read, server.metrics_address)

        await stub.GetDataset(GET)
        await stub.GetDataset(GET)
        datasets.on(GET.name, boom)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetDataset(GET)

        after = await asyncio.to_thread(read, server.metrics_address)
        handled, seconds = "grpc_server_handled_total", "grpc_server_handling_seconds_count"
        assert sample(after, handled, **ok) - sample(before, handled, **ok) == 2
        assert sample(after, handled, **failed) - sample(before, handled, **failed) == 1
        get = {**labels, "grpc_method": "GetDataset"}
        assert sample(after, seconds, **get) - sample(before, seconds, **get) == 3

    async def test_calls_in_flight_are_told(self, server: Any, stub_to: Any, datasets: Any) -> None:
        stub = await stub_to(server.address)
        may_end = asyncio.Event()
        datasets.on(WATCH.name, may_end.wait)
        labels = {"grpc_method": "WatchDatasetVersion", "grpc_type": "server_stream"}

        async def follow() -> int:
            return len([response async for response in stub.WatchDatasetVersion(WATCH)])

        following = asyncio.create_task(follow())
        await datasets.begun.wait()
        during = await asyncio.to_thread(read, server.metrics_address)
        may_end.set()
        await following
        after = await asyncio.to_thread(read, server.metrics_address)

        assert sample(during, "grpc_server_in_flight", **labels) == 1
        assert sample(after, "grpc_server_in_flight", **labels) == 0

    @pytest.mark.parametrize(
        ("role", "status"), [("reader", 200), ("admin", 200), ("predictor", 401), (None, 401)]
    )
    async def test_where_callers_must_be_known_readers_of_metrics_must_be_too(
        self, start: Any, tmp_path: Path, role: str | None, status: int
    ) -> None:
        token, sha256 = mint_token()
        entries = [{"name": "scraper", "sha256": sha256, "roles": [role]}] if role else []
        path = tmp_path / "tokens.json"
        path.write_text(json.dumps({"tokens": entries}))
        server = await start(metrics_listen="127.0.0.1:0", token_file=path)

        if status == 200:
            assert "grpc_server_handled" in await asyncio.to_thread(read, server.metrics_address, token=token)
        else:
            with pytest.raises(urllib.error.HTTPError) as raised:
                await asyncio.to_thread(read, server.metrics_address, token=token)
            assert raised.value.code == status
            raised.value.close()

    async def test_there_is_nothing_else_to_get(self, server: Any) -> None:
        with pytest.raises(urllib.error.HTTPError) as raised:
            await asyncio.to_thread(read, server.metrics_address, path="/etc/passwd")
        assert raised.value.code == 404
        raised.value.close()


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector: keeps every span it is sent."""

    def __init__(self) -> None:
        self.url = ""
        self.services: set[str] = set()
        self.spans: list[Any] = []

    async def Export(self, request: Any, context: object) -> Any:
        for resource in request.resource_spans:
            for attribute in resource.resource.attributes:
                if attribute.key == "service.name":
                    self.services.add(attribute.value.string_value)
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


class TestTraces:
    @pytest.fixture
    async def collector(self) -> AsyncIterator[Collector]:
        """A collector that listens at its `url`."""
        collector, server = Collector(), grpc.aio.server()
        add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
        add(collector, server)
        collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        yield collector
        await server.stop(None)

    async def test_every_call_is_a_span_under_the_callers(
        self, start: Any, stub_to: Any, datasets: Any, collector: Collector
    ) -> None:
        server = await start(otlp_endpoint=collector.url)
        stub = await stub_to(server.address)
        trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

        await stub.GetDataset(GET, metadata=(("traceparent", f"00-{trace}-{parent}-01"),))
        datasets.on(GET.name, boom)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetDataset(GET)
        # What has not been sent yet is sent when the server ends.
        await server.drain()

        good, bad = collector.spans
        assert collector.services == {"lepton.dataset.v1.DatasetService"}
        assert good.name == bad.name == "lepton.dataset.v1.DatasetService/GetDataset"
        assert (good.trace_id.hex(), good.parent_span_id.hex()) == (trace, parent)
        assert bad.parent_span_id == b""
        assert (good.status.code, bad.status.code) == (0, 2)
        assert [request_id_of(span) for span in (good, bad)] == datasets.request_ids

    async def test_the_calls_that_a_servicer_makes_are_spans_under_its_own(
        self, start: Any, stub_to: Any, datasets: Any, collector: Collector
    ) -> None:
        server = await start(otlp_endpoint=collector.url)
        stub = await stub_to(server.address)
        datasets.on(GET.name, lambda: stub.GetDataset(pb.GetDatasetRequest(name="datasets/other")))

        await stub.GetDataset(GET)
        await server.drain()

        inner, outer = collector.spans
        assert inner.trace_id == outer.trace_id
        assert inner.parent_span_id == outer.span_id


def request_id_of(span: Any) -> str:
    (value,) = [item.value.string_value for item in span.attributes if item.key == "lepton.request_id"]
    return str(value)

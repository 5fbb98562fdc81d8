"""OpenTelemetry traces: a span for every call, sent to a collector. Imported only where one is configured."""

from types import TracebackType
from typing import Any, Self

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from lepton_common.errors import Code
from lepton_common.interceptors.call import Call, Proceed
from lepton_common.trace_context import TRACE_HEADERS

_FAULTS = frozenset({Code.UNKNOWN, Code.INTERNAL, Code.DATA_LOSS, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})


class Tracing:
    """The stage that opens a span around each call, as a child of the caller's where there is one.

    Args:
        endpoint: URL of the collector, OTLP over gRPC; `https://` for TLS.
        service: the name that spans are filed under.
    """

    def __init__(self, endpoint: str, *, service: str) -> None:
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("lepton")

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        """Runs the call inside its span. Probes and watches of health have none."""
        if call.method.permission is None:
            return await proceed()
        carrier = {key: call.metadata(key) for key in ("traceparent", "tracestate")}
        attributes = {
            "rpc.system": "grpc",
            "rpc.service": call.method.service,
            "rpc.method": call.method.name,
            "lepton.request_id": call.request_id,
        }
        with self._tracer.start_as_current_span(
            call.method.path.removeprefix("/"),
            context=propagate.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=attributes,
            # The status tells what went wrong; the abort that carries it would only say "abort".
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            headers: dict[str, str] = {}
            propagate.inject(headers)
            token = TRACE_HEADERS.set(headers)
            try:
                return await proceed()
            finally:
                TRACE_HEADERS.reset(token)
                span.set_attribute("rpc.grpc.status_code", int(call.code))
                if call.code in _FAULTS:
                    span.set_status(Status(StatusCode.ERROR, call.code.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sends what has not been sent yet."""
        self._provider.shutdown()

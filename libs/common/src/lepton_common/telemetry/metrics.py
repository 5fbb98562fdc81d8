"""Prometheus metrics of calls, and the endpoint that gives them away.

The names and labels are those that gRPC servers of other languages use, so that existing dashboards fit.
"""

import http.server
import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from types import TracebackType
from typing import Self

from prometheus_client import REGISTRY, MetricsHandler
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from lepton.access.v1.access_pb2 import PERMISSION_READ
from lepton_common.auth import Credentials
from lepton_common.errors import Unauthenticated

_METHOD = ("grpc_type", "grpc_service", "grpc_method")

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def histogram_buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """The counts up to each bound, of those between bounds; the last is of what is beyond all of them."""
    names = [*map(floatToGoString, bounds), "+Inf"]
    return [*zip(names, accumulate([*counts]), strict=True)]


class MethodFigures:
    """What is counted of one method: plain numbers, since some methods answer in microseconds.

    To be changed from one thread. Others may read meanwhile.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.handled: dict[str, int] = {}
        """Answers by the names of their codes."""
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.seconds = 0.0

    def begin(self) -> None:
        """Counts a call that came."""
        self.in_flight += 1

    def end(self, code: str, seconds: float) -> None:
        """Counts its answer."""
        self.in_flight -= 1
        self.handled[code] = self.handled.get(code, 0) + 1
        self.buckets[bisect_left(_BOUNDS, seconds)] += 1
        self.seconds += seconds


class CallMetrics(Collector):
    """The figures of all methods that were called."""

    def __init__(self) -> None:
        self._figures: dict[tuple[str, str, str], MethodFigures] = {}

    def of(self, kind: str, service: str, method: str) -> MethodFigures:
        """The figures of a method, by its `grpc_type`, `grpc_service` and `grpc_method`."""
        labels = (kind, service, method)
        figures = self._figures.get(labels)
        if figures is None:
            figures = self._figures[labels] = MethodFigures()
        return figures

    def describe(self) -> Iterable[Metric]:
        """The names alone."""
        return self._families()

    def collect(self) -> Iterable[Metric]:
        """The figures of now."""
        handled, seconds, in_flight = families = self._families()
        for labels, figures in [*self._figures.items()]:
            for code, count in [*figures.handled.items()]:
                handled.add_metric((*labels, code), count)
            seconds.add_metric(labels, histogram_buckets(_BOUNDS, figures.buckets), figures.seconds)
            in_flight.add_metric(labels, figures.in_flight)
        return families

    def _families(self) -> tuple[CounterMetricFamily, HistogramMetricFamily, GaugeMetricFamily]:
        return (
            CounterMetricFamily(
                "grpc_server_handled",
                "Calls answered, by the code of the answer.",
                labels=(*_METHOD, "grpc_code"),
            ),
            HistogramMetricFamily(
                "grpc_server_handling_seconds", "Time from a call's arrival to its answer.", labels=_METHOD
            ),
            GaugeMetricFamily("grpc_server_in_flight", "Calls being answered.", labels=_METHOD),
        )


CALLS = CallMetrics()
"""Of all servers of this process."""
REGISTRY.register(CALLS)


class _Handler(MetricsHandler):
    """`GET /metrics`, under the same rule as the gRPC server: where there are credentials, READ is needed."""

    registry = REGISTRY
    credentials: Credentials | None = None
    # A client that sends nothing holds a thread for this long.
    timeout = 5

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
        elif self._may_read():
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Bearer")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _may_read(self) -> bool:
        if self.credentials is None:
            return True
        try:
            caller = self.credentials.authenticate(self.headers.get("authorization", ""), ())
        except Unauthenticated:
            return False
        return PERMISSION_READ in caller.permissions


class MetricsEndpoint:
    """Serves the process's metrics over HTTP from a thread of its own.

    Args:
        listen: `host:port`; port 0 takes a free one.
        credentials: who may read them. None: everyone.

    Raises:
        OSError: the address cannot be taken.
    """

    def __init__(self, listen: str, *, credentials: Credentials | None) -> None:
        host, _, port = listen.rpartition(":")
        handler = type("Handler", (_Handler,), {"credentials": credentials})
        self._server = http.server.ThreadingHTTPServer((host.strip("[]"), int(port)), handler)
        self._server.daemon_threads = True
        self.address = f"{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

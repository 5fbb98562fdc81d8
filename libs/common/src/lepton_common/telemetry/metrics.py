"""Prometheus metrics of calls, and the endpoint that gives them away.

The names and labels are those that gRPC servers of other languages use, so that existing dashboards fit.
"""

import http.server
import threading
from types import TracebackType
from typing import Self

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, MetricsHandler

from lepton.access.v1.access_pb2 import PERMISSION_READ
from lepton_common.auth import Credentials
from lepton_common.errors import Unauthenticated

_METHOD = ("grpc_type", "grpc_service", "grpc_method")

HANDLED = Counter(
    "grpc_server_handled", "Calls answered, by the code of the answer.", (*_METHOD, "grpc_code")
)
SECONDS = Histogram(
    "grpc_server_handling_seconds",
    "Time from a call's arrival to its answer.",
    _METHOD,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
IN_FLIGHT = Gauge("grpc_server_in_flight", "Calls being answered.", _METHOD)


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

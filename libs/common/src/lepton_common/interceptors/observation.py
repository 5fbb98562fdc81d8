"""What is told of every call: a log line, a count by code, a duration."""

import asyncio
import logging
import time
from typing import Any

from lepton_common.errors import Code
from lepton_common.interceptors.call import Call, Method, Proceed
from lepton_common.telemetry import metrics

_LOG = logging.getLogger("lepton.calls")

# Codes that mean a fault of the service; everything else is an answer.
_FAULTS = frozenset({Code.UNKNOWN, Code.INTERNAL, Code.DATA_LOSS})


async def observe(call: Call, proceed: Proceed) -> Any:
    """Logs and counts the call when it has ended, however it ended."""
    labels = (_kind(call.method), call.method.service, call.method.name)
    in_flight = metrics.IN_FLIGHT.labels(*labels)
    in_flight.inc()
    begin = time.perf_counter()
    try:
        return await proceed()
    except asyncio.CancelledError:
        # The caller left, or its deadline passed: gRPC cancels the call in both cases.
        remaining = call.context.time_remaining()
        expired = remaining is not None and remaining <= 0
        call.code = Code.DEADLINE_EXCEEDED if expired else Code.CANCELLED
        raise
    finally:
        seconds = time.perf_counter() - begin
        in_flight.dec()
        metrics.HANDLED.labels(*labels, call.code.name).inc()
        metrics.SECONDS.labels(*labels).observe(seconds)
        _log(call, seconds)


def _log(call: Call, seconds: float) -> None:
    level = logging.INFO
    if call.code in _FAULTS:
        level = logging.ERROR
    elif call.method.permission is None and call.code in (Code.OK, Code.CANCELLED):
        # Probes ask every few seconds, and every channel watches health.
        level = logging.DEBUG
    if _LOG.isEnabledFor(level):
        facts = {
            "method": call.method.path,
            "code": call.code.name,
            "duration_ms": round(seconds * 1e3, 3),
            "caller": call.identity.name,
            "peer": call.context.peer(),
        }
        _LOG.log(level, "call", extra=facts)


def _kind(method: Method) -> str:
    kinds = ("unary", "server_stream", "client_stream", "bidi_stream")
    return kinds[2 * method.client_streaming + method.server_streaming]

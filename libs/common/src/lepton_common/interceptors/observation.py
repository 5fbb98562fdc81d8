"""What is told of every call: a log line, a count by code, a duration."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from lepton_common.auth import Identity
from lepton_common.errors import Code
from lepton_common.interceptors.call import Call, Method, Proceed
from lepton_common.telemetry.metrics import CALLS

_LOG = logging.getLogger("lepton.calls")

# Codes that mean a fault of the service; everything else is an answer.
_FAULTS = frozenset({Code.UNKNOWN, Code.INTERNAL, Code.DATA_LOSS})

# How calls end that are made all the time, on a server with much or too much to do. A line for each would
# take more time than the answer.
_USUAL = (Code.OK, Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED)


async def observe(call: Call, proceed: Proceed) -> Any:
    """Logs and counts the call when it has ended, however it ended."""
    method = call.method
    figures = CALLS.of(method.kind, method.service, method.name)
    figures.begin()
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
        figures.end(call.code.name, seconds)
        log_call(method, call.code, seconds, caller=call.identity, peer=call.context.peer)


def is_logged(method: Method, code: Code) -> bool:
    """Whether calls that end so are logged."""
    return _LOG.isEnabledFor(_level(method, code))


def _level(method: Method, code: Code) -> int:
    if method.quiet and code in _USUAL:
        return logging.DEBUG
    if code in _FAULTS:
        return logging.ERROR
    if method.permission is None and code in (Code.OK, Code.CANCELLED):
        # Probes ask every few seconds, and every channel watches health.
        return logging.DEBUG
    return logging.INFO


def log_call(
    method: Method, code: Code, seconds: float, *, caller: Identity, peer: Callable[[], str]
) -> None:
    """Logs a call that has ended, if one like it is logged."""
    level = _level(method, code)
    if _LOG.isEnabledFor(level):
        facts = {
            "method": method.path,
            "code": code.name,
            "duration_ms": round(seconds * 1e3, 3),
            "caller": caller.name,
            "peer": peer(),
        }
        _LOG.log(level, "call", extra=facts)

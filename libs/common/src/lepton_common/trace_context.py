"""Where the current task stands in a trace, so that the calls it makes become part of it."""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

NO_TRACE: Mapping[str, str] = MappingProxyType({})

TRACE_HEADERS: ContextVar[Mapping[str, str]] = ContextVar("lepton_trace_headers", default=NO_TRACE)
"""The W3C trace context (`traceparent`, `tracestate`) for outgoing calls; empty where nothing is traced."""

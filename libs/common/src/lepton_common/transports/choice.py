"""Which transport carries calls, with everything that a server offers on it."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from lepton_common.auth import Credentials
from lepton_common.interceptors.chain import CallChain
from lepton_common.interceptors.lifetime import Lifetime
from lepton_common.methods import Service
from lepton_common.settings import ServerSettings
from lepton_common.transports import Transport
from lepton_common.transports.aio import AioTransport
from lepton_common.transports.symbols import Symbols

TransportName: TypeAlias = Literal["grpc", "http2"]
"""gRPC's own server, or that of `lepton_http2`."""

OPEN_SERVICES = (health.SERVICE_NAME, reflection.SERVICE_NAME)
"""What every server has beside its own services, open to everyone."""

# What adds handlers is typed for gRPC's servers, or not at all.
_add_health: Any = health_pb2_grpc.add_HealthServicer_to_server
_add_reflection: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server


def transport_of_services(
    name: TransportName,
    settings: ServerSettings,
    services: Sequence[Service],
    *,
    health_servicer: object,
    chain: CallChain,
    lifetime: Lifetime,
    credentials: Credentials | None,
    workers: int = 0,
) -> Transport:
    """A transport with services, health and reflection, the chain around all of them.

    Of `http2`, so many `workers` take the connections; 0: the process itself.

    Raises:
        OSError: this system has no way to have workers.
    """
    transport: Transport
    if name == "http2":
        # Imported for those who want it: images of other services do without it.
        from lepton_common.transports.http2 import Http2Transport
        from lepton_common.transports.http2_quick import gates

        # A span stands around a task: where there are traces, every call has one.
        quick = () if settings.otlp_endpoint else services
        first = gates(quick, settings, chain=chain, lifetime=lifetime, credentials=credentials)
        if workers:
            from lepton_common.transports.http2_workers import WorkersTransport

            transport = WorkersTransport(settings, settings.listen, workers=workers, chain=chain, first=first)
        else:
            transport = Http2Transport(settings, settings.listen, chain=chain, first=first)
    else:
        transport = AioTransport(settings, settings.listen, chain=chain)
    for service in services:
        service.add(service.servicer, transport.registrar)
    _add_health(health_servicer, transport.registrar)
    names = [service.descriptor.full_name for service in services]
    servicer = reflection.aio.ReflectionServicer([*names, *OPEN_SERVICES], pool=Symbols())
    _add_reflection(servicer, transport.registrar)
    return transport


def transport_of_health(
    name: TransportName, settings: ServerSettings, *, health_servicer: object
) -> Transport:
    """A transport with health alone, in plain text."""
    transport: Transport
    if name == "http2":
        from lepton_common.transports.http2 import Http2Transport

        transport = Http2Transport(settings, settings.health_listen, tls=False)
    else:
        transport = AioTransport(settings, settings.health_listen, tls=False)
    _add_health(health_servicer, transport.registrar)
    return transport

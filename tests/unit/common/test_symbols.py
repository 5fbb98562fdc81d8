"""Reflection finds what its contract says that it finds."""

import pytest
from grpc_health.v1 import health_pb2

from lepton_common.transports.symbols import Symbols


@pytest.mark.parametrize(
    "symbol",
    [
        "grpc.health.v1.Health",
        "grpc.health.v1.Health.Check",
        "grpc.health.v1.HealthCheckRequest",
        "grpc.health.v1.HealthCheckResponse.ServingStatus",
        "grpc.health.v1.HealthCheckRequest.service",
    ],
)
def test_symbols_of_every_kind_are_found(symbol: str) -> None:
    assert Symbols().FindFileContainingSymbol(symbol).name == health_pb2.DESCRIPTOR.name


@pytest.mark.parametrize(
    "symbol", ["", "Check", "grpc.health.v1.Health.Nothing", "grpc.health.v1.Nothing.Check", "."]
)
def test_others_are_not(symbol: str) -> None:
    with pytest.raises(KeyError):
        Symbols().FindFileContainingSymbol(symbol)


def test_it_is_a_pool_otherwise() -> None:
    assert Symbols().FindFileByName(health_pb2.DESCRIPTOR.name) is health_pb2.DESCRIPTOR

"""The asynchronous client: one object, one group of calls per noun."""

from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lepton_common.errors import InvalidField, NotFound, PermissionDenied
from lepton_common.rpc import LOST_SECONDS, connect
from lepton_common.settings import ClientSettings
from lepton_sdk.addresses import Addresses
from lepton_sdk.agents import Agents
from lepton_sdk.compression import Compression
from lepton_sdk.datasets import Datasets
from lepton_sdk.endpoints import Endpoints
from lepton_sdk.inference import LOST_SECONDS as INFERENCE_LOST_SECONDS
from lepton_sdk.inference import Inference
from lepton_sdk.models import Models
from lepton_sdk.studies import Studies
from lepton_sdk.training import Training


class Client:
    """Calls to all services. Connections are made at the first call; use it in an `async with` block.

    Credentials come from the environment, as every client of Lepton reads them: `LEPTON_TOKEN` or
    `LEPTON_TOKEN_PATH`, `LEPTON_TLS_CA`, `LEPTON_TLS_CERTIFICATE`, `LEPTON_TLS_KEY`.

    Raises:
        InvalidField: the environment's credentials cannot be used; the text says why.
    """

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        try:
            self._settings = settings = ClientSettings()
            self._channels = {
                service: connect(
                    address,
                    settings=settings,
                    lost_seconds=INFERENCE_LOST_SECONDS if service == "inference" else LOST_SECONDS,
                )
                for service, address in asdict(addresses).items()
            }
        except (OSError, ValueError) as wrong:
            raise InvalidField(f"the credentials in the environment (LEPTON_...): {wrong}") from wrong
        self.datasets = Datasets(self._channels["data_ingest"])
        self.training = Training(self._channels["trainer"])
        self.studies = Studies(self._channels["trainer"])
        self.compression = Compression(self._channels["compressor"])
        self.models = Models(self._channels["registry"])
        self.endpoints = Endpoints(self._channels["registry"])
        self.inference = Inference(self._channels["inference"], self._pool_of)
        self._pools: dict[str, aio.Channel] = {}
        """Channels to inference pools, by address."""
        self.agents = Agents(self._channels["rl_agent"])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def health(self, service: str, *, seconds: float = 3.0) -> str:
        """What a service, by its name in `Addresses`, says of itself: "SERVING", "NOT_SERVING", or
        "NO ANSWER" with the reason."""
        stub: Any = health_pb2_grpc.HealthStub(self._channels[service])
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except aio.AioRpcError as failure:
            # Attempts to connect go on until the time is over, which is not what is wrong.
            reason = "UNAVAILABLE" if service in self.unreachable() else failure.code().name
            return f"NO ANSWER ({reason})"
        name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return name

    def unreachable(self) -> dict[str, str]:
        """Address of every service that a call could not be connected to just now, by its name in
        `Addresses`."""
        return {
            service: getattr(self.addresses, service)
            for service, channel in self._channels.items()
            if channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
        }

    async def close(self) -> None:
        """Close the connections."""
        for channel in (*self._channels.values(), *self._pools.values()):
            await channel.close()

    async def _pool_of(self, endpoint: str) -> aio.Channel | None:
        """A channel to the servers of the pool that serves an endpoint; None if that is not known."""
        try:
            pool = (await self.endpoints.get(f"endpoints/{endpoint}")).pool
            known = {each.name: each.address for each in await self.endpoints.pools()}
        except (NotFound, PermissionDenied):
            return None
        address = known.get(pool, "")
        if address in ("", self.addresses.inference):
            return None
        if address not in self._pools:
            try:
                self._pools[address] = connect(
                    address, settings=self._settings, lost_seconds=INFERENCE_LOST_SECONDS
                )
            except (OSError, ValueError) as wrong:
                raise InvalidField(f"pool {pool!r} cannot be asked: {wrong}") from wrong
        return self._pools[address]

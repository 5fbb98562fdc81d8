"""The asynchronous client: one object, one group of calls per noun."""

from types import TracebackType
from typing import Self

from lepton_common.rpc import connect
from lepton_common.settings import ClientSettings
from lepton_sdk.addresses import Addresses
from lepton_sdk.agents import Agents
from lepton_sdk.compression import Compression
from lepton_sdk.datasets import Datasets
from lepton_sdk.endpoints import Endpoints
from lepton_sdk.inference import Inference
from lepton_sdk.models import Models
from lepton_sdk.training import Training


class Client:
    """Calls to all services. Connections are made at the first call; use it in an `async with` block.

    Credentials come from the environment, as every client of Lepton reads them: `LEPTON_TOKEN`,
    `LEPTON_TLS_CA`, `LEPTON_TLS_CERTIFICATE`, `LEPTON_TLS_KEY`.
    """

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        settings = ClientSettings()
        self._channels = {
            service: connect(getattr(addresses, service), settings=settings)
            for service in (
                "data_ingest",
                "trainer",
                "compressor",
                "registry",
                "inference",
                "rl_agent",
            )
        }
        self.datasets = Datasets(self._channels["data_ingest"])
        self.training = Training(self._channels["trainer"])
        self.compression = Compression(self._channels["compressor"])
        self.models = Models(self._channels["registry"])
        self.endpoints = Endpoints(self._channels["registry"])
        self.inference = Inference(self._channels["inference"])
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

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            await channel.close()

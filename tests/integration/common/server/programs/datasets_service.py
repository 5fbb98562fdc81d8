"""A small service, written as the real ones are; what it does is told by its environment."""

import asyncio
import logging
import os

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton.dataset.v1 import dataset_pb2_grpc
from lepton_common.server import Service, main, serve
from lepton_common.settings import DatabaseSettings, ServerSettings


class Settings(ServerSettings, DatabaseSettings):
    pass


class Datasets(dataset_pb2_grpc.DatasetServiceServicer):
    async def GetDataset(self, request: pb.GetDatasetRequest, context: object) -> pb.GetDatasetResponse:
        await asyncio.sleep(float(os.environ.get("ANSWER_SECONDS", "0")))
        return pb.GetDatasetResponse(dataset=pb.Dataset(name=request.name))


async def background() -> None:
    await asyncio.sleep(0.2)
    if os.environ.get("BACKGROUND") == "dies":
        raise RuntimeError("the background died")
    await asyncio.Event().wait()


async def close_stores() -> None:
    logging.getLogger("program").info("stores closed")


async def run() -> None:
    service = Service(
        descriptor=pb.DESCRIPTOR.services_by_name["DatasetService"],
        add=dataset_pb2_grpc.add_DatasetServiceServicer_to_server,
        servicer=Datasets(),  # type: ignore[abstract]
    )
    await serve(Settings(), [service], tasks=[background], on_stop=[close_stores])


if __name__ == "__main__":
    main(run)

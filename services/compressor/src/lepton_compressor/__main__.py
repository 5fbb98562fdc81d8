"""The compressor as a process: reads the settings, wires everything, serves."""

from lepton.compression.v1 import compression_pb2
from lepton.compression.v1.compression_pb2_grpc import add_CompressionServiceServicer_to_server
from lepton.dataset.v1.dataset_pb2_grpc import DatasetServiceStub
from lepton.model.v1.model_pb2_grpc import ModelServiceStub
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.workplace import open_workplace
from lepton_common.objects import ObjectStore
from lepton_common.records import ResourceStore
from lepton_common.rpc import connect
from lepton_common.server import Service, main, serve
from lepton_compressor.adapters.kind import CompressionKind
from lepton_compressor.adapters.sources import Sources
from lepton_compressor.api import CompressionServicer
from lepton_compressor.settings import Settings


async def run() -> None:
    """Serve until told to stop."""
    settings = Settings()
    store = await ResourceStore.open(settings.database_url)
    objects = ObjectStore(settings.object_store_url)
    workplace = await open_workplace(
        settings, objects, label="lepton.dev/compression-job", lease="lepton-compressor"
    )
    data_ingest = connect(settings.data_ingest_address, settings=settings)
    registry = connect(settings.registry_address, settings=settings)
    jobs = store.collection(compression_pb2.CompressionJob, index=life.index)
    models = ModelServiceStub(registry)
    sources = Sources(models, DatasetServiceStub(data_ingest))
    controller = Controller(
        CompressionKind(jobs, objects, sources=sources, models=models),
        workplace.launcher,
        objects,
        object_store_url=settings.object_store_of_workers,
        max_attempts=settings.max_attempts,
        max_running=settings.most_running,
    )
    service = Service(
        descriptor=compression_pb2.DESCRIPTOR.services_by_name["CompressionService"],
        add=add_CompressionServiceServicer_to_server,
        servicer=CompressionServicer(
            jobs, sources, controller=controller, launcher=workplace.launcher, objects=objects
        ),
    )
    await serve(
        settings,
        [service],
        tasks=workplace.tasks([controller.run]),
        on_stop=[data_ingest.close, registry.close, workplace.close, store.close],
    )


if __name__ == "__main__":
    main(run)

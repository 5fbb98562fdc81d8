"""`python -m lepton_inference`: reads the settings, puts the parts together, serves."""

import uvloop

from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.objects import ObjectStore
from lepton_common.rpc import connect
from lepton_common.server import main, serve
from lepton_inference.adapters.registry import RegistryClient
from lepton_inference.api import service
from lepton_inference.artifacts import Artifacts
from lepton_inference.batcher import BatchLimits
from lepton_inference.follower import Follower
from lepton_inference.loader import Loader
from lepton_inference.metrics import ServingMetrics
from lepton_inference.model import RuntimeOptions
from lepton_inference.regions import Regions
from lepton_inference.repository import Repository
from lepton_inference.settings import Settings


async def run() -> None:
    """Serves until told to stop."""
    settings = Settings()
    settings.run_directory.mkdir(parents=True, exist_ok=True)
    artifacts = Artifacts(ObjectStore(settings.object_store_url), settings.run_directory / "models")
    options = RuntimeOptions(settings.device, threads=settings.threads, require_gpu=settings.require_gpu)
    loader = Loader(artifacts, options)
    limits = BatchLimits(
        max_queue_requests=settings.max_queue_requests, max_queue_bytes=settings.max_queue_bytes
    )
    repository = Repository(loader.load, limits=limits)
    ServingMetrics(repository).register()
    regions = Regions(most_request_bytes=settings.max_message_bytes) if settings.shared_memory else None
    async with connect(settings.registry_address, settings=settings) as channel:
        registry = RegistryClient(
            channel,
            endpoint_pb2.ReportReplicaRequest(
                replica=settings.replica,
                pool=settings.pool,
                pool_address=settings.pool_address,
                device=settings.device,
            ),
            snapshot=settings.run_directory / "endpoints.binpb",
        )
        follower = Follower(registry, repository, loader=loader)
        await serve(
            settings,
            [service(repository, regions)],
            tasks=[follower.follow, follower.report],
            ready=repository.ready.wait,
            on_stop=[repository.drain],
            transport=settings.transport,
            workers=settings.workers,
        )


if __name__ == "__main__":
    main(run, new_loop=uvloop.new_event_loop)

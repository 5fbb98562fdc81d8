"""`python -m lepton_inference`: reads the settings, puts the parts together, serves."""

from functools import partial

import onnxruntime as ort
import uvloop

from lepton.endpoint.v1 import endpoint_pb2
from lepton_common.machine import memory_limit_bytes
from lepton_common.objects import ObjectStore
from lepton_common.rpc import connect
from lepton_common.server import main, serve
from lepton_inference import cuda, memory
from lepton_inference.adapters.registry import RegistryClient
from lepton_inference.api import service
from lepton_inference.artifacts import Artifacts
from lepton_inference.batcher import BatchLimits
from lepton_inference.follower import Follower
from lepton_inference.gpu import Gpu
from lepton_inference.loader import Loader
from lepton_inference.memory import MemoryBudget
from lepton_inference.metrics import ServingMetrics
from lepton_inference.regions import Regions
from lepton_inference.repository import Repository
from lepton_inference.sessions import RuntimeOptions
from lepton_inference.settings import Settings


async def run() -> None:
    """Serves until told to stop."""
    memory.keep_little()
    settings = Settings()
    settings.run_directory.mkdir(parents=True, exist_ok=True)
    artifacts = Artifacts(ObjectStore(settings.object_store_url), settings.run_directory / "models")
    options = RuntimeOptions(
        settings.device,
        threads=settings.threads,
        require_gpu=settings.require_gpu,
        engines=settings.run_directory / "engines",
    )
    gpu = Gpu()
    host_memory, gpu_memory = _budgets(settings)
    loader = Loader(artifacts, options, gpu=gpu, host_memory=host_memory, gpu_memory=gpu_memory)
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
            tasks=[follower.follow, follower.report, partial(repository.follow, gpu)],
            ready=repository.ready.wait,
            lost=gpu.lost.wait,
            on_stop=[repository.drain],
            transport=settings.transport,
            workers=settings.workers,
        )


def _budgets(settings: Settings) -> tuple[MemoryBudget, MemoryBudget]:
    """What models may take of the host's memory, and of the GPU's."""
    host_bytes = settings.model_memory_bytes or memory.usual_budget(
        memory_limit_bytes(), memory.process_bytes()
    )
    gpu_bytes = settings.model_gpu_memory_bytes
    if settings.device != "cpu":
        ort.preload_dlls()
        gpu_bytes = gpu_bytes or cuda.memory_free() * 9 // 10
    return (
        MemoryBudget(host_bytes, in_use=memory.process_bytes),
        MemoryBudget(gpu_bytes, in_use=cuda.memory_in_use),
    )


if __name__ == "__main__":
    main(run, new_loop=uvloop.new_event_loop)

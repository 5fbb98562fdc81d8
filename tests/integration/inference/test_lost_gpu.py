"""A server whose GPU is lost, from the runtime's error to what probes and callers hear.

The GPU is a stand-in for the runtime's, at its border: a session of the CPU that says it is CUDA's, and fails
as CUDA's does. All else is the server's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import onnxruntime as ort
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_common.server import Server
from lepton_common.settings import ServerSettings
from lepton_inference.api import service
from lepton_inference.artifacts import Artifacts
from lepton_inference.batcher import BatchLimits
from lepton_inference.catalogue import Catalogue, Endpoint, Version
from lepton_inference.deployment import State
from lepton_inference.gpu import Gpu
from lepton_inference.loader import Loader
from lepton_inference.model import Model
from lepton_inference.repository import Repository
from lepton_inference.routing import Route
from lepton_inference.sessions import RuntimeOptions

Ask = Callable[..., pb.ModelInferRequest]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NO_MEMORY = (
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc(&p, size);"
)
POISONED = (
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; "
    "GPU=0 ; hostname=gpu-7 ; expr=cudaStreamSynchronize(static_cast<cudaStream_t>(stream_));"
)


class CudaSession:
    """A session that says that it runs on CUDA, and fails with `error` if there is one."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def run(self, *arguments: Any) -> Any:
        if self.error:
            raise self.error
        return self._session.run(*arguments)

    def run_with_iobinding(self, binding: ort.IOBinding) -> None:
        if self.error:
            raise self.error
        self._session.run_with_iobinding(binding)


class Pod:
    """A server in this process, with endpoint `gpu` on CUDA and endpoint `cpu`."""

    def __init__(self, folder: Path, content: bytes) -> None:
        store = ObjectStore(f"file://{folder}/objects")
        blob = put_blob(store, "models", content)
        version = Version("models/m/versions/1", digest=blob.sha256, files={"model.onnx": blob})
        routes = (Route(version.name, 1),)
        self.gpu = Gpu()
        self.session: CudaSession | None = None
        self._loader = Loader(Artifacts(store, folder / "cache"), RuntimeOptions(threads=1), gpu=self.gpu)
        self.repository = Repository(self._load, limits=BatchLimits())
        self.repository.apply(
            Catalogue((Endpoint("gpu", routes), Endpoint("cpu", routes)), {version.name: version})
        )
        self.server = Server(
            ServerSettings(),
            [service(self.repository)],
            tasks=[partial(self.repository.follow, self.gpu)],
            ready=self.repository.ready.wait,
            lost=self.gpu.lost.wait,
            transport="http2",
        )

    async def _load(self, version: Version, endpoint: Endpoint) -> Model:
        model = await self._loader.load(version, endpoint)
        if endpoint.name == "cpu":
            return model
        self.session = CudaSession(model.sessions[0])
        session: Any = self.session
        return Model(session, lambda: session, (), options=RuntimeOptions("cuda"), on_lost=self.gpu.lose)

    def fail_with(self, text: str) -> None:
        """Lets every run on CUDA fail from now on."""
        assert self.session is not None
        self.session.error = Fail(text)


@pytest.fixture
async def pod(tmp_path: Path, models: dict[str, Callable[..., bytes]]) -> AsyncIterator[Pod]:
    pod = Pod(tmp_path, models["scaler"](3))
    async with pod.server, asyncio.timeout(60):
        await pod.repository.ready.wait()
        while any(deployment.state is State.LOADING for _, deployment in pod.repository.deployments()):
            await asyncio.sleep(0.01)
        yield pod
    await pod.repository.drain()


async def refused(stub: pb_grpc.GRPCInferenceServiceAsyncStub, request: pb.ModelInferRequest) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ModelInfer(request)
    return caught.value.code()


async def test_a_server_that_has_lost_its_gpu_is_taken_out_and_started_anew(pod: Pod, ask: Ask) -> None:
    async with grpc.aio.insecure_channel(pod.server.address) as channel, asyncio.timeout(60):
        stub: pb_grpc.GRPCInferenceServiceAsyncStub = pb_grpc.GRPCInferenceServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        # Those of the readiness and the liveness probe.
        names = ("inference.GRPCInferenceService", "")
        watches = [health.Watch(health_pb2.HealthCheckRequest(service=name)) for name in names]
        assert (await watches[1].read()).status == SERVING
        while (await watches[0].read()).status != SERVING:
            continue
        assert [*(await stub.ModelInfer(ask("gpu", 1))).raw_output_contents]
        metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="gpu"))
        assert metadata.parameters["provider"].string_param == "CUDAExecutionProvider"
        # The truth about this stand-in: it says CUDA, and was given no node.
        assert metadata.parameters["provider_share"].double_param == 0

        pod.fail_with(NO_MEMORY)
        assert await refused(stub, ask("gpu", 1)) is grpc.StatusCode.INVALID_ARGUMENT
        assert (await stub.ServerReady(pb.ServerReadyRequest())).ready

        pod.fail_with(POISONED)
        assert await refused(stub, ask("gpu", 1)) is grpc.StatusCode.UNAVAILABLE
        assert [(await watch.read()).status for watch in watches] == [NOT_SERVING, NOT_SERVING]
        assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert not (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert not (await stub.ModelReady(pb.ModelReadyRequest(name="gpu"))).ready
        index = {m.name: m for m in (await stub.RepositoryIndex(pb.RepositoryIndexRequest())).models}
        assert (index["gpu"].state, index["gpu"].reason) == (
            "UNAVAILABLE",
            "CUDA failure 700: an illegal memory access was encountered",
        )

        # What the device says later changes nothing, and what needs none still answers whom it has.
        assert pod.session is not None
        pod.session.error = None
        assert await refused(stub, ask("gpu", 1)) is grpc.StatusCode.UNAVAILABLE
        assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert (await stub.ModelInfer(ask("cpu", 1))).model_name == "cpu"

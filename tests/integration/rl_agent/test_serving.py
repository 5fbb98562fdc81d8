"""Learned policies served by the inference service, like any model."""

# The types of asynchronous stubs exist for type checkers alone.
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from numpy.typing import NDArray

from inference import grpc_service_pb2, grpc_service_pb2_grpc
from lepton.endpoint.v1 import endpoint_pb2
from lepton.model.v1 import model_pb2
from lepton_common.manifests import put_blob
from lepton_common.objects import ObjectStore
from lepton_common.rpc import connect
from lepton_rl_agent.agent import AgentConfig, Dqn, QLearning, settle
from lepton_rl_agent.exploration import EpsilonGreedy, probabilities
from lepton_rl_agent.spaces import Box, Discrete, Spaces
from lepton_rl_agent.worker.export import signature, to_onnx
from lepton_rl_agent.worker.network import initial
from lepton_rl_agent.worker.policy import NetworkPolicy, Policy, TablePolicy

from ..service_process import running

if TYPE_CHECKING:
    from .conftest import Registry

RNG = np.random.default_rng(0)
TABLE = TablePolicy((RNG.normal(size=(16, 4)).astype(np.float32),))
NETWORK = NetworkPolicy(initial(RNG, [6, 16, 3]))
LAKE = settle("agents/lake", QLearning(), spaces=Spaces(Discrete(16), 4))
POLE = settle("agents/pole", Dqn(), spaces=Spaces(Box((2, 3)), 3), exploration=EpsilonGreedy(0.1))


@pytest.fixture
async def inference(
    tmp_path: Path, registry: Registry
) -> AsyncIterator[grpc_service_pb2_grpc.GRPCInferenceServiceAsyncStub]:
    """An inference server that follows the registry."""
    with running(tmp_path, "-m", "lepton_inference", LEPTON_REGISTRY_ADDRESS=registry.address) as process:
        async with connect(process.address) as channel:
            yield grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.mark.parametrize(
    ("policy", "config", "observations", "played"),
    [
        pytest.param(TABLE, LAKE, np.arange(16)[:, np.newaxis], np.arange(16), id="a table"),
        pytest.param(
            NETWORK,
            POLE,
            np.arange(12, dtype=np.float32).reshape(2, 2, 3),
            np.arange(12, dtype=np.float32).reshape(2, 2, 3),
            id="a network",
        ),
    ],
)
async def test_a_policy_is_served_with_its_action_step(
    policy: Policy,
    config: AgentConfig,
    observations: NDArray[Any],
    played: NDArray[Any],
    tmp_path: Path,
    registry: Registry,
    inference: grpc_service_pb2_grpc.GRPCInferenceServiceAsyncStub,
) -> None:
    await _serve(registry, ObjectStore(f"file://{tmp_path}/objects"), policy, config)
    ready = grpc_service_pb2.ModelReadyRequest(name="policy")
    async with asyncio.timeout(30):
        while not (await inference.ModelReady(ready)).ready:
            await asyncio.sleep(0.05)
    (takes,) = signature(config)["inputs"]
    response = await inference.ModelInfer(
        grpc_service_pb2.ModelInferRequest(
            model_name="policy",
            inputs=[
                grpc_service_pb2.ModelInferRequest.InferInputTensor(
                    name=takes["name"], datatype=takes["datatype"], shape=observations.shape
                )
            ],
            raw_input_contents=[observations.tobytes()],
        ),
        timeout=10,
    )
    found = {
        output.name: np.frombuffer(raw, np.float32 if output.datatype == "FP32" else np.int64).reshape(
            tuple(output.shape)
        )
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    values = policy.values(played)
    assert found["action_values"] == pytest.approx(values, abs=1e-5)
    assert found["probabilities"] == pytest.approx(probabilities(values, config.exploration), abs=1e-5)
    assert found["action"].tolist() == values.argmax(axis=1).tolist()


async def _serve(registry: Registry, objects: ObjectStore, policy: Policy, config: AgentConfig) -> None:
    blob = put_blob(objects, "models", to_onnx(policy, config))
    version = model_pb2.ModelVersion(
        format=model_pb2.MODEL_FORMAT_ONNX,
        files=[
            model_pb2.ArtifactFile(
                path="model.onnx", sha256=blob.sha256, size_bytes=blob.size_bytes, key=blob.key
            )
        ],
        signature=ParseDict(signature(config), model_pb2.Signature()),
    )
    made = await registry.models.CreateModelVersion(
        model_pb2.CreateModelVersionRequest(parent=config.model, model_version=version)
    )
    target = endpoint_pb2.TrafficTarget(model_version=made.model_version.name, weight=1)
    await registry.endpoints.CreateEndpoint(
        endpoint_pb2.CreateEndpointRequest(
            endpoint_id="policy", endpoint=endpoint_pb2.Endpoint(targets=[target])
        )
    )

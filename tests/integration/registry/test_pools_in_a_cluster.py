"""Pools, as a registry sees them that looks at the pods of a cluster; here the cluster is an API alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lepton.endpoint.v1 import endpoint_pb2 as pb
from lepton.endpoint.v1 import endpoint_pb2_grpc
from lepton_common.rpc import connect

from ..kubernetes_api import Api, Document, serving
from ..service_process import running
from .conftest import call


def pod(name: str, pool: str, *, product: str = "", **status: Any) -> Document:
    return {
        "metadata": {"name": name, "labels": {"lepton.dev/pool": pool}},
        "spec": {
            "nodeSelector": {"nvidia.com/gpu.product": product} if product else {},
            "containers": [
                {
                    "name": "server",
                    "image": "example/inference:1",
                    "resources": {"limits": {"nvidia.com/gpu": "1"} if product else {}},
                }
            ],
        },
        "status": {"phase": "Pending", **status},
    }


READY: Document = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
HOMELESS: Document = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available",
        }
    ]
}
BROKEN: Document = {
    "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]
}
RESTARTING: Document = {"phase": "Running", "containerStatuses": [{"restartCount": 3, "state": {}}]}

NODE = {
    "metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": "NVIDIA-L4"}},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "allocatable": {"nvidia.com/gpu": "1"},
    },
}


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """The API of a cluster with a node, and a `KUBECONFIG` that names it."""
    async with serving() as api:
        api.put("nodes", NODE)
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": api.url}}],
            "users": [{"name": "u", "user": {}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield api


async def pools(folder: Path, *names: str) -> dict[str, pb.Pool]:
    """What a registry says that looks at the cluster, once it has seen these pools."""
    with running(folder, "-m", "lepton_registry", LEPTON_NAMESPACE="lepton") as registry:
        async with connect(registry.address) as channel, asyncio.timeout(60):
            stub = endpoint_pb2_grpc.EndpointServiceStub(channel)
            found: dict[str, pb.Pool] = {}
            while not found.keys() >= {*names}:
                await asyncio.sleep(0.05)
                response = await call(stub.ListPools, pb.ListPoolsRequest())
                found = {pool.name: pool for pool in response.pools}
            return found


async def test_a_pool_says_what_its_servers_wait_for(api: Api, tmp_path: Path) -> None:
    for each in (
        pod("a", "default", **READY),
        pod("b", "default", **READY),
        pod("c", "large", product="NVIDIA-B200", **HOMELESS),
        pod("d", "broken", **BROKEN),
        pod("e", "broken", **RESTARTING),
        # It was evicted, and has a successor.
        pod("f", "default", phase="Failed"),
    ):
        api.put("pods", each)
    event = {
        "metadata": {"name": "v"},
        "involvedObject": {"name": "lepton-inference-greedy-7c9f8d"},
        "message": "exceeded quota: gpus",
        "lastTimestamp": datetime.now(UTC).isoformat(),
    }
    api.put("events", event)

    found = await pools(tmp_path, "default", "large", "broken", "greedy")

    counts = {name: (pool.ready, pool.wanted) for name, pool in found.items()}
    assert counts == {"default": (2, 2), "large": (0, 1), "broken": (0, 2), "greedy": (0, 0)}
    assert found["default"].message == ""
    assert found["large"].message == (
        "1 server has no place: it asks for 1 nvidia.com/gpu on nodes with "
        "nvidia.com/gpu.product=NVIDIA-B200; the cluster has no such node that is ready. "
        "The scheduler says: 0/1 nodes are available"
    )
    assert found["broken"].message == (
        "1 server cannot start: its container of the image example/inference:1 cannot be started: "
        "no such image; 1 server ends again and again: its log says why"
    )
    assert found["greedy"].message == "the cluster refuses its servers: exceeded quota: gpus"

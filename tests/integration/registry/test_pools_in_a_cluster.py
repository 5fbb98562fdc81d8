"""Pools, as a registry sees them that looks at the pods of a cluster; here the cluster is an API alone."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lepton.endpoint.v1 import endpoint_pb2 as pb
from lepton.endpoint.v1 import endpoint_pb2_grpc
from lepton_common.rpc import connect

from .conftest import call

Document = dict[str, Any]


def pod(name: str, pool: str, *, product: str = "", **status: Any) -> Document:
    return {
        "metadata": {"name": name, "labels": {"lepton.dev/pool": pool}, "resourceVersion": "1"},
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


class Api:
    """As much of a cluster's API as lists pods, events and nodes; watches say nothing."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.objects: dict[str, list[Document]] = {"nodes": [NODE], "pods": [], "events": []}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await self.over.wait()
            return response
        items = self.objects[request.path.rpartition("/")[2]]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """The API, and a `KUBECONFIG` that names it."""
    api = Api()
    application = web.Application()
    application.router.add_get("/{path:.*}", api.answer)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://{host}:{port}"}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield api
    api.over.set()
    await runner.cleanup()


@pytest.fixture
def process() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """What is put in here ends with the test."""
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for popen in running:
        popen.kill()
        popen.wait()


async def pools(tmp_path: Path, process: list["subprocess.Popen[bytes]"]) -> dict[str, pb.Pool]:
    """What a registry says that looks at the cluster."""
    address_file = tmp_path / "address"
    environment = {
        "LEPTON_DATABASE_URL": f"sqlite:///{tmp_path}/records.db",
        "LEPTON_OBJECT_STORE_URL": f"file://{tmp_path}/objects",
        "LEPTON_ADDRESS_FILE": str(address_file),
        "LEPTON_NAMESPACE": "lepton",
    }
    process.append(
        subprocess.Popen([sys.executable, "-m", "lepton_registry"], env={**os.environ, **environment})
    )
    deadline = time.monotonic() + 60
    while not address_file.exists():
        assert time.monotonic() < deadline and process[0].poll() is None, "it is not ready"
        await asyncio.sleep(0.02)
    async with connect(address_file.read_text()) as channel:
        stub = endpoint_pb2_grpc.EndpointServiceStub(channel)
        while not (found := (await call(stub.ListPools, pb.ListPoolsRequest())).pools):
            assert time.monotonic() < deadline, "it sees no pools"
            await asyncio.sleep(0.05)
    return {each.name: each for each in found}


async def test_a_pool_says_what_its_servers_wait_for(
    api: Api, tmp_path: Path, process: list["subprocess.Popen[bytes]"]
) -> None:
    now = datetime.now(UTC).isoformat()
    api.objects["pods"] = [
        pod("a", "default", **READY),
        pod("b", "default", **READY),
        pod("c", "large", product="NVIDIA-B200", **HOMELESS),
        pod("d", "broken", **BROKEN),
        pod("e", "broken", **RESTARTING),
        # It was evicted, and has a successor.
        pod("f", "default", phase="Failed"),
    ]
    api.objects["events"] = [
        {
            "metadata": {"name": "v", "resourceVersion": "1"},
            "involvedObject": {"name": "lepton-inference-greedy-7c9f8d"},
            "message": "exceeded quota: gpus",
            "lastTimestamp": now,
        }
    ]

    found = await pools(tmp_path, process)

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

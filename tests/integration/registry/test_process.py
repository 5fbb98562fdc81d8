"""The registry as a process: it is small, and loses nothing when it is killed."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from lepton.endpoint.v1 import endpoint_pb2 as pb
from lepton.endpoint.v1 import endpoint_pb2_grpc
from lepton.model.v1 import model_pb2_grpc
from lepton.model.v1.model_pb2 import ModelVersion
from lepton_common.objects import ObjectStore
from lepton_common.rpc import connect

from ..service_process import running
from .conftest import Registry, call

MOST_BYTES = 200 << 20


async def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    versions: list[ModelVersion] = []
    endpoints: list[pb.Endpoint] = []
    for turn in range(2):
        with running(tmp_path, "-m", "lepton_registry") as process:
            async with connect(process.address) as channel:
                registry = Registry(
                    model_pb2_grpc.ModelServiceStub(channel),
                    endpoint_pb2_grpc.EndpointServiceStub(channel),
                    ObjectStore(f"file://{tmp_path}/objects"),
                )
                for version in versions:
                    assert await registry.version(request_id=version.name) == version
                for _ in range(5):
                    number = len(versions) + 1
                    name = f"models/digits/versions/{number}"
                    versions.append(await registry.version(request_id=name))
                    assert versions[-1].name == name
                request = pb.CreateEndpointRequest(
                    endpoint_id=f"e{turn}",
                    endpoint=pb.Endpoint(targets=[pb.TrafficTarget(model_version=name, weight=1)]),
                )
                endpoints.append((await call(registry.endpoints.CreateEndpoint, request)).endpoint)
                found = await call(registry.endpoints.ListEndpoints, pb.ListEndpointsRequest())
                assert [*found.endpoints] == endpoints
                process.kill()


def test_it_is_small_and_ends_when_told(tmp_path: Path) -> None:
    with running(tmp_path, "-m", "lepton_registry") as process:
        assert psutil.Process(process.popen.pid).memory_info().rss <= MOST_BYTES
        process.popen.terminate()
        assert process.popen.wait(30) == 0


def test_a_wrong_database_url_is_told_in_one_line(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "LEPTON_DATABASE_URL": "nonsense",
        "LEPTON_OBJECT_STORE_URL": f"file://{tmp_path}",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "lepton_registry"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "the database's URL is not usable" in ended.stderr.splitlines()[-1]

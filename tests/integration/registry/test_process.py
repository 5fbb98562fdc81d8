"""The registry as a process: it is small, and loses nothing when it is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from lepton.endpoint.v1 import endpoint_pb2 as pb
from lepton.endpoint.v1 import endpoint_pb2_grpc
from lepton.model.v1 import model_pb2_grpc
from lepton.model.v1.model_pb2 import ModelVersion
from lepton_common.objects import ObjectStore
from lepton_common.rpc import connect

from .conftest import Registry, call

MOST_BYTES = 200 << 20


@dataclass(frozen=True)
class Running:
    """A registry that runs as a process."""

    process: "subprocess.Popen[bytes]"
    address: str


@contextmanager
def process(database_url: str, folder: Path) -> Iterator[Running]:
    """Start a registry, wait until it is ready, and kill it in the end."""
    address_file = folder / "address"
    address_file.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "LEPTON_DATABASE_URL": database_url,
        "LEPTON_OBJECT_STORE_URL": f"file://{folder}/objects",
        "LEPTON_ADDRESS_FILE": str(address_file),
        "LEPTON_LISTEN": "127.0.0.1:0",
    }
    start = time.monotonic()
    with subprocess.Popen([sys.executable, "-m", "lepton_registry"], env=environment) as popen:
        try:
            while not address_file.exists():
                assert popen.poll() is None, "the registry ended"
                assert time.monotonic() - start < 60, "the registry is not ready"
                time.sleep(0.01)
            yield Running(popen, address_file.read_text())
        finally:
            popen.kill()


async def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    database_url = f"sqlite://{tmp_path}/records.db"
    versions: list[ModelVersion] = []
    endpoints: list[pb.Endpoint] = []
    for turn in range(2):
        with process(database_url, tmp_path) as running:
            async with connect(running.address) as channel:
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
                running.process.send_signal(signal.SIGKILL)
                running.process.wait()


def test_it_is_small_and_ends_when_told(tmp_path: Path) -> None:
    with process(f"sqlite://{tmp_path}/records.db", tmp_path) as running:
        assert psutil.Process(running.process.pid).memory_info().rss <= MOST_BYTES
        running.process.terminate()
        assert running.process.wait(30) == 0


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

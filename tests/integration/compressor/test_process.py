"""The compressor as it is started, `python -m lepton_compressor`, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime
import psutil
import pytest

from lepton.compression.v1 import compression_pb2_grpc
from lepton.dataset.v1 import dataset_pb2
from lepton.job.v1 import job_pb2
from lepton.model.v1 import model_pb2
from lepton_common.jobs.processes import stop_all
from lepton_common.manifests import Blob, get_blob
from lepton_common.objects import ObjectStore
from lepton_common.rpc import connect
from lepton_learn.recipe import Mlp

from ..service_process import ServiceProcess, running
from .conftest import DATASET, Compressor
from .sources import digits, train_source

if TYPE_CHECKING:
    from .conftest import Neighbours

REST_BYTES = 200 * 1024 * 1024


def started(folder: Path, neighbours: Neighbours) -> AbstractContextManager[ServiceProcess]:
    """Start a compressor over the files in a folder."""
    return running(
        folder,
        *("-m", "lepton_compressor"),
        LEPTON_DATA_INGEST_ADDRESS=neighbours.addresses["datasets"],
        LEPTON_REGISTRY_ADDRESS=neighbours.addresses["registry"],
    )


@asynccontextmanager
async def client(process: ServiceProcess, objects: ObjectStore) -> AsyncIterator[Compressor]:
    """Talk to a running compressor."""
    async with connect(process.address) as channel:
        yield Compressor(compression_pb2_grpc.CompressionServiceStub(channel), objects)


async def test_it_is_small(tmp_path: Path, neighbours: Neighbours) -> None:
    with started(tmp_path, neighbours) as process:
        assert psutil.Process(process.popen.pid).memory_info().rss < REST_BYTES


def test_what_only_workers_need_is_not_loaded() -> None:
    listed = subprocess.run(
        [sys.executable, "-c", "import sys, lepton_compressor.__main__; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"tensorflow", "keras", "onnx", "onnxruntime", "numpy"}.isdisjoint(listed.stdout.split())


# TensorFlow is imported here and by two workers, each of which takes ten seconds of a core.
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
async def test_a_job_ends_well_when_the_service_and_then_its_worker_are_killed(
    tmp_path: Path, neighbours: Neighbours
) -> None:
    objects = ObjectStore(f"file://{tmp_path}/objects")
    source = train_source(objects, digits(), Mlp(hidden_units=(16,)), epochs=1)
    reference = source.save_manifest()
    neighbours.datasets.versions[DATASET] = dataset_pb2.DatasetVersion(
        name=DATASET, digest=reference["sha256"], manifest=reference["key"]
    )
    await neighbours.register(files=[model_pb2.ArtifactFile(**file) for file in source.files])
    try:
        with started(tmp_path, neighbours) as process:
            async with client(process, objects) as compressor:
                created = await compressor.create(max_accuracy_drop=0.05)
                await compressor.at_work(created)
            (worker,) = psutil.Process(process.popen.pid).children()
            process.kill()
        with started(tmp_path, neighbours) as process:
            async with client(process, objects) as compressor:
                assert (await compressor.get(created)).status.attempt == 1
                assert worker.is_running()
                worker.kill()
                seen = [job async for job in compressor.follow(created, seconds=300)]
    finally:
        await asyncio.to_thread(stop_all, tmp_path / "run", grace_seconds=0)

    ended = seen[-1]
    assert ended.uid == created.uid
    assert (ended.status.state, ended.status.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2)
    assert [candidate.name for candidate in ended.candidates] == ["fp32", "fp16", "int8"]
    (compressed, _) = await neighbours.versions()
    assert compressed.name == ended.model_version
    (file,) = (each for each in compressed.files if each.path == "model.onnx")
    model = get_blob(objects, Blob(file.key, file.sha256, file.size_bytes))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": source.test["image"]})[0].shape == (len(source.test["image"]), 10)


@pytest.mark.parametrize("missing", ["LEPTON_DATABASE_URL", "LEPTON_REGISTRY_ADDRESS"])
async def test_a_missing_setting_is_named(missing: str) -> None:
    environment = {
        "LEPTON_DATABASE_URL": "sqlite:////tmp/unused.db",
        "LEPTON_OBJECT_STORE_URL": "file:///tmp/unused",
        "LEPTON_RUN_DIRECTORY": "/tmp/unused",
        "LEPTON_DATA_INGEST_ADDRESS": "127.0.0.1:1",
        "LEPTON_REGISTRY_ADDRESS": "127.0.0.1:1",
    }
    del environment[missing]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "lepton_compressor"),
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert missing in errors.decode()

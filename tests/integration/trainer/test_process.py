"""The trainer as it is started: `python -m lepton_trainer`."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from lepton.job.v1 import job_pb2
from lepton.training.v1 import training_pb2, training_pb2_grpc
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.objects import ObjectStore
from lepton_common.rpc import connect

from ..service_process import ServiceProcess, running

if TYPE_CHECKING:
    from .conftest import Neighbours

REST_BYTES = 200 * 1024 * 1024
INPUT_BYTES = 7 * 1024 * 1024


def started(folder: Path, neighbours: Neighbours) -> AbstractContextManager[ServiceProcess]:
    """Start a trainer over the files in a folder."""
    return running(
        folder,
        *("-m", "lepton_trainer"),
        LEPTON_DATA_INGEST_ADDRESS=neighbours.addresses["datasets"],
        LEPTON_REGISTRY_ADDRESS=neighbours.addresses["models"],
        LEPTON_INPUT_MEMORY_BYTES=str(INPUT_BYTES),
    )


async def test_it_is_small(tmp_path: Path, neighbours: Neighbours) -> None:
    with started(tmp_path, neighbours) as process:
        assert psutil.Process(process.popen.pid).memory_info().rss < REST_BYTES


async def test_what_was_accepted_is_there_after_a_kill(tmp_path: Path, neighbours: Neighbours) -> None:
    name = "trainingJobs/digits"
    # The workers have nothing to read, so the job ends with an error once it is launched.
    with started(tmp_path, neighbours) as process:
        async with connect(process.address) as channel:
            stub = training_pb2_grpc.TrainingServiceStub(channel)
            spec = training_pb2.TrainingSpec(
                dataset_version="datasets/digits/versions/2", model="models/digits", mlp=training_pb2.Mlp()
            )
            request = training_pb2.CreateTrainingJobRequest(
                training_job_id="digits", training_job=training_pb2.TrainingJob(spec=spec)
            )
            created = (await stub.CreateTrainingJob(request)).training_job
        process.kill()
    with started(tmp_path, neighbours) as process:
        async with connect(process.address) as channel:
            stub = training_pb2_grpc.TrainingServiceStub(channel)
            watched = stub.WatchTrainingJob(training_pb2.WatchTrainingJobRequest(name=name), timeout=60)
            seen = [response.training_job async for response in watched]
    assert {job.uid for job in seen} == {created.uid}
    assert seen[-1].status.state == job_pb2.JOB_STATE_FAILED
    assert "digits/manifests" in seen[-1].status.message
    told = files.read_spec(ObjectStore(f"file://{tmp_path}/objects"), life.key(seen[-1]))
    assert told["input_memory_bytes"] == INPUT_BYTES


@pytest.mark.parametrize("missing", ["LEPTON_DATABASE_URL", "LEPTON_RUN_DIRECTORY"])
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
        *("-m", "lepton_trainer"),
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert missing in errors.decode()

"""The trainer is killed while it searches: no trial is lost, none is made twice, the study ends right."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from lepton.job.v1 import job_pb2
from lepton.training.v1 import study_pb2, study_pb2_grpc, training_pb2, training_pb2_grpc
from lepton_common.jobs.processes import stop_all
from lepton_common.rpc import connect

from ..service_process import ServiceProcess, running
from .conftest import DIGITS

if TYPE_CHECKING:
    from .conftest import Neighbours

PROGRAMS = Path(__file__).parent / "programs"
TRIALS = 8
KILLS = 5
NAME = "studies/digits"


def trainer(folder: Path, neighbours: Neighbours) -> AbstractContextManager[ServiceProcess]:
    """Start a trainer over the files in a folder."""
    return running(
        folder,
        *(str(PROGRAMS / "trainer_of.py"), "known_optimum"),
        LEPTON_DATA_INGEST_ADDRESS=neighbours.addresses["datasets"],
        LEPTON_REGISTRY_ADDRESS=neighbours.addresses["models"],
        LEPTON_MAX_RUNNING_JOBS="2",
        PYTHONPATH=os.pathsep.join([str(PROGRAMS), os.environ.get("PYTHONPATH", "")]),
    )


@asynccontextmanager
async def stubs(
    address: str,
) -> AsyncIterator[tuple[study_pb2_grpc.StudyServiceAsyncStub, training_pb2_grpc.TrainingServiceAsyncStub]]:
    async with connect(address) as channel:
        yield study_pb2_grpc.StudyServiceStub(channel), training_pb2_grpc.TrainingServiceStub(channel)


def request(id: str) -> study_pb2.CreateStudyRequest:
    spec = {
        "training": {"dataset_version": DIGITS.name, "model": "models/digits", "mlp": {}, "max_epochs": 9},
        "parameters": [
            {"path": "optimizer.learning_rate", "real": {"min": 1e-4, "max": 1, "log": True}},
            {"path": "batch_size", "integer": {"min": 16, "max": 128, "step": 16}},
        ],
        "trials": TRIALS,
        "seed": 11,
    }
    study = study_pb2.Study(spec=ParseDict(spec, study_pb2.StudySpec()))
    return study_pb2.CreateStudyRequest(study_id=id, study=study, request_id=id)


def asked(study: study_pb2.Study) -> list[dict[str, object]]:
    return [
        {path: MessageToDict(value) for path, value in trial.parameters.items()} for trial in study.trials
    ]


@pytest.mark.timeout(300)
async def test_a_search_that_is_killed_again_and_again_ends_like_one_that_is_not(
    tmp_path: Path, neighbours: Neighbours
) -> None:
    chance = random.Random(3)
    try:
        seen = 0
        for _ in range(KILLS):
            with trainer(tmp_path, neighbours) as process:
                async with stubs(process.address) as (studies, _):
                    # Created again by a client that did not hear the answer.
                    await studies.CreateStudy(request("digits"), timeout=30)
                    watched = studies.WatchStudy(study_pb2.WatchStudyRequest(name=NAME), timeout=120)
                    async for response in watched:
                        if len(response.study.trials) > seen:
                            seen = len(response.study.trials)
                            break
                    await asyncio.sleep(chance.uniform(0, 1))
                process.kill()
        assert 0 < seen < TRIALS, "it was killed before its end"

        with trainer(tmp_path, neighbours) as process:
            async with stubs(process.address) as (studies, training):
                watched = studies.WatchStudy(study_pb2.WatchStudyRequest(name=NAME), timeout=200)
                study = [response.study async for response in watched][-1]
                jobs = [
                    *(await training.ListTrainingJobs(training_pb2.ListTrainingJobsRequest())).training_jobs
                ]
                # The same without kills.
                await studies.CreateStudy(request("again"), timeout=30)
                again = study_pb2.WatchStudyRequest(name="studies/again")
                calm = [response.study async for response in studies.WatchStudy(again, timeout=200)][-1]
    finally:
        await asyncio.to_thread(stop_all, tmp_path / "run", grace_seconds=0)

    assert study.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert {trial.state for trial in study.trials} == {study_pb2.TRIAL_STATE_SUCCEEDED}
    assert sorted(job.name for job in jobs) == [f"trainingJobs/digits-{n}" for n in range(1, TRIALS + 1)]
    assert sorted(trial.training_job for trial in study.trials) == sorted(job.name for job in jobs)
    assert asked(study) == asked(calm)
    assert [trial.value for trial in study.trials] == [trial.value for trial in calm.trials]
    assert study.best_trial == calm.best_trial
    assert len(neighbours.models.versions) == 2

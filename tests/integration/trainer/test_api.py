"""Training jobs over gRPC: a real server, real workers, real neighbours."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from lepton.job.v1 import job_pb2
from lepton.model.v1 import model_pb2
from lepton.training.v1 import training_pb2
from lepton_common.errors import (
    AlreadyExists,
    DependencyUnavailable,
    EtagMismatch,
    InvalidField,
    InvalidModel,
    LeptonError,
    NotFound,
    UnsafeModel,
    WrongState,
)
from lepton_common.rpc import named_errors
from lepton_common.status import from_status

from .programs.quick_worker import BAD, SLOW

if TYPE_CHECKING:
    from .conftest import Neighbours, Trainer

LAMBDA = json.dumps(
    {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"layers": [{"module": "keras.layers", "class_name": "Lambda", "config": {}}]},
    }
)


async def test_a_job_ends_with_a_registered_model(trainer: Trainer, neighbours: Neighbours) -> None:
    job = await trainer.create()
    assert job.status.state == job_pb2.JOB_STATE_QUEUED
    seen = await trainer.watch(job)
    ended = seen[-1]
    assert [one.status.state for one in seen] == sorted(one.status.state for one in seen)
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert ended.model_version == "models/digits/versions/1"
    assert [series.name for series in ended.status.metrics] == ["loss"]

    (version,) = neighbours.models.versions.values()
    assert version.format == model_pb2.MODEL_FORMAT_KERAS
    assert [file.path for file in version.files] == ["model.keras"]
    assert list(version.signature.inputs[0].shape) == [-1, 8, 8, 1]
    assert version.metrics == {"accuracy": 0.97, "manifest_is_known": 1.0}
    assert list(version.parents) == ["trainingJobs/digits"]
    assert [(node.name, node.digest, list(node.parents)) for node in version.lineage] == [
        ("trainingJobs/digits", "", ["datasets/digits/versions/2"]),
        ("datasets/digits/versions/2", "cd" * 32, ["digits.npz"]),
        ("digits.npz", "ef" * 32, []),
    ]


async def test_what_the_workers_wrote_can_be_read(trainer: Trainer) -> None:
    job = await trainer.create()
    await trainer.watch(job)
    request = training_pb2.ReadTrainingJobLogsRequest(name=job.name)
    logs = [each async for each in trainer.stub.ReadTrainingJobLogs(request)]
    assert [log.worker for log in logs] == ["attempt 1, worker 0"]


async def test_what_the_server_decides_shows_in_the_job(trainer: Trainer) -> None:
    job = await trainer.create(dataset_version="datasets/digits/versions/latest", labels={"team": "a"})
    assert job.spec.dataset_version == "datasets/digits/versions/2"
    assert (job.spec.batch_size, list(job.spec.mlp.hidden_units)) == (64, [128])
    assert dict(job.labels) == {"team": "a"}
    assert job.uid and job.etag


async def test_an_error_of_the_work_is_the_jobs_error(trainer: Trainer) -> None:
    ended = (await trainer.watch(await trainer.create(seed=BAD)))[-1]
    assert ended.status.state == job_pb2.JOB_STATE_FAILED
    assert isinstance(from_status(ended.status.error), InvalidModel)
    assert ended.model_version == ""


async def test_a_training_begins_with_a_version_that_was_trained_before(
    trainer: Trainer, neighbours: Neighbours
) -> None:
    first = (await trainer.watch(await trainer.create("first")))[-1]
    base = training_pb2.BaseModel(model_version="models/digits/versions/latest", freeze=True)
    job = await trainer.create("second", base_model=base)
    assert job.spec.base_model.model_version == first.model_version == "models/digits/versions/1"
    second = (await trainer.watch(job))[-1]
    assert second.status.state == job_pb2.JOB_STATE_SUCCEEDED

    version = next(one for one in neighbours.models.versions.values() if one.name == second.model_version)
    assert version.metrics["files_of_the_base"] == 1.0
    assert [(node.name, node.kind, list(node.parents)) for node in version.lineage] == [
        (
            "trainingJobs/second",
            model_pb2.LINEAGE_KIND_TRAINING_JOB,
            ["datasets/digits/versions/2", "models/digits/versions/1"],
        ),
        ("datasets/digits/versions/2", model_pb2.LINEAGE_KIND_DATASET_VERSION, ["digits.npz"]),
        ("digits.npz", model_pb2.LINEAGE_KIND_SOURCE_FILE, []),
        ("models/digits/versions/1", model_pb2.LINEAGE_KIND_MODEL_VERSION, ["trainingJobs/first"]),
        ("trainingJobs/first", model_pb2.LINEAGE_KIND_TRAINING_JOB, ["datasets/digits/versions/2"]),
    ]


async def test_a_training_cannot_begin_with_an_exported_model(
    trainer: Trainer, neighbours: Neighbours
) -> None:
    exported = model_pb2.ModelVersion(name="models/small/versions/1", format=model_pb2.MODEL_FORMAT_ONNX)
    neighbours.models.versions["r"] = exported
    with pytest.raises(WrongState, match="models/small/versions/1 is an ONNX model"):
        await trainer.create(base_model=training_pb2.BaseModel(model_version=exported.name))


REFUSED: list[tuple[dict[str, Any], type[LeptonError], str]] = [
    ({"dataset_version": "datasets/nope/versions/1"}, NotFound, "datasets/nope/versions/1"),
    ({"dataset_version": "datasets/digits/versions/3"}, WrongState, "still being built"),
    ({"dataset_version": "datasets/../versions/1"}, InvalidField, "dataset_version"),
    ({"model": "models/Digits"}, InvalidField, "model"),
    (
        {"base_model": training_pb2.BaseModel(model_version="models/nope/versions/1")},
        NotFound,
        "models/nope/versions/1",
    ),
    ({"base_model": training_pb2.BaseModel(model_version="models/x")}, InvalidField, "model_version"),
    ({"keras_config": training_pb2.KerasConfig(json=LAMBDA)}, UnsafeModel, "Lambda"),
    ({"keras_config": training_pb2.KerasConfig(json="[]")}, InvalidModel, "not a model"),
    ({"batch_size": -1}, InvalidField, "batch_size"),
    ({"mlp": training_pb2.Mlp(dropout=float("nan"))}, InvalidField, "dropout"),
    ({"resnet": training_pb2.ResNet(depth=21)}, InvalidField, "8, 14, 20"),
    ({"mlp": None}, InvalidField, "architecture"),
    ({"workers": 5}, InvalidField, "workers"),
]


@pytest.mark.parametrize(
    ("spec", "error", "words"), REFUSED, ids=[f"{words} {error.__name__}" for _, error, words in REFUSED]
)
async def test_a_job_that_cannot_end_well_is_refused(
    spec: dict[str, Any], error: type[LeptonError], words: str, trainer: Trainer
) -> None:
    with pytest.raises(error, match=words):
        await trainer.create(**spec)
    with pytest.raises(NotFound):
        await trainer.get(training_pb2.TrainingJob(name="trainingJobs/digits"))


@pytest.mark.parametrize("id", ["", "../digits", "Digits", "a" * 64])
async def test_an_id_that_is_no_id_is_refused(id: str, trainer: Trainer) -> None:
    with pytest.raises(InvalidField, match="training_job_id"):
        await trainer.create(id)


async def test_a_retry_gets_the_same_job_even_when_the_dataset_is_gone(
    trainer: Trainer, neighbours: Neighbours
) -> None:
    job = await trainer.create(request_id="r-1")
    neighbours.datasets.versions.clear()
    again = await trainer.create(request_id="r-1")
    assert again.uid == job.uid
    with pytest.raises(AlreadyExists):
        await trainer.create(request_id="r-2")


async def test_without_the_dataset_service_a_job_is_not_accepted_and_it_is_said_why(
    trainer: Trainer, neighbours: Neighbours
) -> None:
    await neighbours.stop("datasets")
    with pytest.raises(
        DependencyUnavailable, match="the dataset service does not answer: make sure"
    ) as refused:
        await trainer.create()
    assert refused.value.retry_after_seconds is not None
    await neighbours.start("datasets")
    assert (await trainer.create()).status.state == job_pb2.JOB_STATE_QUEUED


async def test_a_trained_model_waits_for_the_model_service(trainer: Trainer, neighbours: Neighbours) -> None:
    await neighbours.stop("models")
    job = await trainer.create()
    request = training_pb2.WatchTrainingJobRequest(name=job.name)
    messages: list[str] = []
    with named_errors():
        async for seen in trainer.stub.WatchTrainingJob(request, timeout=60):
            if seen.training_job.status.message and not messages:
                messages.append(seen.training_job.status.message)
                # The lineage was written down when the job was launched.
                await neighbours.stop("datasets")
                await neighbours.start("models")
    ended = await trainer.get(job)
    assert messages == ["waiting: the registry does not answer: make sure that it runs, then try again"]
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert ended.status.attempt == 1


async def test_a_job_is_cancelled_and_deleted(trainer: Trainer) -> None:
    job = await trainer.create(seed=SLOW)
    await trainer.at_work(job)
    with pytest.raises(WrongState, match="has not ended"):
        await trainer.delete(job)
    assert (await trainer.cancel(job)).status.state == job_pb2.JOB_STATE_CANCELLING
    ended = (await trainer.watch(job))[-1]
    assert ended.status.state == job_pb2.JOB_STATE_CANCELLED
    assert (await trainer.cancel(job)) == ended
    with pytest.raises(EtagMismatch):
        await trainer.delete(job, etag="1")
    await trainer.delete(job, etag=ended.etag)
    with pytest.raises(NotFound):
        await trainer.get(job)
    assert trainer.objects.list("jobs") == []


async def test_a_job_is_suspended_and_resumed(trainer: Trainer) -> None:
    job = await trainer.create(seed=SLOW)
    at_work = await trainer.at_work(job)
    with pytest.raises(EtagMismatch):
        await trainer.suspend(job, etag=job.etag)
    assert (await trainer.suspend(job, etag=(await trainer.get(at_work)).etag)).status.state in (
        job_pb2.JOB_STATE_SUSPENDING,
        job_pb2.JOB_STATE_SUSPENDED,
    )
    while (suspended := await trainer.suspend(job)).status.state != job_pb2.JOB_STATE_SUSPENDED:
        await asyncio.sleep(0.02)
    assert await trainer.suspend(job) == suspended
    with pytest.raises(WrongState, match="has not ended"):
        await trainer.delete(job)
    with pytest.raises(EtagMismatch):
        await trainer.resume(job, etag=at_work.etag)
    assert (await trainer.resume(job, etag=suspended.etag)).status.state == job_pb2.JOB_STATE_QUEUED
    resumed = await trainer.at_work(job)
    assert (await trainer.resume(job)).status.state == resumed.status.state == job_pb2.JOB_STATE_RUNNING
    await trainer.cancel(job)
    await trainer.watch(job)
    for call in (trainer.suspend, trainer.resume):
        with pytest.raises(WrongState, match="there is nothing to"):
            await call(job)
    with pytest.raises(NotFound):
        await trainer.suspend(training_pb2.TrainingJob(name="trainingJobs/nope"))


async def test_jobs_are_listed_newest_first_by_label_and_without_metrics(trainer: Trainer) -> None:
    for number in range(3):
        await trainer.create(f"job-{number}", labels={"parity": str(number % 2)})
    await trainer.watch(training_pb2.TrainingJob(name="trainingJobs/job-0"))
    request = training_pb2.ListTrainingJobsRequest(page_size=2)
    first = await trainer.stub.ListTrainingJobs(request)
    second = await trainer.stub.ListTrainingJobs(
        training_pb2.ListTrainingJobsRequest(page_size=2, page_token=first.next_page_token)
    )
    jobs = [*first.training_jobs, *second.training_jobs]
    assert [job.name for job in jobs] == ["trainingJobs/job-2", "trainingJobs/job-1", "trainingJobs/job-0"]
    assert not jobs[-1].status.metrics
    odd = await trainer.stub.ListTrainingJobs(
        training_pb2.ListTrainingJobsRequest(label_filter={"parity": "1"})
    )
    assert [job.name for job in odd.training_jobs] == ["trainingJobs/job-1"]

"""Compression jobs over gRPC: a real server, real workers, a real registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lepton.compression.v1 import compression_pb2
from lepton.compression.v1.compression_pb2 import (
    PRECISION_FP16,
    PRECISION_FP32,
    PRECISION_INT8,
    PRECISION_UNSPECIFIED,
)
from lepton.job.v1 import job_pb2
from lepton.model.v1 import model_pb2, model_pb2_grpc
from lepton_common.errors import (
    AlreadyExists,
    DependencyUnavailable,
    EtagMismatch,
    InvalidField,
    LeptonError,
    NoCandidate,
    NotFound,
    WrongState,
)
from lepton_common.rpc import connect
from lepton_common.status import from_status

from .conftest import artifact_file

if TYPE_CHECKING:
    from .conftest import Compressor, Neighbours

AWAY = "does not answer: make sure that it runs, then try again"


async def test_a_job_ends_with_a_registered_model(compressor: Compressor, neighbours: Neighbours) -> None:
    await neighbours.register()
    job = await compressor.create()
    assert job.status.state == job_pb2.JOB_STATE_QUEUED
    seen = await compressor.watch(job)
    ended = seen[-1]
    assert [one.status.state for one in seen] == sorted(one.status.state for one in seen)
    assert ended.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert ended.model_version == "models/digits/versions/2"
    assert [series.name for series in ended.status.metrics] == ["size"]
    assert [(each.name, each.selected, each.size_bytes) for each in ended.candidates] == [
        ("fp32", False, 90),
        ("int8", True, 30),
    ]

    version = (await neighbours.versions())[0]
    assert version.name == ended.model_version
    assert version.format == model_pb2.MODEL_FORMAT_ONNX
    assert [file.path for file in version.files] == ["model.onnx"]
    assert list(version.signature.inputs[0].shape) == [-1, 8, 8, 1]
    assert version.metrics == {"accuracy": 0.98, "manifest_is_known": 1.0, "source_bytes": 9.0}


async def test_the_lineage_leads_back_to_the_source_files(
    compressor: Compressor, neighbours: Neighbours
) -> None:
    source = await neighbours.register()
    ended = (await compressor.watch(await compressor.create()))[-1]
    async with connect(neighbours.addresses["registry"]) as channel:
        request = model_pb2.GetLineageRequest(name=ended.model_version)
        nodes = (await model_pb2_grpc.ModelServiceStub(channel).GetLineage(request, timeout=20)).nodes
    assert [(node.name, list(node.parents)) for node in nodes] == [
        ("models/digits/versions/2", ["compressionJobs/small"]),
        ("compressionJobs/small", ["models/digits/versions/1"]),
        ("models/digits/versions/1", ["trainingJobs/digits"]),
        ("trainingJobs/digits", ["datasets/digits/versions/2"]),
        ("datasets/digits/versions/2", ["digits.npz"]),
        ("digits.npz", []),
    ]
    assert nodes[2].digest == source.digest


async def test_what_the_server_decides_shows_in_the_job(
    compressor: Compressor, neighbours: Neighbours
) -> None:
    for _ in range(2):
        await neighbours.register()
    job = await compressor.create(model_version="models/digits/versions/latest", labels={"team": "a"})
    assert job.spec.model_version == "models/digits/versions/2"
    assert job.spec.model == "models/digits"
    assert list(job.spec.precisions) == [PRECISION_FP16, PRECISION_INT8]
    assert job.spec.calibration_records == 256
    assert job.spec.max_accuracy_drop == 0
    assert dict(job.labels) == {"team": "a"}
    assert job.uid and job.etag


@pytest.mark.parametrize(
    ("asked", "shown"),
    [([PRECISION_INT8, PRECISION_INT8], [PRECISION_INT8]), ([PRECISION_FP32], [PRECISION_FP32])],
    ids=["one twice", "the plain export alone"],
)
async def test_what_is_asked_for_stays(
    asked: list[compression_pb2.Precision.ValueType],
    shown: list[compression_pb2.Precision.ValueType],
    compressor: Compressor,
    neighbours: Neighbours,
) -> None:
    await neighbours.register()
    job = await compressor.create(
        model="models/small-digits", precisions=asked, calibration_records=16, max_accuracy_drop=0.005
    )
    assert list(job.spec.precisions) == shown
    assert (job.spec.calibration_records, job.spec.max_accuracy_drop) == (16, 0.005)
    assert (await compressor.watch(job))[-1].model_version == "models/small-digits/versions/1"


async def test_an_error_of_the_work_is_the_jobs_error(compressor: Compressor, neighbours: Neighbours) -> None:
    await neighbours.register()
    ended = (await compressor.watch(await compressor.create(model="models/bad")))[-1]
    assert ended.status.state == job_pb2.JOB_STATE_FAILED
    assert isinstance(from_status(ended.status.error), NoCandidate)
    assert ended.model_version == ""
    assert len(await neighbours.versions()) == 1


REFUSED: list[tuple[dict[str, Any], type[LeptonError], str]] = [
    ({"model_version": "models/nope/versions/1"}, NotFound, "models/nope"),
    ({"model_version": "models/digits/versions/9"}, NotFound, "models/digits/versions/9"),
    ({"model_version": "models/nope/versions/latest"}, NotFound, "models/nope"),
    ({"model_version": "models/compressed/versions/1"}, WrongState, "is an ONNX model; compress the KERAS"),
    ({"model_version": "models/foundling/versions/1"}, WrongState, "names no dataset version"),
    ({"model_version": "models/../versions/1"}, InvalidField, "model_version"),
    ({"model_version": ""}, InvalidField, "model_version"),
    ({"model": "models/Digits"}, InvalidField, "model"),
    ({"precisions": [PRECISION_INT8, PRECISION_UNSPECIFIED]}, InvalidField, "precisions"),
    ({"precisions": [77]}, InvalidField, "precisions"),
    ({"max_accuracy_drop": -0.1}, InvalidField, "max_accuracy_drop"),
    ({"max_accuracy_drop": float("nan")}, InvalidField, "max_accuracy_drop"),
    ({"calibration_records": -1}, InvalidField, "calibration_records"),
]


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    REFUSED,
    ids=[f"{field} {value}" for spec, _, _ in REFUSED for field, value in spec.items()],
)
async def test_a_job_that_cannot_end_well_is_refused(
    spec: dict[str, Any],
    error: type[LeptonError],
    words: str,
    compressor: Compressor,
    neighbours: Neighbours,
) -> None:
    await neighbours.register()
    await neighbours.register(
        "models/compressed", format=model_pb2.MODEL_FORMAT_ONNX, files=[artifact_file("model.onnx")]
    )
    await neighbours.register("models/foundling", lineage=[], parents=[])
    with pytest.raises(error) as refused:
        await compressor.create(**spec)
    fields = [violation.field for violation in refused.value.violations]
    assert words in " ".join([refused.value.message, *fields])
    with pytest.raises(NotFound):
        await compressor.get(compression_pb2.CompressionJob(name="compressionJobs/small"))


@pytest.mark.parametrize("id", ["", "../small", "Small", "a" * 64])
async def test_an_id_that_is_no_id_is_refused(id: str, compressor: Compressor) -> None:
    with pytest.raises(InvalidField, match="compression_job_id"):
        await compressor.create(id)


async def test_a_retry_gets_the_same_job_even_when_the_source_is_out_of_reach(
    compressor: Compressor, neighbours: Neighbours
) -> None:
    await neighbours.register()
    job = await compressor.create(request_id="r-1")
    await compressor.watch(job)
    await neighbours.stop("registry")
    again = await compressor.create(request_id="r-1")
    assert again.uid == job.uid
    with pytest.raises(AlreadyExists):
        await compressor.create(request_id="r-2")


async def test_without_the_registry_a_job_is_not_accepted_and_it_is_said_why(
    compressor: Compressor, neighbours: Neighbours
) -> None:
    await neighbours.register()
    await neighbours.stop("registry")
    with pytest.raises(DependencyUnavailable, match=f"the registry {AWAY}") as refused:
        await compressor.create()
    assert refused.value.retry_after_seconds is not None
    await neighbours.start("registry")
    assert (await compressor.create()).status.state == job_pb2.JOB_STATE_QUEUED


async def test_a_job_waits_for_the_dataset_service(compressor: Compressor, neighbours: Neighbours) -> None:
    await neighbours.register()
    await neighbours.stop("datasets")
    messages: list[str] = []
    async for seen in compressor.follow(await compressor.create()):
        if seen.status.message and not messages:
            messages.append(seen.status.message)
            await neighbours.start("datasets")
    assert messages == [f"waiting: the dataset service {AWAY}"]
    assert (seen.status.state, seen.status.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 1)


async def test_a_job_whose_dataset_version_is_gone_fails(
    compressor: Compressor, neighbours: Neighbours
) -> None:
    await neighbours.register()
    neighbours.datasets.versions.clear()
    ended = (await compressor.watch(await compressor.create()))[-1]
    assert ended.status.state == job_pb2.JOB_STATE_FAILED
    assert isinstance(from_status(ended.status.error), NotFound)


async def test_a_compressed_model_waits_for_the_registry(
    compressor: Compressor, neighbours: Neighbours
) -> None:
    await neighbours.register()
    job = await compressor.create(model="models/slow")
    await compressor.at_work(job)
    await neighbours.stop("registry")
    compressor.objects.put("go-on", b"")
    messages: list[str] = []
    async for seen in compressor.follow(job):
        if seen.status.message and not messages:
            messages.append(seen.status.message)
            # The lineage was written down when the job was launched.
            await neighbours.stop("datasets")
            await neighbours.start("registry")
    assert messages == [f"waiting: the registry {AWAY}"]
    assert (seen.status.state, seen.status.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 1)
    assert [version.name for version in await neighbours.versions("models/slow")] == [seen.model_version]


async def test_a_job_is_cancelled_and_deleted(compressor: Compressor, neighbours: Neighbours) -> None:
    await neighbours.register()
    job = await compressor.create(model="models/slow")
    await compressor.at_work(job)
    with pytest.raises(WrongState, match="has not ended"):
        await compressor.delete(job)
    assert (await compressor.cancel(job)).status.state == job_pb2.JOB_STATE_CANCELLING
    ended = (await compressor.watch(job))[-1]
    assert ended.status.state == job_pb2.JOB_STATE_CANCELLED
    assert (await compressor.cancel(job)) == ended
    with pytest.raises(EtagMismatch):
        await compressor.delete(job, etag="1")
    await compressor.delete(job, etag=ended.etag)
    with pytest.raises(NotFound):
        await compressor.get(job)
    assert compressor.objects.list("jobs") == []
    assert len(await neighbours.versions()) == 1


async def test_jobs_are_listed_newest_first_by_label_and_without_metrics(
    compressor: Compressor, neighbours: Neighbours
) -> None:
    await neighbours.register()
    for number in range(3):
        await compressor.create(f"job-{number}", labels={"parity": str(number % 2)})
    await compressor.watch(compression_pb2.CompressionJob(name="compressionJobs/job-0"))
    request = compression_pb2.ListCompressionJobsRequest(page_size=2)
    first = await compressor.stub.ListCompressionJobs(request)
    second = await compressor.stub.ListCompressionJobs(
        compression_pb2.ListCompressionJobsRequest(page_size=2, page_token=first.next_page_token)
    )
    jobs = [*first.compression_jobs, *second.compression_jobs]
    assert [job.name for job in jobs] == [f"compressionJobs/job-{number}" for number in (2, 1, 0)]
    assert not jobs[-1].status.metrics
    assert jobs[-1].candidates
    odd = await compressor.stub.ListCompressionJobs(
        compression_pb2.ListCompressionJobsRequest(label_filter={"parity": "1"})
    )
    assert [job.name for job in odd.compression_jobs] == ["compressionJobs/job-1"]

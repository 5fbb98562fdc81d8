"""Versions are built as jobs: numbered, watched, cancelled, immutable, and gone when deleted."""

import asyncio
import os
import signal
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton.job.v1 import job_pb2
from lepton_common.errors import InUse, InvalidField, NotFound, WrongState
from lepton_learn.manifest import Split, load_manifest
from lepton_learn.reading import read_split


def table(rows: int, classes: int = 2) -> bytes:
    """A CSV file."""
    lines = (b"%d.5,%d\n" % (number, number % classes) for number in range(rows))
    return b"x,label\n" + b"".join(lines)


@pytest.fixture(scope="module")
def iris() -> bytes:
    """150 irises as CSV."""
    found = load_iris()
    rows = [
        ",".join([*map(str, measures), found.target_names[species]])
        for measures, species in zip(found.data, found.target, strict=True)
    ]
    return "\n".join([",".join([*found.feature_names, "species"]), *rows]).encode()


async def test_a_version_says_all_about_its_records(client: Any, ingest: Any, iris: bytes) -> None:
    dataset = await client.dataset()
    upload = await client.upload(dataset, iris, "iris.csv")
    queued = await client.create(dataset, upload, schema=pb.Schema(label="species"))
    assert (queued.name, queued.status.state) == (f"{dataset}/versions/1", job_pb2.JOB_STATE_QUEUED)
    version = await client.ended(queued.name)
    assert version.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert version.status.progress.done == 150
    assert version.counts.train + version.counts.validation + version.counts.test == 150
    assert [column.name for column in version.schema.columns] == [
        "sepal length (cm)",
        "sepal width (cm)",
        "petal length (cm)",
        "petal width (cm)",
        "species",
    ]
    assert version.schema.label == "species"
    assert version.schema.columns[4].transform == pb.TRANSFORM_INDEX
    assert sum(version.statistics[4].frequencies.values()) == version.counts.train
    assert [(file.upload, file.filename) for file in version.source_files] == [(upload, "iris.csv")]
    manifest = load_manifest(ingest.objects, version.manifest, sha256=version.digest)
    assert manifest.records(Split.TRAIN) == version.counts.train
    assert version.size_bytes == sum(
        shard.blob.size_bytes for split in Split for shard in manifest.shards(split)
    )
    assert set(read_split(ingest.objects, manifest, Split.TEST)["species"]) <= set(manifest.transform.classes)


async def test_the_same_sources_and_spec_give_the_same_digest(client: Any) -> None:
    dataset = await client.dataset()
    upload = await client.upload(dataset, table(500))
    specs: list[dict[str, Any]] = [{}, {}, {"fractions": pb.SplitFractions(test=0.5)}]
    queued = [await client.create(dataset, upload, **spec) for spec in specs]
    first, second, other = [await client.ended(version.name) for version in queued]
    assert [version.name for version in queued] == [f"{dataset}/versions/{n}" for n in (1, 2, 3)]
    assert first.digest == second.digest != other.digest
    latest = pb.GetDatasetVersionRequest(name=f"{dataset}/versions/latest")
    assert (await client.stub.GetDatasetVersion(latest)).dataset_version == other
    listed = await client.stub.ListDatasetVersions(pb.ListDatasetVersionsRequest(parent=dataset))
    assert [version.name for version in listed.dataset_versions] == [
        version.name for version in (other, second, first)
    ]
    assert first.statistics
    assert all(version.digest and not version.statistics for version in listed.dataset_versions)


async def test_deleted_versions_leave_only_what_others_need(client: Any, ingest: Any) -> None:
    dataset = await client.dataset()
    upload = await client.upload(dataset, table(500))
    specs: list[dict[str, Any]] = [{}, {}, {"fractions": pb.SplitFractions(test=0.5)}]
    queued = [await client.create(dataset, upload, **spec) for spec in specs]
    first, again, other = [await client.ended(version.name) for version in queued]
    for doomed in (first, other):
        await client.stub.DeleteDatasetVersion(pb.DeleteDatasetVersionRequest(name=doomed.name))
    manifest = load_manifest(ingest.objects, again.manifest, sha256=again.digest)
    needed = {shard.blob.key for split in Split for shard in manifest.shards(split)}
    assert {found.key for found in ingest.objects.list(f"{dataset}/blobs")} == needed
    assert [found.key for found in ingest.objects.list(f"{dataset}/manifests")] == [again.manifest]
    new = await client.build(dataset, upload)
    assert (new.name, new.digest) == (f"{dataset}/versions/4", again.digest)


async def test_a_retried_creation_gives_the_same_version(client: Any) -> None:
    dataset = await client.dataset()
    upload = await client.upload(dataset, table(10))
    names = {(await client.create(dataset, upload, request_id="one")).name for _ in range(3)}
    assert names == {f"{dataset}/versions/1"}
    await client.ended(f"{dataset}/versions/1")


async def test_a_dataset_without_a_built_version_has_no_latest(client: Any) -> None:
    dataset = await client.dataset()
    with pytest.raises(NotFound, match="has no version that was built"):
        await client.call(
            client.stub.GetDatasetVersion(pb.GetDatasetVersionRequest(name=f"{dataset}/versions/latest"))
        )


async def test_the_datasets_schema_counts_where_the_version_brings_none(client: Any) -> None:
    schema = pb.Schema(
        columns=[
            pb.Column(name="x", type=pb.COLUMN_TYPE_NUMBER, transform=pb.TRANSFORM_IDENTITY),
            pb.Column(name="label", type=pb.COLUMN_TYPE_CATEGORY, values=["0", "1"]),
        ]
    )
    dataset = await client.dataset(schema)
    upload = await client.upload(dataset, table(100))
    version = await client.build(dataset, upload)
    assert version.schema.columns[0].transform == pb.TRANSFORM_IDENTITY
    assert list(version.schema.columns[1].values) == ["0", "1"]
    own = await client.build(dataset, upload, schema=pb.Schema(label="x"))
    assert own.schema.label == "x"


async def test_time_series_are_cut_into_windows(client: Any) -> None:
    rows = b"".join(b"2024-%02d-%02d,%d\n" % (1 + day // 28, 1 + day % 28, day % 7) for day in range(28))
    rows += b"".join(b"2024-01-%02d,%d\n" % (day + 1, day % 7) for day in range(28, 31))
    series = pb.Series(time_column="day", window=8, horizon=2)
    dataset = await client.dataset(pb.Schema(label="visits", series=series))
    version = await client.build(dataset, await client.upload(dataset, b"day,visits\n" + rows))
    assert [(column.name, [*column.shape]) for column in version.schema.columns] == [
        ("history", [8, 1]),
        ("visits", [2]),
    ]
    assert version.schema.series.season == version.series.season == 7
    assert [*version.schema.series.quantiles] == [0.1, 0.5, 0.9]
    assert (version.series.rows, version.series.step, version.series.gaps) == (31, "1 day", 0)
    assert [(span.split, span.first, span.last) for span in version.series.spans] == [
        (pb.SPLIT_TRAIN, "2024-01-09", "2024-01-25"),
        (pb.SPLIT_VALIDATION, "2024-01-26", "2024-01-28"),
        (pb.SPLIT_TEST, "2024-01-29", "2024-01-31"),
    ]


async def test_splits_and_columns_of_sources_are_kept(client: Any, ingest: Any) -> None:
    dataset = await client.dataset()
    images = np.arange(300 * 16, dtype=np.uint8).reshape(300, 4, 4)
    labels = (np.arange(300) % 3).astype(np.uint8)
    sources = []
    for split, part in ((pb.SPLIT_UNSPECIFIED, slice(0, 200)), (pb.SPLIT_TEST, slice(200, 300))):
        for column, values in (("picture", images[part]), ("said", labels[part])):
            data = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()
            upload = await client.upload(dataset, data, f"{column}.idx")
            sources.append(pb.Source(upload=upload, format=pb.FORMAT_IDX, split=split, column=column))
    version = await client.build(dataset, *sources, schema=pb.Schema(label="said"))
    assert version.counts.test == 100
    assert version.counts.validation > 0
    manifest = load_manifest(ingest.objects, version.manifest, sha256=version.digest)
    test = read_split(ingest.objects, manifest, Split.TEST)
    np.testing.assert_array_equal(test["picture"][..., 0], images[200:])
    np.testing.assert_array_equal(test["said"], labels[200:])


async def test_a_version_that_is_being_built_holds_its_upload_and_can_be_cancelled(client: Any) -> None:
    dataset = await client.dataset()
    upload = await client.upload(dataset, table(1000))
    version = await client.create(dataset, upload)
    with pytest.raises(InUse, match="is being built from it"):
        await client.call(client.stub.DeleteUpload(pb.DeleteUploadRequest(name=upload)))
    with pytest.raises(WrongState, match="has not ended: cancel it first"):
        await client.call(client.stub.DeleteDatasetVersion(pb.DeleteDatasetVersionRequest(name=version.name)))
    await client.stub.CancelDatasetVersion(pb.CancelDatasetVersionRequest(name=version.name))
    assert (await client.ended(version.name)).status.state == job_pb2.JOB_STATE_CANCELLED
    again = await client.stub.CancelDatasetVersion(pb.CancelDatasetVersionRequest(name=version.name))
    assert again.dataset_version.status.state == job_pb2.JOB_STATE_CANCELLED
    await client.stub.DeleteUpload(pb.DeleteUploadRequest(name=upload))


async def test_a_version_lives_on_when_its_uploads_are_deleted(client: Any, ingest: Any) -> None:
    dataset = await client.dataset()
    upload = await client.upload(dataset, table(100))
    version = await client.build(dataset, upload)
    await client.stub.DeleteUpload(pb.DeleteUploadRequest(name=upload))
    manifest = load_manifest(ingest.objects, version.manifest, sha256=version.digest)
    assert len(read_split(ingest.objects, manifest, Split.TRAIN)["x"]) == version.counts.train


async def test_only_complete_uploads_of_the_dataset_are_sources(client: Any) -> None:
    dataset, other = await client.dataset(), await client.dataset()
    foreign = await client.upload(other, table(10))
    with pytest.raises(InvalidField, match=f"must be an upload of '{dataset}'"):
        await client.create(dataset, foreign)
    announced = await client.announce(dataset, table(10))
    with pytest.raises(WrongState, match="is not complete: it has 0 of"):
        await client.create(dataset, announced.name)
    with pytest.raises(NotFound):
        await client.create(dataset, f"{dataset}/uploads/99")
    with pytest.raises(NotFound, match="'datasets/none' does not exist"):
        await client.create("datasets/none", "datasets/none/uploads/1")
    with pytest.raises(InvalidField):
        await client.create(dataset)
    with pytest.raises(InvalidField, match="their sum must be below 1"):
        await client.create(
            dataset, foreign.replace(other, dataset), fractions=pb.SplitFractions(test=0.6, validation=0.5)
        )


async def test_killing_worker_and_service_loses_nothing(own_ingest: Any, own_client: Any) -> None:
    dataset = await own_client.dataset()
    upload = await own_client.upload(dataset, table(600_000))
    version = await own_client.create(dataset, upload)
    async with asyncio.timeout(60):
        while not (workers := own_ingest.workers()):
            await asyncio.sleep(0.02)
    # Some way into the work, which takes several seconds: what is told of it comes later than it happens.
    await asyncio.sleep(1)
    [worker] = workers
    os.kill(worker, signal.SIGKILL)
    await asyncio.to_thread(own_ingest.kill)
    await asyncio.to_thread(own_ingest.start)
    built = await own_client.ended(version.name)
    assert built.status.state == job_pb2.JOB_STATE_SUCCEEDED
    assert built.status.attempt > 1
    assert built.counts.train + built.counts.validation + built.counts.test == 600_000


async def test_a_privacy_budget_is_the_datasets_and_every_versions(client: Any) -> None:
    budget = pb.PrivacyBudget(epsilon=3, delta=1e-5)
    request = pb.CreateDatasetRequest(dataset_id="private", dataset=pb.Dataset(privacy_budget=budget))
    made = (await client.stub.CreateDataset(request)).dataset
    assert made.privacy_budget == budget
    upload = await client.upload(made.name, table(20))
    version = await client.create(made.name, upload)
    assert version.privacy_budget == budget
    assert (await client.ended(version.name)).privacy_budget == budget


@pytest.mark.parametrize(
    "budget", [pb.PrivacyBudget(), pb.PrivacyBudget(epsilon=1, delta=1)], ids=["no epsilon", "any delta"]
)
async def test_a_budget_that_is_none_is_refused(client: Any, budget: pb.PrivacyBudget) -> None:
    request = pb.CreateDatasetRequest(dataset_id="nothing", dataset=pb.Dataset(privacy_budget=budget))
    with pytest.raises(InvalidField, match="privacy_budget"):
        await client.call(client.stub.CreateDataset(request))

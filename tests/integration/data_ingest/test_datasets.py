"""Datasets are made, found and removed with everything below them."""

from typing import Any

import pytest

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton_common.errors import AlreadyExists, EtagMismatch, InvalidField, NotFound, WrongState

TABLE = b"x,label\n" + b"".join(b"%d,%d\n" % (n, n % 2) for n in range(100))


async def test_a_dataset_keeps_what_it_is_told(client: Any) -> None:
    told = pb.Dataset(
        name="ignored",
        labels={"team": "a"},
        description="numbers",
        schema=pb.Schema(
            columns=[
                pb.Column(name="x", type=pb.COLUMN_TYPE_NUMBER, minimum=0),
                pb.Column(name="label", type=pb.COLUMN_TYPE_INTEGER),
            ],
            label="label",
        ),
    )
    request = pb.CreateDatasetRequest(dataset_id="kept", dataset=told)
    made = (await client.stub.CreateDataset(request)).dataset
    assert (made.name, made.description, made.schema, dict(made.labels)) == (
        "datasets/kept",
        "numbers",
        told.schema,
        {"team": "a"},
    )
    found = await client.stub.GetDataset(pb.GetDatasetRequest(name="datasets/kept"))
    assert found.dataset == made
    await client.stub.DeleteDataset(pb.DeleteDatasetRequest(name="datasets/kept"))


async def test_a_dataset_is_made_once(client: Any) -> None:
    request = pb.CreateDatasetRequest(dataset_id="once", request_id="r1")
    uids = {(await client.stub.CreateDataset(request)).dataset.uid for _ in range(2)}
    assert len(uids) == 1
    with pytest.raises(AlreadyExists):
        await client.call(client.stub.CreateDataset(pb.CreateDatasetRequest(dataset_id="once")))


async def test_datasets_are_listed_by_name_and_label(client: Any) -> None:
    for name in ("list-b", "list-a", "list-c"):
        labels = {"kind": "listed", "last": str(name == "list-c")}
        request = pb.CreateDatasetRequest(dataset_id=name, dataset=pb.Dataset(labels=labels))
        await client.stub.CreateDataset(request)
    names, token = [], ""
    while True:
        listing = pb.ListDatasetsRequest(page_size=1, page_token=token, label_filter={"kind": "listed"})
        page = await client.stub.ListDatasets(listing)
        names += [dataset.name for dataset in page.datasets]
        token = page.next_page_token
        if not token:
            break
    assert names == ["datasets/list-a", "datasets/list-b", "datasets/list-c"]
    last = pb.ListDatasetsRequest(label_filter={"kind": "listed", "last": "True"})
    assert len((await client.stub.ListDatasets(last)).datasets) == 1


async def test_a_dataset_goes_with_all_it_holds(client: Any, ingest: Any) -> None:
    dataset = await client.dataset()
    version = await client.build(dataset, await client.upload(dataset, TABLE, "t.csv"))
    assert ingest.objects.list(dataset)
    assert ingest.objects.list(f"jobs/{version.name}")
    await client.stub.DeleteDataset(pb.DeleteDatasetRequest(name=dataset))
    assert ingest.objects.list(dataset) == []
    assert ingest.objects.list(f"jobs/{version.name}") == []
    for call, request in (
        (client.stub.GetDataset, pb.GetDatasetRequest(name=dataset)),
        (client.stub.GetUpload, pb.GetUploadRequest(name=f"{dataset}/uploads/1")),
        (client.stub.GetDatasetVersion, pb.GetDatasetVersionRequest(name=version.name)),
        (client.stub.ListUploads, pb.ListUploadsRequest(parent=dataset)),
        (client.stub.ListDatasetVersions, pb.ListDatasetVersionsRequest(parent=dataset)),
        (client.stub.DeleteDataset, pb.DeleteDatasetRequest(name=dataset)),
    ):
        with pytest.raises(NotFound):
            await client.call(call(request))


async def test_a_dataset_of_the_same_name_starts_empty(client: Any) -> None:
    request = pb.CreateDatasetRequest(dataset_id="again")
    await client.stub.CreateDataset(request)
    await client.upload("datasets/again", b"abc")
    await client.stub.DeleteDataset(pb.DeleteDatasetRequest(name="datasets/again"))
    await client.stub.CreateDataset(request)
    page = await client.stub.ListUploads(pb.ListUploadsRequest(parent="datasets/again"))
    assert len(page.uploads) == 0
    assert not (await client.announce("datasets/again", b"abc")).complete


async def test_a_dataset_stays_while_a_version_is_being_built(client: Any) -> None:
    dataset = await client.dataset()
    version = await client.create(dataset, await client.upload(dataset, TABLE, "t.csv"))
    with pytest.raises(WrongState, match="is being built: cancel it first, or wait"):
        await client.call(client.stub.DeleteDataset(pb.DeleteDatasetRequest(name=dataset)))
    await client.stub.CancelDatasetVersion(pb.CancelDatasetVersionRequest(name=version.name))
    await client.ended(version.name)
    await client.stub.DeleteDataset(pb.DeleteDatasetRequest(name=dataset))


async def test_a_dataset_that_changed_is_not_deleted(client: Any) -> None:
    dataset = await client.dataset()
    with pytest.raises(EtagMismatch):
        await client.call(client.stub.DeleteDataset(pb.DeleteDatasetRequest(name=dataset, etag="other")))


NUMBER = pb.Column(name="x", type=pb.COLUMN_TYPE_NUMBER)
LABEL = pb.Column(name="y", type=pb.COLUMN_TYPE_CATEGORY)


@pytest.mark.parametrize(
    ("dataset_id", "schema", "field"),
    [
        ("Upper", None, "dataset_id"),
        ("../x", None, "dataset_id"),
        ("", None, "dataset_id"),
        ("good", pb.Schema(columns=[NUMBER, LABEL], label="z"), "schema.label"),
        ("good", pb.Schema(columns=[NUMBER, NUMBER], label="x"), "schema.columns[1].name"),
        ("good", pb.Schema(columns=[pb.Column(name="a\tb"), LABEL]), "dataset.schema.columns[0].name"),
        (
            "good",
            pb.Schema(columns=[pb.Column(name="x", shape=[-1]), LABEL]),
            "dataset.schema.columns[0].shape[0]",
        ),
        (
            "good",
            pb.Schema(
                columns=[
                    pb.Column(name="x", type=pb.COLUMN_TYPE_NUMBER, transform=pb.TRANSFORM_ONE_HOT),
                    LABEL,
                ],
                label="y",
            ),
            "schema.columns[0].transform",
        ),
    ],
    ids=["upper", "path", "empty", "label", "twice", "name", "shape", "transform"],
)
async def test_a_dataset_that_cannot_be_right_is_refused(
    client: Any, dataset_id: str, schema: pb.Schema | None, field: str
) -> None:
    request = pb.CreateDatasetRequest(dataset_id=dataset_id, dataset=pb.Dataset(schema=schema))
    with pytest.raises(InvalidField) as caught:
        await client.call(client.stub.CreateDataset(request))
    assert [violation.field for violation in caught.value.violations] == [field]

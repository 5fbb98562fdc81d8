"""Models and their versions, asked for over gRPC."""

import asyncio
import hashlib
from typing import Any

import pytest

from lepton.endpoint.v1.endpoint_pb2 import (
    CreateEndpointRequest,
    DeleteEndpointRequest,
    Endpoint,
    TrafficTarget,
)
from lepton.model.v1 import model_pb2 as pb
from lepton_common.errors import AlreadyExists, EtagMismatch, InUse, InvalidField, NotFound

from .conftest import Registry, Replicas, call


async def create(registry: Registry, model_id: str, request_id: str = "", **fields: Any) -> pb.Model:
    request = pb.CreateModelRequest(model_id=model_id, model=pb.Model(**fields), request_id=request_id)
    return (await call(registry.models.CreateModel, request)).model


async def get_version(registry: Registry, name: str) -> pb.ModelVersion:
    request = pb.GetModelVersionRequest(name=name)
    return (await call(registry.models.GetModelVersion, request)).model_version


async def serve(registry: Registry, version: str) -> None:
    request = CreateEndpointRequest(
        endpoint_id="live", endpoint=Endpoint(targets=[TrafficTarget(model_version=version, weight=1)])
    )
    await call(registry.endpoints.CreateEndpoint, request)


async def test_a_model_is_made_read_listed_and_deleted(registry: Registry) -> None:
    made = await create(registry, "digits", description="reads digits", uid="mine", name="models/other")
    assert (made.name, made.description) == ("models/digits", "reads digits")
    assert made.uid not in ("", "mine")
    assert (await call(registry.models.GetModel, pb.GetModelRequest(name=made.name))).model == made
    assert [*(await call(registry.models.ListModels, pb.ListModelsRequest())).models] == [made]
    await call(registry.models.DeleteModel, pb.DeleteModelRequest(name=made.name, etag=made.etag))
    with pytest.raises(NotFound, match="models/digits"):
        await call(registry.models.GetModel, pb.GetModelRequest(name=made.name))


async def test_a_model_is_made_once_however_often_the_request_comes(registry: Registry) -> None:
    made = await asyncio.gather(*(create(registry, "digits", "r1") for _ in range(5)))
    assert len({model.uid for model in made}) == 1
    with pytest.raises(AlreadyExists):
        await create(registry, "digits", "r2")


async def test_listings_come_in_pages_and_by_label(registry: Registry) -> None:
    for model_id, team in (("c", "x"), ("a", "x"), ("d", "y"), ("b", "x")):
        model = pb.Model(labels={"team": team})
        await call(registry.models.CreateModel, pb.CreateModelRequest(model_id=model_id, model=model))
    names, token = [], ""
    for _ in range(2):
        request = pb.ListModelsRequest(page_size=2, page_token=token, label_filter={"team": "x"})
        response = await call(registry.models.ListModels, request)
        names.append([model.name for model in response.models])
        token = response.next_page_token
    assert (names, token) == ([["models/a", "models/b"], ["models/c"]], "")


async def test_a_version_makes_its_model_and_counts_on(registry: Registry) -> None:
    first, second = await registry.version(), await registry.version()
    assert [first.name, second.name] == ["models/digits/versions/1", "models/digits/versions/2"]
    assert (await call(registry.models.GetModel, pb.GetModelRequest(name="models/digits"))).model.uid
    assert await get_version(registry, first.name) == first
    assert await get_version(registry, "models/digits/versions/latest") == second


async def test_a_version_is_identified_by_its_files(registry: Registry) -> None:
    version = await registry.version(digest="mine", size_bytes=7, metrics={"accuracy": 0.5})
    assert version.digest == hashlib.sha256(f"model.onnx {'a' * 64} 10\n".encode()).hexdigest()
    assert version.size_bytes == 10
    assert dict(version.metrics) == {"accuracy": 0.5}


async def test_a_version_is_registered_once_however_often_the_request_comes(registry: Registry) -> None:
    versions = await asyncio.gather(*(registry.version(request_id=f"r{turn % 2}") for turn in range(8)))
    assert {version.name for version in versions} == {f"models/digits/versions/{n}" for n in (1, 2)}


async def test_replicas_number_versions_together(replicas: Replicas) -> None:
    one, two = await replicas(), await replicas()
    versions = await asyncio.gather(*(registry.version() for registry in [one, two] * 10))
    assert {version.name for version in versions} == {f"models/digits/versions/{n}" for n in range(1, 21)}


async def test_versions_are_listed_newest_first_without_their_lineage(registry: Registry) -> None:
    node = pb.LineageNode(name="a.csv", kind=pb.LINEAGE_KIND_SOURCE_FILE)
    for _ in range(11):
        await registry.version(lineage=[node])
    await registry.version("models/other")
    request = pb.ListModelVersionsRequest(parent="models/digits", page_size=10)
    page = await call(registry.models.ListModelVersions, request)
    assert [version.name.rsplit("/")[-1] for version in page.model_versions] == [
        str(number) for number in range(11, 1, -1)
    ]
    assert not any(version.lineage for version in page.model_versions)
    request.page_token = page.next_page_token
    rest = await call(registry.models.ListModelVersions, request)
    assert [version.name for version in rest.model_versions] == ["models/digits/versions/1"]
    assert (await get_version(registry, "models/digits/versions/1")).lineage == [node]


async def test_latest_is_the_newest_that_is_left(registry: Registry) -> None:
    await registry.version()
    await registry.version()
    latest = pb.DeleteModelVersionRequest(name="models/digits/versions/latest")
    await call(registry.models.DeleteModelVersion, latest)
    assert (await get_version(registry, latest.name)).name == "models/digits/versions/1"
    await call(registry.models.DeleteModelVersion, latest)
    with pytest.raises(NotFound, match="models/digits"):
        await get_version(registry, latest.name)
    assert (await registry.version()).name == "models/digits/versions/3"


async def test_a_version_that_is_served_stays(registry: Registry) -> None:
    served, other = await registry.version(), await registry.version()
    await serve(registry, served.name)
    for name in (served.name, "models/digits"):
        with pytest.raises(InUse, match="endpoints/live") as refusal:
            if "versions" in name:
                await call(registry.models.DeleteModelVersion, pb.DeleteModelVersionRequest(name=name))
            else:
                await call(registry.models.DeleteModel, pb.DeleteModelRequest(name=name))
        assert refusal.value.metadata["endpoint"] == "endpoints/live"
    assert await get_version(registry, other.name) == other
    await call(registry.models.DeleteModelVersion, pb.DeleteModelVersionRequest(name=other.name))
    await call(registry.endpoints.DeleteEndpoint, DeleteEndpointRequest(name="endpoints/live"))
    await call(registry.models.DeleteModel, pb.DeleteModelRequest(name="models/digits"))
    with pytest.raises(NotFound):
        await get_version(registry, served.name)


async def test_serving_and_deleting_a_version_at_once_never_leaves_an_endpoint_without_it(
    replicas: Replicas,
) -> None:
    one, two = await replicas(), await replicas()
    for _ in range(8):
        version = await one.version()
        deletion = call(two.models.DeleteModelVersion, pb.DeleteModelVersionRequest(name=version.name))
        served, deleted = await asyncio.gather(serve(one, version.name), deletion, return_exceptions=True)
        if served is None:
            assert isinstance(deleted, InUse)
            await call(two.endpoints.DeleteEndpoint, DeleteEndpointRequest(name="endpoints/live"))
        else:
            assert isinstance(served, NotFound)
            assert isinstance(deleted, pb.DeleteModelVersionResponse)


async def test_an_old_etag_deletes_nothing(registry: Registry) -> None:
    version = await registry.version()
    for call_ in (
        call(registry.models.DeleteModel, pb.DeleteModelRequest(name="models/digits", etag="old")),
        call(registry.models.DeleteModelVersion, pb.DeleteModelVersionRequest(name=version.name, etag="old")),
    ):
        with pytest.raises(EtagMismatch):
            await call_
    assert await get_version(registry, version.name) == version


async def test_the_lineage_leads_back_to_the_source_files(registry: Registry) -> None:
    nodes = [
        pb.LineageNode(
            name="trainingJobs/j", kind=pb.LINEAGE_KIND_TRAINING_JOB, parents=["datasets/d/versions/1"]
        ),
        pb.LineageNode(
            name="datasets/d/versions/1",
            kind=pb.LINEAGE_KIND_DATASET_VERSION,
            digest="d" * 64,
            parents=["a.csv", "lost.csv"],
        ),
        pb.LineageNode(name="a.csv", kind=pb.LINEAGE_KIND_SOURCE_FILE, digest="f" * 64),
    ]
    version = await registry.version(lineage=nodes[::-1], parents=["trainingJobs/j"])
    request = pb.GetLineageRequest(name="models/digits/versions/latest")
    found = (await call(registry.models.GetLineage, request)).nodes
    assert found[0] == pb.LineageNode(
        name=version.name,
        kind=pb.LINEAGE_KIND_MODEL_VERSION,
        digest=version.digest,
        parents=["trainingJobs/j"],
    )
    assert [*found[1:]] == nodes


FILE = pb.ArtifactFile(path="model.onnx", sha256="a" * 64, size_bytes=1, key="k")


@pytest.mark.parametrize(
    ("parent", "fields", "field"),
    [
        ("models/../x", {}, "parent"),
        ("models/-", {}, "parent"),
        ("digits", {}, "parent"),
        ("models/digits", {"files": []}, "model_version.files"),
        ("models/digits", {"format": pb.MODEL_FORMAT_UNSPECIFIED}, "model_version.format"),
        ("models/digits", {"format": 99}, "model_version.format"),
        ("models/digits", {"files": [FILE, FILE]}, "model_version.files[1].path"),
        (
            "models/digits",
            {"files": [FILE, pb.ArtifactFile(path="../x", sha256="a" * 64, key="k")]},
            "model_version.files[1].path",
        ),
        (
            "models/digits",
            {"files": [pb.ArtifactFile(path="model.onnx", sha256="A" * 64, key="k")]},
            "model_version.files[0].sha256",
        ),
        (
            "models/digits",
            {"files": [pb.ArtifactFile(path="model.onnx", sha256="a" * 64, key="a/../b")]},
            "model_version.files[0].key",
        ),
        ("models/digits", {"lineage": [pb.LineageNode(name="x")]}, "model_version.lineage[0].kind"),
    ],
    ids=[
        "name with ..",
        "no id",
        "not a model",
        "no file",
        "no format",
        "unknown format",
        "path twice",
        "path with ..",
        "digest in capitals",
        "key with ..",
        "link without a kind",
    ],
)
async def test_a_bad_version_is_refused_by_field(
    registry: Registry, parent: str, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidField) as refusal:
        await registry.version(parent, **fields)
    assert field in [violation.field for violation in refusal.value.violations]
    assert not (await call(registry.models.ListModels, pb.ListModelsRequest())).models


async def test_a_version_of_a_missing_model_is_not_listed(registry: Registry) -> None:
    with pytest.raises(NotFound, match="models/nope"):
        request = pb.ListModelVersionsRequest(parent="models/nope")
        await call(registry.models.ListModelVersions, request)


async def test_a_version_with_the_longest_lineage_is_kept_whole(registry: Registry) -> None:
    nodes = [
        pb.LineageNode(name=f"{number}.png", kind=pb.LINEAGE_KIND_SOURCE_FILE, digest="f" * 64)
        for number in range(20_000)
    ]
    version = await registry.version(lineage=nodes)
    assert len((await get_version(registry, version.name)).lineage) == 20_000
    found = await call(registry.models.GetLineage, pb.GetLineageRequest(name=version.name))
    assert len(found.nodes) == 20_001
    with pytest.raises(InvalidField):
        await registry.version(lineage=[*nodes, nodes[0]])

"""Endpoints that follow a model, asked for over gRPC."""

import asyncio
from typing import Any

import pytest

from lepton.endpoint.v1 import endpoint_pb2 as pb
from lepton.model.v1 import model_pb2
from lepton_common.errors import EtagMismatch, InUse, InvalidField, NotFound
from lepton_common.rpc import streaming

from .conftest import Registry, Replicas, call

LATEST = pb.Follow(model="models/digits", latest=pb.LatestVersions())
LATEST_TWO = pb.Follow(model="models/digits", latest=pb.LatestVersions(count=2))
ALL = pb.Follow(model="models/digits", all=pb.AllVersions())
KERAS: dict[str, Any] = {
    "format": model_pb2.MODEL_FORMAT_KERAS,
    "files": [model_pb2.ArtifactFile(path="model.keras", sha256="a" * 64, key="k")],
}


async def create(registry: Registry, follow: pb.Follow, name: str = "live", **fields: Any) -> pb.Endpoint:
    request = pb.CreateEndpointRequest(endpoint_id=name, endpoint=pb.Endpoint(follow=follow, **fields))
    return (await call(registry.endpoints.CreateEndpoint, request)).endpoint


async def update(registry: Registry, endpoint: pb.Endpoint) -> pb.Endpoint:
    request = pb.UpdateEndpointRequest(endpoint=endpoint)
    return (await call(registry.endpoints.UpdateEndpoint, request)).endpoint


async def get(registry: Registry, name: str = "endpoints/live") -> pb.Endpoint:
    return (await call(registry.endpoints.GetEndpoint, pb.GetEndpointRequest(name=name))).endpoint


async def delete_version(registry: Registry, number: int) -> None:
    request = model_pb2.DeleteModelVersionRequest(name=f"models/digits/versions/{number}")
    await call(registry.models.DeleteModelVersion, request)


def shares(endpoint: pb.Endpoint) -> list[tuple[int, int]]:
    """Number and weight of each target."""
    return [
        (int(target.model_version.removeprefix("models/digits/versions/")), target.weight)
        for target in endpoint.targets
    ]


@pytest.fixture(autouse=True)
async def versions(registry: Registry) -> None:
    """Versions 1 and 2 of `digits`, and one of `other`."""
    for parent in ("models/digits", "models/digits", "models/other"):
        await registry.version(parent)


@pytest.mark.parametrize(
    ("follow", "now", "later"),
    [
        (LATEST, [(2, 1)], [(3, 1)]),
        (LATEST_TWO, [(2, 1), (1, 0)], [(3, 1), (2, 0)]),
        (ALL, [(2, 1), (1, 0)], [(3, 1), (2, 0), (1, 0)]),
    ],
    ids=["the latest", "the latest two", "all"],
)
async def test_the_targets_are_the_newest_versions(
    registry: Registry, follow: pb.Follow, now: list[tuple[int, int]], later: list[tuple[int, int]]
) -> None:
    made = await create(registry, follow)
    assert (shares(made), made.follow) == (now, follow)
    await registry.version("models/other")
    assert await get(registry) == made
    await registry.version("models/digits")
    changed = await get(registry)
    assert shares(changed) == later
    assert changed.etag != made.etag


async def test_a_watch_through_any_replica_hears_of_a_version_with_the_targets(
    replicas: Replicas, registry: Registry
) -> None:
    await create(registry, LATEST)
    other = await replicas()
    stream = other.endpoints.WatchEndpoints(pb.WatchEndpointsRequest())
    async with asyncio.timeout(20), streaming(stream) as told:
        responses = aiter(told)
        assert shares((await anext(responses)).endpoints[0]) == [(2, 1)]
        await registry.version("models/digits")
        response = await anext(responses)
    assert shares(response.endpoints[0]) == [(3, 1)]
    assert [version.name for version in response.model_versions] == ["models/digits/versions/3"]


async def test_of_versions_registered_at_once_the_newest_is_followed(registry: Registry) -> None:
    await create(registry, LATEST)
    await asyncio.gather(*(registry.version("models/digits") for _ in range(5)))
    assert shares(await get(registry)) == [(7, 1)]


async def test_a_version_that_is_registered_twice_changes_nothing(registry: Registry) -> None:
    await create(registry, LATEST)
    await registry.version("models/digits", request_id="r")
    before = await get(registry)
    await registry.version("models/digits", request_id="r")
    assert await get(registry) == before


async def test_only_onnx_is_followed(registry: Registry) -> None:
    for _ in range(3):
        await registry.version("models/digits", **KERAS)
    made = await create(registry, LATEST_TWO)
    assert shares(made) == [(2, 1), (1, 0)]
    await registry.version("models/digits", **KERAS)
    assert await get(registry) == made


async def test_no_more_than_32_versions_are_followed(registry: Registry) -> None:
    await create(registry, ALL)
    for _ in range(32):
        await registry.version("models/digits")
    assert shares(await get(registry)) == [(34, 1), *((number, 0) for number in range(33, 2, -1))]


async def test_a_version_that_is_deleted_leaves_its_place_to_the_one_before(registry: Registry) -> None:
    await create(registry, LATEST)
    await delete_version(registry, 2)
    assert shares(await get(registry)) == [(1, 1)]


async def test_the_last_version_that_is_followed_stays(registry: Registry) -> None:
    await registry.version("models/digits", **KERAS)
    await create(registry, LATEST)
    await delete_version(registry, 1)
    before = await get(registry)
    with pytest.raises(InUse, match="'endpoints/live' follows 'models/digits'"):
        await delete_version(registry, 2)
    with pytest.raises(InUse, match="'endpoints/live' serves 'models/digits/versions/2'"):
        await call(registry.models.DeleteModel, model_pb2.DeleteModelRequest(name="models/digits"))
    assert await get(registry) == before
    request = model_pb2.GetModelVersionRequest(name="models/digits/versions/2")
    assert await call(registry.models.GetModelVersion, request)


async def test_a_version_that_another_endpoint_names_stays(registry: Registry) -> None:
    await create(registry, LATEST)
    named = [pb.TrafficTarget(model_version="models/digits/versions/2", weight=1)]
    request = pb.CreateEndpointRequest(endpoint_id="named", endpoint=pb.Endpoint(targets=named))
    await call(registry.endpoints.CreateEndpoint, request)
    with pytest.raises(InUse, match="'endpoints/named' serves"):
        await delete_version(registry, 2)
    assert shares(await get(registry)) == [(2, 1)]


async def test_what_was_read_can_be_written_back(registry: Registry) -> None:
    made = await create(registry, LATEST)
    made.labels["team"] = "x"
    changed = await update(registry, made)
    assert (shares(changed), dict(changed.labels)) == ([(2, 1)], {"team": "x"})
    changed.follow.CopyFrom(LATEST_TWO)
    assert shares(await update(registry, changed)) == [(2, 1), (1, 0)]


async def test_what_was_read_before_a_version_came_is_refused(registry: Registry) -> None:
    made = await create(registry, LATEST)
    await registry.version("models/digits")
    made.labels["team"] = "x"
    with pytest.raises(EtagMismatch):
        await update(registry, made)


async def test_an_endpoint_begins_and_ceases_to_follow(registry: Registry) -> None:
    own = [pb.TrafficTarget(model_version="models/digits/versions/1", weight=5)]
    made = await create(registry, LATEST)
    settled = await update(registry, pb.Endpoint(name=made.name, targets=own))
    await registry.version("models/digits")
    assert await get(registry) == settled
    assert (shares(settled), settled.HasField("follow")) == ([(1, 5)], False)
    assert shares(await update(registry, pb.Endpoint(name=made.name, follow=LATEST))) == [(3, 1)]
    await registry.version("models/digits")
    assert shares(await get(registry)) == [(4, 1)]


@pytest.mark.parametrize(
    ("follow", "own", "error", "field"),
    [
        (LATEST, ["models/digits/versions/1"], InvalidField, "endpoint.targets"),
        (pb.Follow(model="models/digits"), [], InvalidField, "endpoint.follow.versions"),
        (pb.Follow(model="digits", all=pb.AllVersions()), [], InvalidField, "endpoint.follow.model"),
        (
            pb.Follow(model="models/digits", latest=pb.LatestVersions(count=33)),
            [],
            InvalidField,
            "endpoint.follow.latest.count",
        ),
        (pb.Follow(model="models/keras", all=pb.AllVersions()), [], NotFound, None),
        (pb.Follow(model="models/empty", all=pb.AllVersions()), [], NotFound, None),
        (pb.Follow(model="models/nope", all=pb.AllVersions()), [], NotFound, None),
    ],
    ids=[
        "targets of its own",
        "no versions",
        "no model's name",
        "too many",
        "no ONNX",
        "no version",
        "unknown model",
    ],
)
async def test_what_cannot_be_followed_is_refused(
    registry: Registry, follow: pb.Follow, own: list[str], error: type[Exception], field: str | None
) -> None:
    await registry.version("models/keras", **KERAS)
    empty = model_pb2.CreateModelRequest(model_id="empty", model=model_pb2.Model())
    await call(registry.models.CreateModel, empty)
    made = await create(registry, LATEST, name="made")
    targets = [pb.TrafficTarget(model_version=name, weight=1) for name in own]
    for refused in (
        create(registry, follow, targets=targets),
        update(registry, pb.Endpoint(name=made.name, follow=follow, targets=targets)),
    ):
        with pytest.raises(error) as refusal:
            await refused
        if isinstance(refusal.value, InvalidField):
            assert field in [violation.field for violation in refusal.value.violations]
    assert await get(registry, made.name) == made

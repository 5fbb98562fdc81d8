"""Endpoints, asked for over gRPC."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from lepton.endpoint.v1 import endpoint_pb2 as pb
from lepton.model.v1 import model_pb2
from lepton_common.errors import AlreadyExists, EtagMismatch, InvalidField, NotFound
from lepton_common.rpc import streaming
from lepton_registry import reports

from .conftest import Registry, Replicas, call

WATCH_SECONDS = 0.5


def target(version: str, weight: int = 1) -> pb.TrafficTarget:
    return pb.TrafficTarget(model_version=f"models/{version}", weight=weight)


async def create(
    registry: Registry, endpoint_id: str, *targets: pb.TrafficTarget, request_id: str = ""
) -> pb.Endpoint:
    request = pb.CreateEndpointRequest(
        endpoint_id=endpoint_id, endpoint=pb.Endpoint(targets=targets), request_id=request_id
    )
    return (await call(registry.endpoints.CreateEndpoint, request)).endpoint


async def get(registry: Registry, name: str) -> pb.Endpoint:
    return (await call(registry.endpoints.GetEndpoint, pb.GetEndpointRequest(name=name))).endpoint


async def update(registry: Registry, endpoint: pb.Endpoint) -> pb.Endpoint:
    request = pb.UpdateEndpointRequest(endpoint=endpoint)
    return (await call(registry.endpoints.UpdateEndpoint, request)).endpoint


async def delete(registry: Registry, name: str, etag: str = "") -> None:
    await call(registry.endpoints.DeleteEndpoint, pb.DeleteEndpointRequest(name=name, etag=etag))


async def report(registry: Registry, replica: str, *statuses: tuple[str, str, str]) -> None:
    """Report (endpoint, version, state) for each status."""
    request = pb.ReportReplicaRequest(replica=replica)
    for endpoint, version, state in statuses:
        request.endpoints.append(
            pb.EndpointServing(
                endpoint=f"endpoints/{endpoint}",
                versions=[
                    pb.ServingStatus(
                        model_version=f"models/{version}",
                        replica="ignored",
                        state=pb.ServingState.Value(f"SERVING_STATE_{state}"),
                        provider="CPUExecutionProvider",
                    )
                ],
            )
        )
    await call(registry.endpoints.ReportReplica, request)


@asynccontextmanager
async def watching(registry: Registry) -> AsyncIterator[AsyncIterator[pb.WatchEndpointsResponse]]:
    async with streaming(registry.endpoints.WatchEndpoints(pb.WatchEndpointsRequest())) as stream:
        yield aiter(stream)


@pytest.fixture(autouse=True)
async def versions(registry: Registry) -> None:
    """Versions 1 and 2 of `digits`, and one of `other`."""
    for parent in ("models/digits", "models/digits", "models/other"):
        await registry.version(parent)


async def test_an_endpoint_is_made_read_listed_and_deleted(registry: Registry) -> None:
    request = pb.CreateEndpointRequest(
        endpoint_id="live",
        endpoint=pb.Endpoint(
            name="endpoints/other",
            labels={"team": "x"},
            targets=[target("digits/versions/1", 9), target("digits/versions/2", 1)],
            batching=pb.Batching(max_batch_size=8),
            serving=[pb.ServingStatus(replica="made up")],
        ),
    )
    made = (await call(registry.endpoints.CreateEndpoint, request)).endpoint
    assert made.name == "endpoints/live"
    assert [*made.targets] == [*request.endpoint.targets]
    assert (made.batching.max_batch_size, dict(made.labels), [*made.serving]) == (8, {"team": "x"}, [])
    assert await get(registry, made.name) == made
    for labels, expected in (({}, [made]), ({"team": "x"}, [made]), ({"team": "y"}, [])):
        response = await call(registry.endpoints.ListEndpoints, pb.ListEndpointsRequest(label_filter=labels))
        assert [*response.endpoints] == expected
    await delete(registry, made.name, made.etag)
    with pytest.raises(NotFound, match="endpoints/live"):
        await get(registry, made.name)


async def test_an_endpoint_is_made_once_however_often_the_request_comes(registry: Registry) -> None:
    made = await asyncio.gather(
        *(create(registry, "live", target("digits/versions/1"), request_id="r") for _ in range(5))
    )
    assert len({endpoint.uid for endpoint in made}) == 1
    with pytest.raises(AlreadyExists):
        await create(registry, "live", target("digits/versions/1"), request_id="other")


async def test_latest_is_settled_when_it_is_said(registry: Registry) -> None:
    made = await create(registry, "live", target("digits/versions/latest"))
    assert made.targets[0].model_version == "models/digits/versions/2"
    await registry.version("models/digits")
    assert (await get(registry, made.name)).targets[0].model_version == "models/digits/versions/2"
    made.targets[0].model_version = "models/digits/versions/latest"
    assert (await update(registry, made)).targets[0].model_version == "models/digits/versions/3"


async def test_an_update_replaces_what_the_caller_may_set(registry: Registry) -> None:
    made = await create(registry, "live", target("digits/versions/1"))
    changed = await update(
        registry,
        pb.Endpoint(
            name=made.name,
            uid="mine",
            labels={"a": "b"},
            targets=[target("digits/versions/2", 5)],
            serving=[pb.ServingStatus(replica="made up")],
        ),
    )
    assert (changed.uid, changed.create_time) == (made.uid, made.create_time)
    assert changed.etag != made.etag
    assert ([*changed.targets], dict(changed.labels)) == ([target("digits/versions/2", 5)], {"a": "b"})
    assert not changed.serving
    assert await get(registry, made.name) == changed


async def test_of_two_updates_of_one_etag_the_second_is_refused(registry: Registry) -> None:
    made = await create(registry, "live", target("digits/versions/1"))
    made.targets[0].weight = 2
    first = await update(registry, made)
    made.targets[0].weight = 3
    with pytest.raises(EtagMismatch, match="endpoints/live"):
        await update(registry, made)
    with pytest.raises(EtagMismatch):
        await delete(registry, made.name, made.etag)
    assert await get(registry, made.name) == first


@pytest.mark.parametrize(
    ("targets", "error", "field"),
    [
        ([], InvalidField, "endpoint.targets"),
        ([target("digits/versions/1", 0)], InvalidField, "endpoint.targets"),
        ([target("digits/versions/1", -1)], InvalidField, "endpoint.targets[0].weight"),
        ([target("digits")], InvalidField, "endpoint.targets[0].model_version"),
        ([target("../versions/1")], InvalidField, "endpoint.targets[0].model_version"),
        (
            [target("digits/versions/1"), target("other/versions/1")],
            InvalidField,
            "endpoint.targets[1].model_version",
        ),
        (
            [target("digits/versions/2"), target("digits/versions/latest")],
            InvalidField,
            "endpoint.targets[1].model_version",
        ),
        ([target("keras/versions/1")], InvalidField, "endpoint.targets[0].model_version"),
        ([target("digits/versions/9")], NotFound, None),
        ([target("nope/versions/latest")], NotFound, None),
    ],
    ids=[
        "no target",
        "no weight",
        "negative weight",
        "no version",
        "name with ..",
        "two models",
        "latest and the same by number",
        "not ONNX",
        "unknown version",
        "unknown model",
    ],
)
async def test_targets_that_cannot_be_served_are_refused(
    registry: Registry, targets: list[pb.TrafficTarget], error: type[Exception], field: str | None
) -> None:
    keras = model_pb2.ArtifactFile(path="model.keras", sha256="a" * 64, key="k")
    await registry.version("models/keras", format=model_pb2.MODEL_FORMAT_KERAS, files=[keras])
    made = await create(registry, "live", target("digits/versions/1"))
    for refused in (
        create(registry, "new", *targets),
        update(registry, pb.Endpoint(name=made.name, targets=targets)),
    ):
        with pytest.raises(error) as refusal:
            await refused
        if isinstance(refusal.value, InvalidField):
            assert field in [violation.field for violation in refusal.value.violations]
    assert await get(registry, made.name) == made


async def test_how_versions_run_is_kept_as_it_was_said(registry: Registry) -> None:
    said = pb.Endpoint(
        targets=[target("digits/versions/1")],
        batching=pb.Batching(max_batch_size=64, preferred_batch_sizes=[64, 16]),
        execution=pb.Execution(instances=2, threads=4, provider=pb.PROVIDER_CUDA, warm_up_runs=5),
        response_cache_bytes=1 << 20,
    )
    request = pb.CreateEndpointRequest(endpoint_id="live", endpoint=said)
    made = (await call(registry.endpoints.CreateEndpoint, request)).endpoint
    assert (made.batching, made.execution) == (said.batching, said.execution)
    assert made.response_cache_bytes == 1 << 20
    made.execution.instances = 3
    assert (await update(registry, made)).execution.instances == 3
    bare = await update(registry, pb.Endpoint(name=made.name, targets=made.targets))
    assert (bare.HasField("execution"), bare.response_cache_bytes) == (False, 0)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (pb.Endpoint(execution=pb.Execution(instances=65)), "endpoint.execution.instances"),
        (pb.Endpoint(execution=pb.Execution(threads=-1)), "endpoint.execution.threads"),
        (pb.Endpoint(execution=pb.Execution(warm_up_runs=101)), "endpoint.execution.warm_up_runs"),
        (pb.Endpoint(execution={"provider": 9}), "endpoint.execution.provider"),  # type: ignore[arg-type]
        (pb.Endpoint(response_cache_bytes=1 << 37), "endpoint.response_cache_bytes"),
        (
            pb.Endpoint(batching=pb.Batching(preferred_batch_sizes=[0])),
            "endpoint.batching.preferred_batch_sizes[0]",
        ),
        (
            pb.Endpoint(batching=pb.Batching(preferred_batch_sizes=[8, 8])),
            "endpoint.batching.preferred_batch_sizes",
        ),
        (
            pb.Endpoint(batching=pb.Batching(preferred_batch_sizes=range(1, 18))),
            "endpoint.batching.preferred_batch_sizes",
        ),
        (
            pb.Endpoint(batching=pb.Batching(preferred_batch_sizes=[8, 33])),
            "endpoint.batching.preferred_batch_sizes[1]",
        ),
    ],
    ids=[
        "too many instances",
        "negative threads",
        "too many runs to warm up",
        "an unknown provider",
        "too large a cache",
        "batches of nothing",
        "a size twice",
        "too many sizes",
        "a size above the largest batch",
    ],
)
async def test_settings_out_of_bounds_are_refused(
    registry: Registry, settings: pb.Endpoint, field: str
) -> None:
    settings.targets.append(target("digits/versions/1"))
    request = pb.CreateEndpointRequest(endpoint_id="live", endpoint=settings)
    with pytest.raises(InvalidField) as refusal:
        await call(registry.endpoints.CreateEndpoint, request)
    assert field in [violation.field for violation in refusal.value.violations]


async def test_an_update_of_nothing_is_not_found(registry: Registry) -> None:
    for name in ("endpoints/nope", "", "endpoints/../x"):
        with pytest.raises(NotFound):
            await update(registry, pb.Endpoint(name=name, targets=[target("digits/versions/1")]))


async def test_a_watch_tells_what_is_served_now_and_after_every_change(registry: Registry) -> None:
    async with watching(registry) as watch:
        first = await anext(watch)
        assert not first.endpoints
        assert not first.model_versions
        made = await create(registry, "live", target("digits/versions/1"))
        second = await anext(watch)
        assert [*second.endpoints] == [made]
        assert [version.name for version in second.model_versions] == ["models/digits/versions/1"]
        assert second.model_versions[0].files[0].path == "model.onnx"
        await create(registry, "also", target("digits/versions/1"), target("digits/versions/2"))
        third = await anext(watch)
        assert [endpoint.name for endpoint in third.endpoints] == ["endpoints/also", "endpoints/live"]
        assert [version.name[-1] for version in third.model_versions] == ["1", "2"]
        await delete(registry, made.name)
        assert [endpoint.name for endpoint in (await anext(watch)).endpoints] == ["endpoints/also"]


async def test_a_watch_hears_of_changes_through_any_replica_within_half_a_second(
    replicas: Replicas, registry: Registry
) -> None:
    other = await replicas()
    async with watching(other) as watch:
        await anext(watch)
        for number in range(4):
            await create(registry, f"e{number}", target("digits/versions/1"))
            start = time.monotonic()
            assert len((await anext(watch)).endpoints) == number + 1
            assert time.monotonic() - start < WATCH_SECONDS


async def test_what_servers_report_is_told_with_the_endpoint(replicas: Replicas, registry: Registry) -> None:
    made = await create(registry, "live", target("digits/versions/1"), target("digits/versions/2"))
    await create(registry, "also", target("other/versions/1"))
    other = await replicas()
    await report(
        registry, "b", ("live", "digits/versions/1", "READY"), ("also", "other/versions/1", "LOADING")
    )
    await report(other, "a", ("live", "digits/versions/1", "FAILED"))
    for seen in (registry, other):
        endpoint = await get(seen, made.name)
        assert [(status.replica, status.state) for status in endpoint.serving] == [
            ("a", pb.SERVING_STATE_FAILED),
            ("b", pb.SERVING_STATE_READY),
        ]
        listed = (await call(seen.endpoints.ListEndpoints, pb.ListEndpointsRequest())).endpoints
        assert [len(each.serving) for each in listed] == [1, 2]


async def test_a_report_replaces_the_servers_last_one(registry: Registry) -> None:
    await create(registry, "live", target("digits/versions/1"))
    await create(registry, "also", target("other/versions/1"))
    await report(registry, "a", ("live", "digits/versions/1", "READY"), ("also", "other/versions/1", "READY"))
    await report(registry, "b", ("live", "digits/versions/1", "READY"))
    await report(registry, "a", ("live", "digits/versions/1", "LOADING"))
    serving = (await get(registry, "endpoints/live")).serving
    assert [status.state for status in serving] == [pb.SERVING_STATE_LOADING, pb.SERVING_STATE_READY]
    assert not (await get(registry, "endpoints/also")).serving
    await report(registry, "a")
    assert [status.replica for status in (await get(registry, "endpoints/live")).serving] == ["b"]


async def test_reports_change_no_etag_and_wake_no_watch(registry: Registry) -> None:
    made = await create(registry, "live", target("digits/versions/1"))
    async with watching(registry) as watch:
        await anext(watch)
        for state in ("LOADING", "READY", "READY"):
            await report(registry, "a", ("live", "digits/versions/1", state))
        waiting = asyncio.ensure_future(anext(watch))
        done, _ = await asyncio.wait([waiting], timeout=2 * WATCH_SECONDS)
        assert not done
        assert (await get(registry, made.name)).etag == made.etag
        made.targets[0].weight = 7
        await update(registry, made)
        assert (await waiting).endpoints[0].targets[0].weight == 7


async def test_a_report_on_an_endpoint_that_is_gone_is_passed_over(registry: Registry) -> None:
    made = await create(registry, "live", target("digits/versions/1"))
    await report(registry, "a", ("live", "digits/versions/1", "READY"), ("nope", "x/versions/1", "READY"))
    assert len((await get(registry, made.name)).serving) == 1
    await delete(registry, made.name)
    await report(registry, "a", ("live", "digits/versions/1", "READY"))
    again = await create(registry, "live", target("digits/versions/1"))
    assert not (await get(registry, again.name)).serving


async def test_a_server_that_falls_silent_is_taken_to_be_gone(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "LIFETIME", timedelta(seconds=0.5))
    made = await create(registry, "live", target("digits/versions/1"))
    await report(registry, "a", ("live", "digits/versions/1", "READY"))
    assert len((await get(registry, made.name)).serving) == 1
    await asyncio.sleep(0.6)
    assert not (await get(registry, made.name)).serving
    await report(registry, "b", ("live", "digits/versions/1", "READY"))
    assert [status.replica for status in (await get(registry, made.name)).serving] == ["b"]


@pytest.mark.parametrize("replica", ["../../etc", "a b", "é\n", "x" * 253])
async def test_a_server_may_be_called_anything(registry: Registry, replica: str) -> None:
    await create(registry, "live", target("digits/versions/1"))
    await report(registry, replica, ("live", "digits/versions/1", "READY"))
    assert [status.replica for status in (await get(registry, "endpoints/live")).serving] == [replica]


class TestPools:
    async def test_an_endpoint_is_in_a_pool(self, registry: Registry) -> None:
        await registry.version()
        endpoint = await create(registry, "digits", target("digits/versions/1"))
        assert endpoint.pool == "default"

        endpoint.pool = "large"
        assert (await update(registry, endpoint)).pool == "large"

    async def test_a_server_hears_of_the_endpoints_of_its_pool(self, registry: Registry) -> None:
        await registry.version()
        for pool in ("", "large", "large"):
            count = len((await call(registry.endpoints.ListEndpoints, pb.ListEndpointsRequest())).endpoints)
            request = pb.CreateEndpointRequest(
                endpoint_id=f"e{count}",
                endpoint=pb.Endpoint(targets=[target("digits/versions/1")], pool=pool),
            )
            await call(registry.endpoints.CreateEndpoint, request)

        async def told(pool: str) -> list[str]:
            stream = registry.endpoints.WatchEndpoints(pb.WatchEndpointsRequest(pool=pool))
            async with streaming(stream) as responses:
                async for response in responses:
                    return [endpoint.name for endpoint in response.endpoints]
            return []

        assert await told("default") == ["endpoints/e0"]
        assert await told("large") == ["endpoints/e1", "endpoints/e2"]
        assert await told("") == ["endpoints/e0", "endpoints/e1", "endpoints/e2"]

    async def test_pools_are_those_that_endpoints_name_and_servers_report(self, registry: Registry) -> None:
        await registry.version()
        await create(registry, "digits", target("digits/versions/1"))
        for replica in ("b", "a"):
            request = pb.ReportReplicaRequest(
                replica=replica, pool="large", pool_address="large:7000", device="cuda"
            )
            await call(registry.endpoints.ReportReplica, request)

        pools = (await call(registry.endpoints.ListPools, pb.ListPoolsRequest())).pools

        assert [(each.name, each.ready, each.wanted, each.address) for each in pools] == [
            ("default", 0, 0, ""),
            ("large", 2, 2, "large:7000"),
        ]
        assert pools[0].message == "no server reports for it"
        assert [(each.replica, each.device) for each in pools[1].replicas] == [("a", "cuda"), ("b", "cuda")]

    async def test_a_server_that_comes_back_in_another_pool_is_in_that_one_alone(
        self, registry: Registry
    ) -> None:
        for pool in ("", "large"):
            await call(registry.endpoints.ReportReplica, pb.ReportReplicaRequest(replica="a", pool=pool))

        pools = (await call(registry.endpoints.ListPools, pb.ListPoolsRequest())).pools

        assert [each.name for each in pools] == ["large"]

    async def test_a_server_that_reports_no_more_is_gone(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await call(registry.endpoints.ReportReplica, pb.ReportReplicaRequest(replica="a"))
        monkeypatch.setattr(reports, "LIFETIME", timedelta(seconds=-1))

        assert not (await call(registry.endpoints.ListPools, pb.ListPoolsRequest())).pools

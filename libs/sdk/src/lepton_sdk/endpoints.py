"""Endpoints: which model versions answer under which name."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterable, Mapping, Sequence

from grpc import aio

from lepton.endpoint.v1 import endpoint_pb2, endpoint_pb2_grpc
from lepton_common.errors import AlreadyExists, DeadlineExceeded, InvalidModel
from lepton_sdk.calls import call, pages


class Endpoints:
    """Calls of the registry about endpoints."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = endpoint_pb2_grpc.EndpointServiceStub(channel)

    async def create(
        self,
        endpoint: str,
        targets: Mapping[str, int] | None = None,
        *,
        follow: endpoint_pb2.Follow | None = None,
        batching: endpoint_pb2.Batching | None = None,
        execution: endpoint_pb2.Execution | None = None,
        response_cache_bytes: int = 0,
        pool: str = "",
        request_id: str = "",
    ) -> endpoint_pb2.Endpoint:
        """Serve under the id `endpoint`, on the servers of a pool.

        Args:
            endpoint: the id.
            targets: what is served, version name -> weight.
            follow: a model whose versions are served, in place of targets.
            batching: how requests are batched.
            execution: how versions run.
            response_cache_bytes: bytes of responses that each server keeps for requests that are the same.
            pool: the pool; empty: `default`.
            request_id: a retry with the same one gives the same endpoint.
        """
        request = endpoint_pb2.CreateEndpointRequest(
            endpoint_id=endpoint,
            endpoint=endpoint_pb2.Endpoint(
                targets=_targets(targets or {}),
                follow=follow,
                batching=batching,
                execution=execution,
                response_cache_bytes=response_cache_bytes,
                pool=pool,
            ),
            request_id=request_id or str(uuid.uuid4()),
        )
        return (await call(self._stub.CreateEndpoint, request)).endpoint

    async def get(self, name: str) -> endpoint_pb2.Endpoint:
        """One endpoint by its name `endpoints/{endpoint}`, with what the servers say of it."""
        return (await call(self._stub.GetEndpoint, endpoint_pb2.GetEndpointRequest(name=name))).endpoint

    async def list(self, *, labels: dict[str, str] | None = None) -> list[endpoint_pb2.Endpoint]:
        """All endpoints that have these labels."""

        async def page(token: str) -> tuple[list[endpoint_pb2.Endpoint], str]:
            request = endpoint_pb2.ListEndpointsRequest(page_token=token, label_filter=labels or {})
            response = await call(self._stub.ListEndpoints, request)
            return [*response.endpoints], response.next_page_token

        return await pages(page)

    async def update(
        self,
        name: str,
        targets: Mapping[str, int] | None = None,
        *,
        follow: endpoint_pb2.Follow | None = None,
        batching: endpoint_pb2.Batching | None = None,
        execution: endpoint_pb2.Execution | None = None,
        response_cache_bytes: int | None = None,
        pool: str = "",
    ) -> endpoint_pb2.Endpoint:
        """Replace what is given, as in `create`, and keep what is not.

        An endpoint that is given targets no longer follows a model, and the other way round.
        """
        endpoint = await self.get(name)
        if targets is not None:
            endpoint.ClearField("follow")
            del endpoint.targets[:]
            endpoint.targets.extend(_targets(targets))
        if follow is not None:
            del endpoint.targets[:]
            endpoint.follow.CopyFrom(follow)
        if batching is not None:
            endpoint.batching.CopyFrom(batching)
        if execution is not None:
            endpoint.execution.CopyFrom(execution)
        if response_cache_bytes is not None:
            endpoint.response_cache_bytes = response_cache_bytes
        endpoint.pool = pool or endpoint.pool
        return (
            await call(
                self._stub.UpdateEndpoint,
                endpoint_pb2.UpdateEndpointRequest(endpoint=endpoint),
            )
        ).endpoint

    async def put(
        self,
        endpoint: str,
        targets: Mapping[str, int] | None = None,
        *,
        follow: endpoint_pb2.Follow | None = None,
        batching: endpoint_pb2.Batching | None = None,
        execution: endpoint_pb2.Execution | None = None,
        response_cache_bytes: int | None = None,
        pool: str = "",
    ) -> endpoint_pb2.Endpoint:
        """Serve under the id `endpoint`, whether or not it exists; one that does keeps what is not given.

        Raises:
            NotFound: there is none, and nothing is said of what it should serve.
        """
        if targets is not None or follow is not None:
            with contextlib.suppress(AlreadyExists):
                return await self.create(
                    endpoint,
                    targets,
                    follow=follow,
                    batching=batching,
                    execution=execution,
                    response_cache_bytes=response_cache_bytes or 0,
                    pool=pool,
                )
        return await self.update(
            f"endpoints/{endpoint}",
            targets,
            follow=follow,
            batching=batching,
            execution=execution,
            response_cache_bytes=response_cache_bytes,
            pool=pool,
        )

    async def pools(self) -> Sequence[endpoint_pb2.Pool]:
        """The pools of inference servers, with how many servers each has and why some are missing."""
        return (await call(self._stub.ListPools, endpoint_pb2.ListPoolsRequest())).pools

    async def delete(self, name: str) -> None:
        """Stop serving under this name."""
        await call(self._stub.DeleteEndpoint, endpoint_pb2.DeleteEndpointRequest(name=name))

    async def wait_ready(self, name: str, *, seconds: float = 60.0) -> endpoint_pb2.Endpoint:
        """Wait until some inference server answers with every target.

        Raises:
            InvalidModel: a server could not load a target; the text says why.
            DeadlineExceeded: no server had loaded all of them in time; the text says why servers are
                missing.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while True:
            endpoint = await self.get(name)
            wanted = {target.model_version for target in endpoint.targets}
            failed = [status for status in endpoint.serving if _failed(status, wanted)]
            if failed:
                raise InvalidModel(f"{failed[0].model_version} cannot be served: {failed[0].reason}")
            ready = {
                status.model_version
                for status in endpoint.serving
                if status.state == endpoint_pb2.SERVING_STATE_READY
            }
            if wanted <= ready:
                return endpoint
            if clock() > deadline:
                reason = pool_trouble(endpoint, await self.pools())
                raise DeadlineExceeded(
                    f"no inference server had loaded {', '.join(sorted(wanted - ready))} within {seconds:g} s"
                    f"{f': {reason}' if reason else ''}"
                )
            await asyncio.sleep(0.2)


def pool_trouble(endpoint: endpoint_pb2.Endpoint, pools: Iterable[endpoint_pb2.Pool]) -> str:
    """Why the pool of an endpoint lacks servers; empty if it lacks none."""
    for pool in pools:
        if pool.name == endpoint.pool and pool.message:
            return f"pool {pool.name!r} has {pool.ready} of {pool.wanted} servers: {pool.message}"
    return ""


def _targets(targets: Mapping[str, int]) -> list[endpoint_pb2.TrafficTarget]:
    return [
        endpoint_pb2.TrafficTarget(model_version=version, weight=weight)
        for version, weight in targets.items()
    ]


def _failed(status: endpoint_pb2.ServingStatus, wanted: set[str]) -> bool:
    return status.state == endpoint_pb2.SERVING_STATE_FAILED and status.model_version in wanted

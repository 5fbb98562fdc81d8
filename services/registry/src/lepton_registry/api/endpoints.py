"""`lepton.endpoint.v1.EndpointService`."""

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc

from lepton.endpoint.v1 import endpoint_pb2 as pb
from lepton.endpoint.v1 import endpoint_pb2_grpc as pb_grpc
from lepton_common.methods import Service
from lepton_registry.adapters.endpoints import Endpoints
from lepton_registry.adapters.pools import Pools

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class EndpointServicer(pb_grpc.EndpointServiceServicer):
    """Answers for endpoints."""

    def __init__(self, endpoints: Endpoints, pools: Pools) -> None:
        """Answer from `endpoints` and `pools`."""
        self._endpoints = endpoints
        self._pools = pools

    async def CreateEndpoint(
        self, request: pb.CreateEndpointRequest, context: Context
    ) -> pb.CreateEndpointResponse:
        """Makes an endpoint."""
        request.endpoint.name = f"endpoints/{request.endpoint_id}"
        request.endpoint.ClearField("serving")
        made = await self._endpoints.create(request.endpoint, request_id=request.request_id)
        return pb.CreateEndpointResponse(endpoint=made)

    async def GetEndpoint(self, request: pb.GetEndpointRequest, context: Context) -> pb.GetEndpointResponse:
        """Reads one endpoint."""
        return pb.GetEndpointResponse(endpoint=await self._endpoints.get(request.name))

    async def ListEndpoints(
        self, request: pb.ListEndpointsRequest, context: Context
    ) -> pb.ListEndpointsResponse:
        """Lists endpoints, by name."""
        page = await self._endpoints.list(
            page_size=request.page_size, page_token=request.page_token, labels=request.label_filter
        )
        return pb.ListEndpointsResponse(endpoints=page.items, next_page_token=page.next_page_token)

    async def UpdateEndpoint(
        self, request: pb.UpdateEndpointRequest, context: Context
    ) -> pb.UpdateEndpointResponse:
        """Replaces what the caller may set of the endpoint."""
        request.endpoint.ClearField("serving")
        return pb.UpdateEndpointResponse(endpoint=await self._endpoints.update(request.endpoint))

    async def DeleteEndpoint(
        self, request: pb.DeleteEndpointRequest, context: Context
    ) -> pb.DeleteEndpointResponse:
        """Deletes the endpoint."""
        await self._endpoints.delete(request.name, etag=request.etag)
        return pb.DeleteEndpointResponse()

    async def WatchEndpoints(
        self, request: pb.WatchEndpointsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEndpointsResponse]:
        """Sends all endpoints with the versions they serve, now and after every change."""
        async for snapshot in self._endpoints.watch(request.pool):
            for version in snapshot.versions:
                # A chain can have 20,000 links, and whoever serves has no use for it.
                version.ClearField("lineage")
            yield pb.WatchEndpointsResponse(endpoints=snapshot.endpoints, model_versions=snapshot.versions)

    async def ListPools(self, request: pb.ListPoolsRequest, context: Context) -> pb.ListPoolsResponse:
        """Lists the pools of inference servers, by name."""
        return pb.ListPoolsResponse(pools=await self._pools.list())

    async def ReportReplica(
        self, request: pb.ReportReplicaRequest, context: Context
    ) -> pb.ReportReplicaResponse:
        """Tells what an inference server has loaded."""
        providers = {status.provider for endpoint in request.endpoints for status in endpoint.versions}
        server = pb.Replica(
            replica=request.replica,
            pool_address=request.pool_address,
            device=request.device,
            providers=sorted(providers - {""}),
        )
        await self._endpoints.report(server, request.pool, request.endpoints)
        return pb.ReportReplicaResponse()


def service(endpoints: Endpoints, pools: Pools) -> Service:
    """Return the service, answering from `endpoints` and `pools`."""
    return Service(
        descriptor=pb.DESCRIPTOR.services_by_name["EndpointService"],
        add=pb_grpc.add_EndpointServiceServicer_to_server,
        servicer=EndpointServicer(endpoints, pools),
    )

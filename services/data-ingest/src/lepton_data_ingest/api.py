"""`lepton.dataset.v1.DatasetService`: decode, call, encode."""

from collections.abc import AsyncIterator
from typing import Any

from lepton.dataset.v1 import dataset_pb2 as pb
from lepton.dataset.v1 import dataset_pb2_grpc
from lepton_common.jobs.api import without_metrics
from lepton_common.server import Service
from lepton_data_ingest.adapters.datasets import Datasets
from lepton_data_ingest.adapters.uploads import Uploads
from lepton_data_ingest.adapters.versions import Versions


class DatasetServicer:
    """Answers the calls."""

    def __init__(self, datasets: Datasets, uploads: Uploads, versions: Versions) -> None:
        """Answer for these."""
        self._datasets = datasets
        self._uploads = uploads
        self._versions = versions

    async def CreateDataset(self, request: pb.CreateDatasetRequest, context: Any) -> pb.CreateDatasetResponse:
        """Makes an empty dataset."""
        dataset = pb.Dataset(
            name=f"datasets/{request.dataset_id}",
            labels=request.dataset.labels,
            description=request.dataset.description,
            schema=request.dataset.schema,
        )
        if request.dataset.HasField("privacy_budget"):
            dataset.privacy_budget.CopyFrom(request.dataset.privacy_budget)
        made = await self._datasets.create(dataset, request_id=request.request_id)
        return pb.CreateDatasetResponse(dataset=made)

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Any) -> pb.GetDatasetResponse:
        """Reads one dataset."""
        return pb.GetDatasetResponse(dataset=await self._datasets.get(request.name))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Any) -> pb.ListDatasetsResponse:
        """Lists datasets by name."""
        page = await self._datasets.list(
            page_size=request.page_size, page_token=request.page_token, labels=request.label_filter
        )
        return pb.ListDatasetsResponse(datasets=page.items, next_page_token=page.next_page_token)

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Any) -> pb.DeleteDatasetResponse:
        """Deletes a dataset with its uploads and versions."""
        await self._datasets.delete(request.name, etag=request.etag)
        return pb.DeleteDatasetResponse()

    async def CreateUpload(self, request: pb.CreateUploadRequest, context: Any) -> pb.CreateUploadResponse:
        """Announces a file."""
        upload = await self._uploads.create(request.parent, request.upload, request_id=request.request_id)
        return pb.CreateUploadResponse(upload=upload)

    async def WriteUpload(
        self, request_iterator: AsyncIterator[pb.WriteUploadRequest], context: Any
    ) -> pb.WriteUploadResponse:
        """Writes the bytes of an announced file."""
        return pb.WriteUploadResponse(upload=await self._uploads.write(request_iterator))

    async def GetUpload(self, request: pb.GetUploadRequest, context: Any) -> pb.GetUploadResponse:
        """Reads one upload."""
        return pb.GetUploadResponse(upload=await self._uploads.get(request.name))

    async def ListUploads(self, request: pb.ListUploadsRequest, context: Any) -> pb.ListUploadsResponse:
        """Lists the uploads of a dataset."""
        page = await self._uploads.list(
            request.parent,
            page_size=request.page_size,
            page_token=request.page_token,
            labels=request.label_filter,
        )
        return pb.ListUploadsResponse(uploads=page.items, next_page_token=page.next_page_token)

    async def DeleteUpload(self, request: pb.DeleteUploadRequest, context: Any) -> pb.DeleteUploadResponse:
        """Deletes an upload."""
        await self._uploads.delete(request.name)
        return pb.DeleteUploadResponse()

    async def CreateDatasetVersion(
        self, request: pb.CreateDatasetVersionRequest, context: Any
    ) -> pb.CreateDatasetVersionResponse:
        """Starts to build a version."""
        version = await self._versions.create(
            request.parent, request.dataset_version, request_id=request.request_id
        )
        return pb.CreateDatasetVersionResponse(dataset_version=version)

    async def GetDatasetVersion(
        self, request: pb.GetDatasetVersionRequest, context: Any
    ) -> pb.GetDatasetVersionResponse:
        """Reads one version."""
        return pb.GetDatasetVersionResponse(dataset_version=await self._versions.get(request.name))

    async def ListDatasetVersions(
        self, request: pb.ListDatasetVersionsRequest, context: Any
    ) -> pb.ListDatasetVersionsResponse:
        """Lists the versions of a dataset, without metrics and statistics."""
        page = await self._versions.list(
            request.parent,
            page_size=request.page_size,
            page_token=request.page_token,
            labels=request.label_filter,
        )
        for version in page.items:
            without_metrics(version).ClearField("statistics")
        return pb.ListDatasetVersionsResponse(
            dataset_versions=page.items, next_page_token=page.next_page_token
        )

    async def WatchDatasetVersion(
        self, request: pb.WatchDatasetVersionRequest, context: Any
    ) -> AsyncIterator[pb.WatchDatasetVersionResponse]:
        """Sends the version now and after every change."""
        async for version in self._versions.watch(request.name):
            yield pb.WatchDatasetVersionResponse(dataset_version=version)

    async def CancelDatasetVersion(
        self, request: pb.CancelDatasetVersionRequest, context: Any
    ) -> pb.CancelDatasetVersionResponse:
        """Stops the building of a version."""
        return pb.CancelDatasetVersionResponse(dataset_version=await self._versions.cancel(request.name))

    async def DeleteDatasetVersion(
        self, request: pb.DeleteDatasetVersionRequest, context: Any
    ) -> pb.DeleteDatasetVersionResponse:
        """Deletes a version that is not being built."""
        await self._versions.delete(request.name, etag=request.etag)
        return pb.DeleteDatasetVersionResponse()


def service(servicer: DatasetServicer) -> Service:
    """The service, for the server."""
    return Service(
        descriptor=pb.DESCRIPTOR.services_by_name["DatasetService"],
        add=dataset_pb2_grpc.add_DatasetServiceServicer_to_server,
        servicer=servicer,
    )

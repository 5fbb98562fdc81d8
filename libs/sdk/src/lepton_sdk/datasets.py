"""Datasets: bring files, build versions."""

import asyncio
import tempfile
import uuid
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from grpc import aio

from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton_sdk.calls import call, pages, watch
from lepton_sdk.uploads import UploadProgress, as_file, describe, send


class Datasets:
    """Calls of the data-ingest service."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = dataset_pb2_grpc.DatasetServiceStub(channel)

    async def create(
        self,
        dataset: str,
        schema: dataset_pb2.Schema | None = None,
        *,
        description: str = "",
        labels: dict[str, str] | None = None,
        privacy_budget: dataset_pb2.PrivacyBudget | None = None,
        request_id: str = "",
    ) -> dataset_pb2.Dataset:
        """Make an empty dataset of the id `dataset`; with a budget only private trainings may use it."""
        request = dataset_pb2.CreateDatasetRequest(
            dataset_id=dataset,
            dataset=dataset_pb2.Dataset(
                schema=schema, description=description, labels=labels or {}, privacy_budget=privacy_budget
            ),
            request_id=request_id or str(uuid.uuid4()),
        )
        return (await call(self._stub.CreateDataset, request)).dataset

    async def get(self, name: str) -> dataset_pb2.Dataset:
        """One dataset by its name `datasets/{dataset}`."""
        return (await call(self._stub.GetDataset, dataset_pb2.GetDatasetRequest(name=name))).dataset

    async def list(self, *, labels: dict[str, str] | None = None) -> list[dataset_pb2.Dataset]:
        """All datasets that have these labels."""

        async def page(token: str) -> tuple[list[dataset_pb2.Dataset], str]:
            request = dataset_pb2.ListDatasetsRequest(page_token=token, label_filter=labels or {})
            response = await call(self._stub.ListDatasets, request)
            return [*response.datasets], response.next_page_token

        return await pages(page)

    async def delete(self, name: str) -> None:
        """Delete a dataset with all that it holds."""
        await call(self._stub.DeleteDataset, dataset_pb2.DeleteDatasetRequest(name=name))

    async def upload(
        self, dataset: str, path: Path, *, on_progress: UploadProgress | None = None
    ) -> dataset_pb2.Upload:
        """Bring a file, or a folder of `{label}/{image}` files, to the dataset of this name.

        A stream that breaks is taken up where the server has it; a file that is there already is not
        sent again.

        Raises:
            InvalidField: the path is neither a file nor a folder, empty, or cannot be read.
            DependencyUnavailable: the service stayed away.
        """
        with tempfile.TemporaryDirectory() as scratch:
            file = await asyncio.to_thread(as_file, path, Path(scratch))
            announced = await asyncio.to_thread(describe, file)
            request = dataset_pb2.CreateUploadRequest(
                parent=dataset, upload=announced, request_id=announced.sha256[:40]
            )
            upload = (await call(self._stub.CreateUpload, request)).upload
            return await send(self._stub, upload, file, on_progress or (lambda sent, total: None))

    async def uploads(self, dataset: str) -> Sequence[dataset_pb2.Upload]:
        """All uploads of a dataset."""

        async def page(token: str) -> tuple[list[dataset_pb2.Upload], str]:
            request = dataset_pb2.ListUploadsRequest(parent=dataset, page_token=token)
            response = await call(self._stub.ListUploads, request)
            return [*response.uploads], response.next_page_token

        return await pages(page)

    async def create_version(
        self,
        dataset: str,
        spec: dataset_pb2.DatasetVersionSpec,
        *,
        request_id: str = "",
    ) -> dataset_pb2.DatasetVersion:
        """Start to build a version; follow it with `watch_version`."""
        request = dataset_pb2.CreateDatasetVersionRequest(
            parent=dataset,
            dataset_version=dataset_pb2.DatasetVersion(spec=spec),
            request_id=request_id or str(uuid.uuid4()),
        )
        return (await call(self._stub.CreateDatasetVersion, request)).dataset_version

    async def get_version(self, name: str) -> dataset_pb2.DatasetVersion:
        """One version by its name; `.../versions/latest` is the newest that was built."""
        request = dataset_pb2.GetDatasetVersionRequest(name=name)
        return (await call(self._stub.GetDatasetVersion, request)).dataset_version

    async def versions(self, dataset: str) -> Sequence[dataset_pb2.DatasetVersion]:
        """All versions of a dataset, newest first."""

        async def page(token: str) -> tuple[list[dataset_pb2.DatasetVersion], str]:
            request = dataset_pb2.ListDatasetVersionsRequest(parent=dataset, page_token=token)
            response = await call(self._stub.ListDatasetVersions, request)
            return [*response.dataset_versions], response.next_page_token

        return await pages(page)

    def watch_version(self, name: str) -> AsyncGenerator[dataset_pb2.DatasetVersion, None]:
        """The version now and after every change, until its job has ended."""
        request = dataset_pb2.WatchDatasetVersionRequest(name=name)
        return watch(self._stub.WatchDatasetVersion, request, lambda response: response.dataset_version)

    async def cancel_version(self, name: str) -> dataset_pb2.DatasetVersion:
        """Stop the building of a version."""
        request = dataset_pb2.CancelDatasetVersionRequest(name=name)
        return (await call(self._stub.CancelDatasetVersion, request)).dataset_version

    async def delete_version(self, name: str) -> None:
        """Delete a version that is not being built."""
        await call(
            self._stub.DeleteDatasetVersion,
            dataset_pb2.DeleteDatasetVersionRequest(name=name),
        )

"""Datasets: bring files, build versions."""

import asyncio
import hashlib
import tarfile
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc import aio

from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton_common.errors import DependencyUnavailable, InvalidField, WrongOffset
from lepton_common.status import from_rpc_error
from lepton_sdk.calls import RECONNECT_SECONDS, call, pages, watch

CHUNK_BYTES = 1 << 20

UploadProgress = Callable[[int, int], None]
"""Called with the bytes that are safe on the server and the bytes in all."""


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
        request_id: str = "",
    ) -> dataset_pb2.Dataset:
        """Make an empty dataset of the id `dataset`."""
        request = dataset_pb2.CreateDatasetRequest(
            dataset_id=dataset,
            dataset=dataset_pb2.Dataset(schema=schema, description=description, labels=labels or {}),
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
            InvalidField: the path is neither a file nor a folder, or empty.
        """
        with _as_file(path) as file:
            size = file.stat().st_size
            if size == 0:
                raise InvalidField(f"{path} is empty")
            digest = await asyncio.to_thread(_sha256, file)
            announced = dataset_pb2.Upload(filename=file.name, size_bytes=size, sha256=digest)
            request = dataset_pb2.CreateUploadRequest(
                parent=dataset, upload=announced, request_id=f"{digest[:40]}"
            )
            upload = (await call(self._stub.CreateUpload, request)).upload
            return await self._write(upload, file, on_progress or (lambda done, total: None))

    async def _write(
        self, upload: dataset_pb2.Upload, file: Path, on_progress: UploadProgress
    ) -> dataset_pb2.Upload:
        away_since: float | None = None
        clock = asyncio.get_running_loop().time
        while not upload.complete:
            on_progress(upload.committed_size, upload.size_bytes)
            try:
                chunks = _chunks(upload, file, on_progress)
                return (await self._stub.WriteUpload(chunks, wait_for_ready=True)).upload
            except aio.AioRpcError as failure:
                error = from_rpc_error(failure)
                # Another place than ours: the server's word counts, and GetUpload tells it.
                if failure.code() != grpc.StatusCode.UNAVAILABLE and not isinstance(error, WrongOffset):
                    raise error from failure
                away_since = away_since or clock()
                if clock() - away_since > RECONNECT_SECONDS:
                    raise DependencyUnavailable(f"{file.name} could not be uploaded: {error}") from failure
                await asyncio.sleep(0.5)
            request = dataset_pb2.GetUploadRequest(name=upload.name)
            reached = (await call(self._stub.GetUpload, request)).upload
            if reached.committed_size > upload.committed_size:
                away_since = None
            upload = reached
        on_progress(upload.size_bytes, upload.size_bytes)
        return upload

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

    async def watch_version(self, name: str) -> AsyncIterator[dataset_pb2.DatasetVersion]:
        """The version now and after every change, until its job has ended."""
        request = dataset_pb2.WatchDatasetVersionRequest(name=name)
        async for response in watch(self._stub.WatchDatasetVersion, request):
            yield response.dataset_version

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


async def _chunks(
    upload: dataset_pb2.Upload, file: Path, on_progress: UploadProgress
) -> AsyncIterator[dataset_pb2.WriteUploadRequest]:
    offset = upload.committed_size
    with file.open("rb") as stream:
        stream.seek(offset)
        while True:
            data = await asyncio.to_thread(stream.read, CHUNK_BYTES)
            finish = offset + len(data) >= upload.size_bytes
            yield dataset_pb2.WriteUploadRequest(name=upload.name, offset=offset, data=data, finish=finish)
            offset += len(data)
            on_progress(offset, upload.size_bytes)
            if finish:
                return


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _as_file(path: Path) -> Iterator[Path]:
    """The path itself, or a tar of the folder: the same folder gives the same bytes."""
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise InvalidField(f"{path} is neither a file nor a folder")
    with tempfile.TemporaryDirectory() as scratch:
        packed = Path(scratch) / f"{path.resolve().name}.tar"
        with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as tar:
            for member in sorted(path.rglob("*")):
                if member.is_file():
                    tar.add(member, arcname=str(member.relative_to(path)), filter=_anonymous)
        yield packed


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member

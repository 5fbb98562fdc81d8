"""Compression jobs."""

import uuid
from collections.abc import AsyncGenerator

from grpc import aio

from lepton.compression.v1 import compression_pb2, compression_pb2_grpc
from lepton_sdk.calls import call, pages, watch


class Compression:
    """Calls of the compressor service."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = compression_pb2_grpc.CompressionServiceStub(channel)

    async def create(
        self,
        job: str,
        spec: compression_pb2.CompressionSpec,
        *,
        labels: dict[str, str] | None = None,
        request_id: str = "",
    ) -> compression_pb2.CompressionJob:
        """Accept a compression job of the id `job`; follow it with `watch`."""
        request = compression_pb2.CreateCompressionJobRequest(
            compression_job_id=job,
            compression_job=compression_pb2.CompressionJob(spec=spec, labels=labels or {}),
            request_id=request_id or str(uuid.uuid4()),
        )
        return (await call(self._stub.CreateCompressionJob, request)).compression_job

    async def get(self, name: str) -> compression_pb2.CompressionJob:
        """One job by its name `compressionJobs/{compression_job}`."""
        return (
            await call(
                self._stub.GetCompressionJob,
                compression_pb2.GetCompressionJobRequest(name=name),
            )
        ).compression_job

    async def list(self, *, labels: dict[str, str] | None = None) -> list[compression_pb2.CompressionJob]:
        """All jobs that have these labels, newest first, without metrics."""

        async def page(token: str) -> tuple[list[compression_pb2.CompressionJob], str]:
            request = compression_pb2.ListCompressionJobsRequest(page_token=token, label_filter=labels or {})
            response = await call(self._stub.ListCompressionJobs, request)
            return [*response.compression_jobs], response.next_page_token

        return await pages(page)

    def watch(self, name: str) -> AsyncGenerator[compression_pb2.CompressionJob, None]:
        """The job now and after every change, until it has ended."""
        request = compression_pb2.WatchCompressionJobRequest(name=name)
        return watch(self._stub.WatchCompressionJob, request, lambda response: response.compression_job)

    async def cancel(self, name: str) -> compression_pb2.CompressionJob:
        """Ask the job to stop."""
        request = compression_pb2.CancelCompressionJobRequest(name=name)
        return (await call(self._stub.CancelCompressionJob, request)).compression_job

    async def delete(self, name: str) -> None:
        """Delete a job that has ended."""
        await call(
            self._stub.DeleteCompressionJob,
            compression_pb2.DeleteCompressionJobRequest(name=name),
        )

"""The methods of `lepton.compression.v1.CompressionService`."""

from collections.abc import AsyncIterator
from typing import Any

from lepton.compression.v1 import compression_pb2
from lepton_common.jobs import api
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.launcher import Launcher
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection
from lepton_compressor.adapters.sources import Sources
from lepton_compressor.compression import DEFAULT_CALIBRATION_RECORDS, check, precisions


class CompressionServicer:
    """Answers for compression jobs."""

    def __init__(
        self,
        jobs: Collection[compression_pb2.CompressionJob],
        sources: Sources,
        *,
        controller: Controller[compression_pb2.CompressionJob],
        launcher: Launcher,
        objects: ObjectStore,
    ) -> None:
        """Accept jobs that `controller` brings to their end."""
        self._jobs = jobs
        self._sources = sources
        self._controller = controller
        self._launcher = launcher
        self._objects = objects

    async def CreateCompressionJob(
        self, request: compression_pb2.CreateCompressionJobRequest, context: Any
    ) -> compression_pb2.CreateCompressionJobResponse:
        """Accepts a compression job."""
        job = compression_pb2.CompressionJob(
            name=f"compressionJobs/{request.compression_job_id}",
            labels=request.compression_job.labels,
            spec=request.compression_job.spec,
            status=life.queued(),
        )
        # A retry gets what it asked for even when the source is gone by now.
        if await self._jobs.find(job.name) is None:
            await self._fill_in(job.spec)
        created = await self._jobs.create(job, request_id=request.request_id)
        self._controller.wake()
        return compression_pb2.CreateCompressionJobResponse(compression_job=created)

    async def _fill_in(self, spec: compression_pb2.CompressionSpec) -> None:
        """Check what is asked for, and write the defaults into it so that they show."""
        tried = precisions([compression_pb2.Precision.Name(value) for value in spec.precisions])
        source = await self._sources.get(spec.model_version)
        check(source)
        spec.model_version = source.name
        spec.model = spec.model or source.model
        spec.precisions[:] = [compression_pb2.Precision.Value(name) for name in tried]
        spec.calibration_records = spec.calibration_records or DEFAULT_CALIBRATION_RECORDS

    async def GetCompressionJob(
        self, request: compression_pb2.GetCompressionJobRequest, context: Any
    ) -> compression_pb2.GetCompressionJobResponse:
        """Reads one compression job."""
        job = await self._jobs.get(request.name)
        return compression_pb2.GetCompressionJobResponse(compression_job=job)

    async def ListCompressionJobs(
        self, request: compression_pb2.ListCompressionJobsRequest, context: Any
    ) -> compression_pb2.ListCompressionJobsResponse:
        """Lists compression jobs, newest first, without metrics."""
        page = await self._jobs.list(
            page_size=request.page_size,
            page_token=request.page_token,
            labels=request.label_filter,
            newest_first=True,
        )
        return compression_pb2.ListCompressionJobsResponse(
            compression_jobs=[api.without_metrics(job) for job in page.items],
            next_page_token=page.next_page_token,
        )

    async def WatchCompressionJob(
        self, request: compression_pb2.WatchCompressionJobRequest, context: Any
    ) -> AsyncIterator[compression_pb2.WatchCompressionJobResponse]:
        """Sends the compression job now and after every change, until it has ended."""
        async for job in api.watch(self._jobs, request.name):
            yield compression_pb2.WatchCompressionJobResponse(compression_job=job)

    async def CancelCompressionJob(
        self, request: compression_pb2.CancelCompressionJobRequest, context: Any
    ) -> compression_pb2.CancelCompressionJobResponse:
        """Asks the compression job to stop."""
        job = await api.cancel(self._jobs, request.name, controller=self._controller)
        return compression_pb2.CancelCompressionJobResponse(compression_job=job)

    async def DeleteCompressionJob(
        self, request: compression_pb2.DeleteCompressionJobRequest, context: Any
    ) -> compression_pb2.DeleteCompressionJobResponse:
        """Deletes the compression job once it has ended."""
        await api.delete(
            self._jobs, request.name, etag=request.etag, launcher=self._launcher, objects=self._objects
        )
        return compression_pb2.DeleteCompressionJobResponse()

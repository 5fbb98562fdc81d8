"""Training jobs."""

import uuid
from collections.abc import AsyncGenerator, Sequence

from grpc import aio

from lepton.training.v1 import training_pb2, training_pb2_grpc
from lepton_sdk.calls import call, collect, pages, watch


class Training:
    """Calls of the trainer service."""

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = training_pb2_grpc.TrainingServiceStub(channel)

    async def create(
        self,
        job: str,
        spec: training_pb2.TrainingSpec,
        *,
        labels: dict[str, str] | None = None,
        request_id: str = "",
    ) -> training_pb2.TrainingJob:
        """Accept a training job of the id `job`; follow it with `watch`."""
        request = training_pb2.CreateTrainingJobRequest(
            training_job_id=job,
            training_job=training_pb2.TrainingJob(spec=spec, labels=labels or {}),
            request_id=request_id or str(uuid.uuid4()),
        )
        return (await call(self._stub.CreateTrainingJob, request)).training_job

    async def get(self, name: str) -> training_pb2.TrainingJob:
        """One job by its name `trainingJobs/{training_job}`."""
        return (
            await call(self._stub.GetTrainingJob, training_pb2.GetTrainingJobRequest(name=name))
        ).training_job

    async def list(self, *, labels: dict[str, str] | None = None) -> list[training_pb2.TrainingJob]:
        """All jobs that have these labels, newest first, without metrics."""

        async def page(token: str) -> tuple[list[training_pb2.TrainingJob], str]:
            request = training_pb2.ListTrainingJobsRequest(page_token=token, label_filter=labels or {})
            response = await call(self._stub.ListTrainingJobs, request)
            return [*response.training_jobs], response.next_page_token

        return await pages(page)

    def watch(self, name: str) -> AsyncGenerator[training_pb2.TrainingJob, None]:
        """The job now and after every change, until it has ended."""
        request = training_pb2.WatchTrainingJobRequest(name=name)
        return watch(self._stub.WatchTrainingJob, request, lambda response: response.training_job)

    async def cancel(self, name: str) -> training_pb2.TrainingJob:
        """Ask the job to stop."""
        request = training_pb2.CancelTrainingJobRequest(name=name)
        return (await call(self._stub.CancelTrainingJob, request)).training_job

    async def suspend(self, name: str, *, etag: str = "") -> training_pb2.TrainingJob:
        """Have the job without workers until it is resumed; they keep their last step."""
        request = training_pb2.SuspendTrainingJobRequest(name=name, etag=etag)
        return (await call(self._stub.SuspendTrainingJob, request)).training_job

    async def resume(self, name: str, *, etag: str = "") -> training_pb2.TrainingJob:
        """Let a suspended job go on from its last step, when its turn has come."""
        request = training_pb2.ResumeTrainingJobRequest(name=name, etag=etag)
        return (await call(self._stub.ResumeTrainingJob, request)).training_job

    async def privacy_ledger(self, dataset: str) -> training_pb2.PrivacyLedger:
        """What trainings have spent of the privacy of `datasets/{dataset}`, and what is left."""
        request = training_pb2.GetPrivacyLedgerRequest(dataset=dataset)
        return (await call(self._stub.GetPrivacyLedger, request)).privacy_ledger

    async def logs(self, name: str) -> Sequence[training_pb2.ReadTrainingJobLogsResponse]:
        """What the workers of the job wrote, the last MiB of each."""
        request = training_pb2.ReadTrainingJobLogsRequest(name=name)
        return await collect(self._stub.ReadTrainingJobLogs, request)

    async def delete(self, name: str) -> None:
        """Delete a job that has ended."""
        await call(
            self._stub.DeleteTrainingJob,
            training_pb2.DeleteTrainingJobRequest(name=name),
        )

"""The methods of `lepton.training.v1.TrainingService`."""

from collections.abc import AsyncIterator
from typing import Any

from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.errors import InUse
from lepton_common.jobs import api
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.launcher import Launcher
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection
from lepton_trainer.adapters.acceptance import Acceptance
from lepton_trainer.adapters.ledger import Ledger, encode_ledger


class TrainingServicer:
    """Answers for training jobs."""

    def __init__(
        self,
        jobs: Collection[training_pb2.TrainingJob],
        acceptance: Acceptance,
        *,
        controller: Controller[training_pb2.TrainingJob],
        launcher: Launcher,
        objects: ObjectStore,
        studies: Collection[study_pb2.Study],
        ledger: Ledger,
    ) -> None:
        """Accept jobs that `controller` brings to their end; those of `studies` are deleted with them."""
        self._jobs = jobs
        self._ledger = ledger
        self._studies = studies
        self._acceptance = acceptance
        self._controller = controller
        self._launcher = launcher
        self._objects = objects

    async def CreateTrainingJob(
        self, request: training_pb2.CreateTrainingJobRequest, context: Any
    ) -> training_pb2.CreateTrainingJobResponse:
        """Accepts a training job."""
        job = training_pb2.TrainingJob(
            name=f"trainingJobs/{request.training_job_id}",
            labels=request.training_job.labels,
            spec=request.training_job.spec,
            status=life.queued(),
        )
        # A retry gets what it asked for even when the dataset is gone by now.
        dataset = None
        if await self._jobs.find(job.name) is None:
            dataset = await self._acceptance.accept(job.spec)
        created = await self._ledger.accept(job, dataset, request_id=request.request_id)
        self._controller.wake()
        return training_pb2.CreateTrainingJobResponse(training_job=created)

    async def GetTrainingJob(
        self, request: training_pb2.GetTrainingJobRequest, context: Any
    ) -> training_pb2.GetTrainingJobResponse:
        """Reads one training job."""
        return training_pb2.GetTrainingJobResponse(training_job=await self._jobs.get(request.name))

    async def ListTrainingJobs(
        self, request: training_pb2.ListTrainingJobsRequest, context: Any
    ) -> training_pb2.ListTrainingJobsResponse:
        """Lists training jobs, newest first, without metrics."""
        page = await self._jobs.list(
            page_size=request.page_size,
            page_token=request.page_token,
            labels=request.label_filter,
            newest_first=True,
        )
        return training_pb2.ListTrainingJobsResponse(
            training_jobs=[api.without_metrics(job) for job in page.items],
            next_page_token=page.next_page_token,
        )

    async def WatchTrainingJob(
        self, request: training_pb2.WatchTrainingJobRequest, context: Any
    ) -> AsyncIterator[training_pb2.WatchTrainingJobResponse]:
        """Sends the training job now and after every change, until it has ended."""
        async for job in api.watch(self._jobs, request.name):
            yield training_pb2.WatchTrainingJobResponse(training_job=job)

    async def CancelTrainingJob(
        self, request: training_pb2.CancelTrainingJobRequest, context: Any
    ) -> training_pb2.CancelTrainingJobResponse:
        """Asks the training job to stop."""
        job = await api.cancel(self._jobs, request.name, controller=self._controller)
        return training_pb2.CancelTrainingJobResponse(training_job=job)

    async def SuspendTrainingJob(
        self, request: training_pb2.SuspendTrainingJobRequest, context: Any
    ) -> training_pb2.SuspendTrainingJobResponse:
        """Stops the workers of the training job until it is resumed."""
        job = await api.suspend(self._jobs, request.name, etag=request.etag, controller=self._controller)
        return training_pb2.SuspendTrainingJobResponse(training_job=job)

    async def ResumeTrainingJob(
        self, request: training_pb2.ResumeTrainingJobRequest, context: Any
    ) -> training_pb2.ResumeTrainingJobResponse:
        """Puts a suspended training job back into the queue."""
        job = await api.resume(self._jobs, request.name, etag=request.etag, controller=self._controller)
        return training_pb2.ResumeTrainingJobResponse(training_job=job)

    async def ReadTrainingJobLogs(
        self, request: training_pb2.ReadTrainingJobLogsRequest, context: Any
    ) -> AsyncIterator[training_pb2.ReadTrainingJobLogsResponse]:
        """Sends what the workers wrote."""
        job = await self._jobs.get(request.name)
        for log in await self._launcher.logs(life.key(job)):
            yield training_pb2.ReadTrainingJobLogsResponse(worker=log.worker, text=log.text)

    async def DeleteTrainingJob(
        self, request: training_pb2.DeleteTrainingJobRequest, context: Any
    ) -> training_pb2.DeleteTrainingJobResponse:
        """Deletes the training job once it has ended."""
        await self._check_free(request.name)
        await self._ledger.close(await self._jobs.get(request.name))
        await api.delete(
            self._jobs, request.name, etag=request.etag, launcher=self._launcher, objects=self._objects
        )
        return training_pb2.DeleteTrainingJobResponse()

    async def GetPrivacyLedger(
        self, request: training_pb2.GetPrivacyLedgerRequest, context: Any
    ) -> training_pb2.GetPrivacyLedgerResponse:
        """Tells what private trainings have spent of a dataset's privacy, and what is left."""
        budget = await self._acceptance.datasets.privacy_budget(request.dataset)
        spendings = await self._ledger.of(request.dataset)
        return training_pb2.GetPrivacyLedgerResponse(
            privacy_ledger=encode_ledger(request.dataset, budget, spendings)
        )

    async def _check_free(self, name: str) -> None:
        job = await self._jobs.get(name)
        if job.study and await self._studies.find(job.study) is not None:
            raise InUse(
                f"{name!r} is a trial of {job.study!r}: delete the study, and it goes with it",
                metadata={"name": name, "study": job.study},
            )

"""The methods of `lepton.training.v1.StudyService`."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.errors import NotFound
from lepton_common.jobs import api
from lepton_common.jobs import job as life
from lepton_common.jobs.launcher import Launcher
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection
from lepton_trainer.adapters.acceptance import Acceptance
from lepton_trainer.adapters.ledger import Ledger
from lepton_trainer.adapters.studies import check_study
from lepton_trainer.adapters.study_controller import StudyController


class StudyServicer:
    """Answers for studies."""

    def __init__(
        self,
        studies: Collection[study_pb2.Study],
        jobs: Collection[training_pb2.TrainingJob],
        acceptance: Acceptance,
        *,
        controller: StudyController,
        launcher: Launcher,
        objects: ObjectStore,
        ledger: Ledger,
    ) -> None:
        """Accept studies that `controller` brings to their end, their trials being among `jobs`."""
        self._studies = studies
        self._jobs = jobs
        self._acceptance = acceptance
        self._controller = controller
        self._launcher = launcher
        self._objects = objects
        self._ledger = ledger

    async def CreateStudy(
        self, request: study_pb2.CreateStudyRequest, context: Any
    ) -> study_pb2.CreateStudyResponse:
        """Accepts a study."""
        study = study_pb2.Study(
            name=f"studies/{request.study_id}",
            labels=request.study.labels,
            spec=request.study.spec,
            status=life.queued(),
        )
        # A retry gets what it asked for even when the dataset is gone by now.
        if await self._studies.find(study.name) is None:
            dataset = await self._acceptance.datasets.get(study.spec.training.dataset_version)
            check_study(study.spec, dataset, most_workers=self._acceptance.most_workers)
            await self._acceptance.fill_in_base(study.spec.training)
        created = await self._studies.create(study, request_id=request.request_id)
        self._controller.wake()
        return study_pb2.CreateStudyResponse(study=created)

    async def GetStudy(self, request: study_pb2.GetStudyRequest, context: Any) -> study_pb2.GetStudyResponse:
        """Reads one study."""
        return study_pb2.GetStudyResponse(study=await self._studies.get(request.name))

    async def ListStudies(
        self, request: study_pb2.ListStudiesRequest, context: Any
    ) -> study_pb2.ListStudiesResponse:
        """Lists studies, newest first, without metrics and trials."""
        page = await self._studies.list(
            page_size=request.page_size,
            page_token=request.page_token,
            labels=request.label_filter,
            newest_first=True,
        )
        for study in page.items:
            api.without_metrics(study).ClearField("trials")
        return study_pb2.ListStudiesResponse(studies=page.items, next_page_token=page.next_page_token)

    async def WatchStudy(
        self, request: study_pb2.WatchStudyRequest, context: Any
    ) -> AsyncIterator[study_pb2.WatchStudyResponse]:
        """Sends the study now and after every change, until it has ended."""
        async for study in api.watch(self._studies, request.name):
            yield study_pb2.WatchStudyResponse(study=study)

    async def CancelStudy(
        self, request: study_pb2.CancelStudyRequest, context: Any
    ) -> study_pb2.CancelStudyResponse:
        """Asks the study and its trials to stop."""
        study = await self._studies.update(request.name, lambda stored: life.request_cancel(stored.status))
        self._controller.wake()
        return study_pb2.CancelStudyResponse(study=study)

    async def DeleteStudy(
        self, request: study_pb2.DeleteStudyRequest, context: Any
    ) -> study_pb2.DeleteStudyResponse:
        """Deletes the study once it has ended, and its trials with it.

        The study goes last: a deletion that was cut off can be asked for again.
        """
        study = await self._studies.get(request.name)
        api.check_deletable(study, etag=request.etag)
        for trial in study.trials:
            if trial.training_job:
                with suppress(NotFound):
                    await self._ledger.close(await self._jobs.get(trial.training_job))
                    await api.delete(
                        self._jobs, trial.training_job, launcher=self._launcher, objects=self._objects
                    )
        await self._studies.delete(study.name, etag=request.etag)
        return study_pb2.DeleteStudyResponse()

"""The loop that brings every study to its end."""

import math
import time
from dataclasses import dataclass
from functools import partial

from lepton.job.v1 import job_pb2
from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.rounds import Followed, Rounds
from lepton_common.records import Collection
from lepton_trainer.adapters.search import Step, StudySearch, deadline


@dataclass(kw_only=True)
class _Followed(Followed):
    """A study that has not ended.

    Attributes:
        changed: Whether something has changed since the last step was begun.
        deadline: Unix time when its time is over, whatever happens.
    """

    changed: bool = True
    deadline: float = math.inf

    def due(self) -> bool:
        """Say whether there is a reason for a step."""
        return self.changed or self.failures > 0 or time.time() >= self.deadline


class StudyController:
    """Takes a study's next step whenever a study or a training job was written.

    Several may work on the same studies; see `search`.
    """

    def __init__(
        self,
        search: StudySearch,
        studies: Collection[study_pb2.Study],
        jobs: Collection[training_pb2.TrainingJob],
        *,
        controller: Controller[training_pb2.TrainingJob],
        poll_seconds: float = 0.5,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            search: Takes the steps.
            studies: The studies. Its index must be `job.index`.
            jobs: The training jobs.
            controller: Brings training jobs to their end; is told when one was made or is to stop.
            poll_seconds: How often to look whether something was written, while there are studies. Also
                the unit of the time between steps that another service holds up.
        """
        self._search = search
        self._studies = studies
        self._jobs = jobs
        self._controller = controller
        self._revisions = (-1, -1)
        self._followed: dict[str, _Followed] = {}
        self._rounds = Rounds(
            self._followed, look=self._look, take_steps=self._take_steps, poll_seconds=poll_seconds
        )

    def wake(self) -> None:
        """Look at all studies now: call it when one was created or cancelled."""
        self._rounds.wake()

    async def run(self) -> None:
        """Do the work until cancelled; a server's background task."""
        await self._rounds.run()

    async def _look(self) -> None:
        """See which studies there are and whether anything was written since the last time."""
        studies = await self._studies.revision()
        jobs = await self._jobs.revision() if self._followed else -1
        if (studies, jobs) == self._revisions:
            return
        active = {study.name: study async for study in self._studies.each(index=life.ACTIVE)}
        self._revisions = studies, jobs
        for name, study in active.items():
            entry = self._followed.setdefault(name, _Followed())
            entry.changed, entry.deadline = True, deadline(study)
            if study.status.state == job_pb2.JOB_STATE_CANCELLING:
                # Whatever it waited for, it does not any more.
                entry.not_before = 0.0
        for name in self._followed.keys() - active.keys():
            if self._followed[name].step is None:
                del self._followed[name]

    def _take_steps(self) -> None:
        now = time.monotonic()
        for name, entry in self._followed.items():
            if entry.due() and entry.free(now):
                entry.changed = False
                step = partial(self._search.step, name)
                self._rounds.take(name, entry, step, then=partial(self._go_on, name, entry))

    def _go_on(self, name: str, entry: _Followed, came_of_it: Step) -> None:
        if came_of_it is Step.WAITS:
            self._rounds.back_off(entry)
            return
        entry.failures = 0
        if came_of_it is Step.ENDED and not entry.changed:
            self._followed.pop(name, None)
        if came_of_it is Step.MOVED:
            entry.changed = True
            self._controller.wake()
            self._rounds.wake()

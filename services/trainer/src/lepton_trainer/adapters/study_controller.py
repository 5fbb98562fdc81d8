"""The loop that brings every study to its end."""

import asyncio
import logging
import math
import time
from contextlib import suppress
from dataclasses import dataclass

from lepton.job.v1 import job_pb2
from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.errors import LeptonError
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.records import Collection
from lepton_trainer.adapters.search import Step, StudySearch, deadline

_IDLE_POLLS = 10
"""While there are no studies, the next look for those of another replica is so many times as far."""

_MAX_PAUSE_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Followed:
    """A study that has not ended.

    Attributes:
        step: The step that is being taken.
        due: Whether something has changed since the last step was begun.
        failures: Steps in a row that were held up.
        not_before: Monotonic time of the next step.
        deadline: Unix time when its time is over, whatever happens.
    """

    step: asyncio.Task[None] | None = None
    due: bool = True
    failures: int = 0
    not_before: float = 0.0
    deadline: float = math.inf


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
        self._poll_seconds = poll_seconds
        self._awake = asyncio.Event()
        self._revisions = (-1, -1)
        self._followed: dict[str, _Followed] = {}

    def wake(self) -> None:
        """Look at all studies now: call it when one was created or cancelled."""
        self._awake.set()

    async def run(self) -> None:
        """Do the work until cancelled; a server's background task."""
        try:
            while True:
                self._awake.clear()
                try:
                    await self._look()
                except LeptonError as error:
                    _log.warning("the studies could not be listed: %s", error)
                self._take_steps()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds * (1 if self._followed else _IDLE_POLLS)):
                        await self._awake.wait()
        finally:
            steps = [entry.step for entry in self._followed.values() if entry.step]
            for step in steps:
                step.cancel()
            await asyncio.gather(*steps, return_exceptions=True)

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
            entry.due, entry.deadline = True, deadline(study)
            if study.status.state == job_pb2.JOB_STATE_CANCELLING:
                # Whatever it waited for, it does not any more.
                entry.not_before = 0.0
        for name in self._followed.keys() - active.keys():
            if self._followed[name].step is None:
                del self._followed[name]

    def _take_steps(self) -> None:
        now = time.monotonic()
        for name, entry in self._followed.items():
            due = entry.due or time.time() >= entry.deadline
            if entry.step is None and due and now >= entry.not_before:
                entry.due = False
                entry.step = asyncio.create_task(self._step(name, entry))

    async def _step(self, name: str, entry: _Followed) -> None:
        try:
            came_of_it = await self._search.step(name)
        except LeptonError as error:
            _log.warning("a step will be taken again: %s", error, extra={"study": name})
            came_of_it = Step.WAITS
        except Exception:
            # A fault in one study must not end the others' loop.
            _log.exception("a step failed", extra={"study": name})
            came_of_it = Step.WAITS
        finally:
            entry.step = None
        if came_of_it is Step.WAITS:
            entry.failures += 1
            entry.due = True
            pause = min(self._poll_seconds * 2**entry.failures, _MAX_PAUSE_SECONDS)
            entry.not_before = time.monotonic() + pause
            return
        entry.failures = 0
        if came_of_it is Step.ENDED and not entry.due:
            self._followed.pop(name, None)
        if came_of_it is Step.MOVED:
            entry.due = True
            self._controller.wake()
            self._awake.set()

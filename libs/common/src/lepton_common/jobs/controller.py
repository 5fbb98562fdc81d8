"""The loop that brings every job of a kind to its end."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

from lepton.job.v1 import job_pb2
from lepton_common.errors import LeptonError, NotFound
from lepton_common.jobs import job as life
from lepton_common.jobs.kind import JobKind, M
from lepton_common.jobs.launcher import Launcher
from lepton_common.jobs.reconciler import Reconciler, Step
from lepton_common.jobs.rounds import Followed, Rounds
from lepton_common.objects import ObjectStore

_MOST_LOOKS = 100
"""How many jobs are looked at in a second: with many, each is looked at less often."""

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Followed(Followed, Generic[M]):
    """A job that has not ended, as it was when it was last listed.

    Attributes:
        job: The job.
        waits: Whether it waits for something else than its worker, and so leaves its place to others.
        changed: Whether the launcher has seen something of it since its step was begun.
    """

    job: M
    waits: bool = False
    changed: bool = False

    def queued(self) -> bool:
        """Say whether it has no worker and is not being given one."""
        return self.job.status.state == job_pb2.JOB_STATE_QUEUED and self.step is None

    def occupies(self) -> bool:
        """Say whether it takes one of the places for running jobs."""
        suspended = self.job.status.state == job_pb2.JOB_STATE_SUSPENDED
        return not self.queued() and not self.waits and not suspended


class Controller(Generic[M]):
    """Starts the workers of jobs, follows them, and writes down what becomes of them.

    Several may work on the same collection: every step is written down with a check that nobody
    else has taken it.
    """

    def __init__(
        self,
        kind: JobKind[M],
        launcher: Launcher,
        objects: ObjectStore,
        *,
        object_store_url: str,
        poll_seconds: float = 0.5,
        max_attempts: int = 5,
        max_running: int = 2,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            kind: What jobs these are.
            launcher: Where their workers run.
            objects: Where their specs and outcomes are.
            object_store_url: The same store, as the workers reach it.
            poll_seconds: How often to look at a job that is not final. Also the unit of the time
                between attempts, which doubles with each: 2, 4, 8 and 16 times as long.
            max_attempts: How many workers a job may lose before it fails.
            max_running: How many jobs may have workers at once; the others wait in the order in
                which they were made.
        """
        self._kind = kind
        self._reconciler = Reconciler(
            kind, launcher, objects, object_store_url=object_store_url, max_attempts=max_attempts
        )
        self._max_running = max_running
        self._launcher = launcher
        self._revision = -1
        self._followed: dict[str, _Followed[M]] = {}
        self._rounds = Rounds(
            self._followed, look=self._list, take_steps=self._take_steps, poll_seconds=poll_seconds
        )
        self._abandoning: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Look at all jobs now: call it when one was created, changed by a call, or deleted."""
        self._rounds.wake()

    async def run(self) -> None:
        """Do the work until cancelled; a server's background task."""
        self._launcher.listen(self._look_at)
        try:
            await self._rounds.run()
        finally:
            for task in self._abandoning:
                task.cancel()
            await asyncio.gather(*self._abandoning, return_exceptions=True)

    def _look_at(self, key: str) -> None:
        """Take the next step of a job now."""
        if (entry := self._followed.get(key)) is not None:
            entry.not_before = 0.0
            entry.changed = True
            self._rounds.wake()

    async def _list(self) -> None:
        """Bring what is followed up to date, unless nothing was written since the last time."""
        revision = await self._kind.collection.revision()
        if revision == self._revision:
            return
        active = {life.key(job): job async for job in self._kind.collection.each(index=life.ACTIVE)}
        self._revision = revision
        for key, entry in list(self._followed.items()):
            if key in active:
                continue
            if entry.step is None:
                del self._followed[key]
                self._in_background(self._abandon_if_deleted(entry.job))
            else:
                # Its step is still being taken: look again when that is over.
                self._revision = -1
        for key, job in active.items():
            entry = self._followed.setdefault(key, _Followed(job=job))
            entry.job = job
            if job.status.state in (job_pb2.JOB_STATE_CANCELLING, job_pb2.JOB_STATE_SUSPENDING):
                # Whatever it waited for, it does not any more.
                entry.not_before = 0.0

    def _take_steps(self) -> None:
        now = time.monotonic()
        occupied = sum(entry.occupies() for entry in self._followed.values())
        for entry in sorted(self._followed.values(), key=_age):
            if not entry.free(now):
                continue
            if entry.queued():
                if occupied >= self._max_running:
                    continue
                occupied += 1
            entry.changed = False
            step = partial(self._reconciler.step, entry.job)
            self._rounds.take(entry.job.name, entry, step, then=partial(self._go_on, entry))

    def _go_on(self, entry: _Followed[M], came_of_it: Step) -> None:
        entry.waits = came_of_it == Step.WAITS
        if entry.waits:
            self._rounds.back_off(entry)
        else:
            entry.failures = 0
        if came_of_it == Step.LOST:
            self._rounds.pause(entry, exponent=life.tries(entry.job.status))
        if came_of_it == Step.WATCHED and not entry.changed:
            entry.not_before = time.monotonic() + len(self._followed) / _MOST_LOOKS
        if came_of_it != Step.WATCHED:
            self._rounds.wake()

    async def _abandon_if_deleted(self, job: M) -> None:
        try:
            if await self._is_deleted(job):
                await self._reconciler.abandon(job)
        except LeptonError as error:
            _log.warning("a deleted job may have left files: %s", error, extra={"job": job.name})

    async def _is_deleted(self, job: M) -> bool:
        try:
            stored = await self._kind.collection.get(job.name)
        except NotFound:
            return True
        return stored.uid != job.uid

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._abandoning.add(task)
        task.add_done_callback(self._abandoning.discard)


def _age(entry: _Followed[Any]) -> tuple[int, str]:
    job = entry.job
    return job.create_time.ToNanoseconds(), job.name

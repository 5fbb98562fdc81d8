"""One job, one step nearer to its end.

A step looks at what is written down, what the launcher sees and what the worker has written, and
acts on it. It keeps nothing in memory, writes down what it is about to do before it does it, and
does only what may be done twice. So a step may be cut off anywhere, by SIGKILL too: the next one
takes it up again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, Generic, TypeVar

from lepton.job.v1 import job_pb2
from lepton_common.errors import Cancelled, DeadlineExceeded, Internal, LeptonError, NotFound, WrongState
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.kind import JobKind, M, Work, says_not_now
from lepton_common.jobs.launcher import Launch, Launcher, Observation, Phase
from lepton_common.objects import ObjectStore

_ANSWER_SECONDS = 60.0

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Step(Enum):
    """What came of a step."""

    WATCHED = "watched"
    """Nothing to do before the next look."""

    MOVED = "moved"
    """The job changed its state, or someone else changed it meanwhile."""

    LOST = "lost"
    """The worker was lost; the next attempt is due after a pause."""

    WAITS = "waits"
    """Something else than its worker holds the job up."""


class Reconciler(Generic[M]):
    """Takes the steps of all jobs of one kind."""

    def __init__(
        self,
        kind: JobKind[M],
        launcher: Launcher,
        objects: ObjectStore,
        *,
        object_store_url: str,
        max_attempts: int,
    ) -> None:
        """See `Controller`."""
        self._kind = kind
        self._launcher = launcher
        self._objects = objects
        self._object_store_url = object_store_url
        self._max_attempts = max_attempts

    async def step(self, job: M) -> Step:
        """Bring a job that has not ended one step further.

        Raises:
            LeptonError: A store does not answer; take the step again later.
        """
        match job.status.state:
            case job_pb2.JOB_STATE_QUEUED:
                return await self._start(job)
            case job_pb2.JOB_STATE_RUNNING:
                return await self._follow(job)
            case job_pb2.JOB_STATE_CANCELLING:
                return await self._cancel(job)
            case job_pb2.JOB_STATE_SUSPENDING:
                return await self._suspend(job)
            case job_pb2.JOB_STATE_SUSPENDED:
                return await self._rest(job)
            case _:
                return Step.MOVED

    async def abandon(self, job: M) -> None:
        """Clean up after a job that was deleted before it had ended."""
        await self._launcher.clean(life.key(job))
        await asyncio.to_thread(self._objects.delete_prefix, files.prefix(life.key(job)))

    async def _start(self, job: M) -> Step:
        key, attempt = life.key(job), job.status.attempt
        seen = await self._launcher.observe(key, attempt) if attempt else Observation(Phase.ABSENT)
        if seen.error is not None:
            return await self._over(job, seen.error)
        work = await self._ask(job, self._kind.launch(job))
        if isinstance(work, LeptonError):
            return await self._refuse(job, work)
        # One that was resumed soon after its suspension may have workers that are about to end.
        begun = await self._launcher.suspend(key, attempt) if attempt else 0
        # Written down first: from here on a service that comes after this one looks for the worker.
        if await self._change(job, lambda stored: life.start(stored.status, begun=begun)):
            await self._launch(job, begun + 1, work=work)
        return Step.MOVED

    async def _follow(self, job: M) -> Step:
        key, attempt = life.key(job), job.status.attempt
        seen = await self._launcher.observe(key, attempt)
        if seen.attempt > attempt:
            return await self._catch_up(job, seen)
        report = await asyncio.to_thread(files.read_report, self._objects, key, attempt)
        if seen.phase == Phase.RUNNING and not (report and report.finished):
            await self._advance(job, report, waits_for=seen.message)
            return Step.WATCHED
        outcome = await asyncio.to_thread(files.read_outcome, self._objects, key, attempt)
        if outcome is None and seen.phase == Phase.RUNNING:
            return Step.WATCHED
        if outcome is None and seen.phase == Phase.ABSENT and report is None:
            return await self._launch_again(job)
        await self._launcher.stop(key, attempt, done=outcome is not None)
        # What a worker wrote while it was being stopped counts too.
        outcome = outcome or await asyncio.to_thread(files.read_outcome, self._objects, key, attempt)
        if outcome is None and seen.error is not None:
            return await self._over(job, seen.error)
        if outcome is None:
            return await self._lose(job, seen)
        return await self._end(job, report, outcome=outcome)

    async def _catch_up(self, job: M, seen: Observation) -> Step:
        """Take over that another attempt is under way, which nobody here has asked for."""
        cause = seen.message or "the worker was lost"
        await self._change(job, lambda stored: life.restarted(stored.status, seen.attempt, cause))
        return Step.MOVED

    async def _launch_again(self, job: M) -> Step:
        """Start an attempt that was written down by a service that then was cut off."""
        work = await self._ask(job, self._kind.launch(job))
        if isinstance(work, LeptonError):
            return await self._refuse(job, work)
        try:
            await self._launch(job, job.status.attempt, work=work)
        except LeptonError as error:
            return await self._refuse(job, error)
        return Step.MOVED

    async def _lose(self, job: M, seen: Observation) -> Step:
        cause = seen.message or "the worker was lost"
        _log.warning(
            "a worker was lost",
            extra={"job": job.name, "attempt": job.status.attempt, "cause": cause, "log": seen.log},
        )
        await self._change(
            job, lambda stored: life.lose(stored.status, cause, max_attempts=self._max_attempts)
        )
        return Step.LOST

    async def _over(self, job: M, reason: LeptonError) -> Step:
        """End a job that has ended where its workers run."""
        if isinstance(reason, Cancelled):
            return await self._give_up(job, reason)
        return await self._refuse(job, reason, waits=False)

    async def _give_up(self, job: M, reason: Cancelled) -> Step:
        """End a job that somebody has stopped where its workers run."""

        def cancel(stored: M) -> None:
            life.request_cancel(stored.status)
            life.cancelled(stored.status)
            stored.status.message = reason.message

        await self._change(job, cancel)
        return Step.MOVED

    async def _cancel(self, job: M) -> Step:
        key, attempt = life.key(job), job.status.attempt
        seen = await self._launcher.observe(key, attempt)
        if seen.attempt > attempt:
            return await self._catch_up(job, seen)
        await self._launcher.stop(key, attempt)
        outcome = await asyncio.to_thread(files.read_outcome, self._objects, key, attempt)
        report = await asyncio.to_thread(files.read_report, self._objects, key, attempt)
        # Work that was done before the request arrived may be registered already: then it counts.
        if outcome is not None and outcome.output is not None:
            finish = await self._finish(job, report, outcome=outcome)
            if not isinstance(finish, LeptonError):
                await self._change(job, finish)
                return Step.MOVED
        await self._change(job, lambda stored: life.cancelled(stored.status))
        return Step.MOVED

    async def _suspend(self, job: M) -> Step:
        key, attempt = life.key(job), job.status.attempt
        seen = await self._launcher.observe(key, attempt)
        if seen.attempt > attempt:
            return await self._catch_up(job, seen)
        if seen.error is None:
            try:
                await self._launcher.suspend(key, attempt)
            except WrongState as error:
                reason = error.message
                await self._change(job, lambda stored: life.not_suspended(stored.status, reason))
                return Step.MOVED
        outcome = await asyncio.to_thread(files.read_outcome, self._objects, key, attempt)
        report = await asyncio.to_thread(files.read_report, self._objects, key, attempt)
        # Work that was done before its worker was asked to stop is done.
        if outcome is not None:
            await self._launcher.stop(key, attempt, done=True)
            return await self._end(job, report, outcome=outcome)
        if seen.error is not None:
            return await self._over(job, seen.error)

        def rest(stored: M) -> None:
            if report:
                life.advance(stored.status, report.progress, report.metrics)
            life.suspended(stored.status)

        await self._change(job, rest)
        return Step.MOVED

    async def _rest(self, job: M) -> Step:
        """Keep a suspended job without workers, unless it was ended where they ran."""
        key, attempt = life.key(job), job.status.attempt
        seen = await self._launcher.observe(key, attempt)
        if seen.error is not None:
            return await self._over(job, seen.error)
        if seen.phase == Phase.RUNNING:
            await self._launcher.suspend(key, attempt)
        return Step.WATCHED

    async def _end(self, job: M, report: files.Report | None, *, outcome: files.Outcome) -> Step:
        finish = outcome.error or await self._finish(job, report, outcome=outcome)
        if isinstance(finish, LeptonError):
            await self._advance(job, report)
            return await self._refuse(job, finish, waits=outcome.error is None)
        await self._change(job, finish)
        return Step.MOVED

    async def _finish(
        self, job: M, report: files.Report | None, *, outcome: files.Outcome
    ) -> Callable[[M], None] | LeptonError:
        """Register the output; return the change that ends the job, or why there is none."""
        register = await self._ask(job, self._kind.complete(job, outcome.output or {}))
        if isinstance(register, LeptonError):
            return register

        def finish(stored: M) -> None:
            if report:
                life.advance(stored.status, report.progress, report.metrics)
            register(stored)
            life.finish(stored.status)

        return finish

    async def _refuse(self, job: M, error: LeptonError, *, waits: bool = True) -> Step:
        """Let the job wait when the error says "not now", and fail when it does not."""
        if waits and says_not_now(error):
            await self._change(job, lambda stored: life.wait(stored.status, error.message))
            return Step.WAITS
        await self._change(job, lambda stored: life.fail(stored.status, error))
        return Step.MOVED

    async def _ask(self, job: M, answer: Coroutine[Any, Any, T]) -> T | LeptonError:
        """Wait for what the kind of job answers; any failure is an error of this one job."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await answer
        except LeptonError as error:
            return error
        except TimeoutError:
            return DeadlineExceeded("another service takes too long to answer")
        except Exception:
            _log.exception("a job met a fault of ours", extra={"job": job.name})
            return Internal("the job met a fault of ours; the log holds the cause")

    async def _launch(self, job: M, attempt: int, *, work: Work) -> None:
        key = life.key(job)
        await asyncio.to_thread(files.write_spec, self._objects, key, work.spec)
        environment = {
            "LEPTON_JOB": key,
            "LEPTON_OBJECT_STORE_URL": self._object_store_url,
            "LEPTON_WORKERS": str(work.workers),
        }
        await self._launcher.start(
            Launch(
                job=key,
                attempt=attempt,
                module=work.module,
                environment=environment,
                workers=work.workers,
                placement=work.placement,
            )
        )
        _log.info("an attempt was started", extra={"job": job.name, "attempt": attempt})

    async def _advance(self, job: M, report: files.Report | None, *, waits_for: str = "") -> None:
        if waits_for:
            if waits_for != life.waits_for(job.status):
                await self._change(job, lambda stored: life.wait(stored.status, waits_for))
        elif report and _is_news(report, job.status):
            await self._change(
                job, lambda stored: life.advance(stored.status, report.progress, report.metrics)
            )
        elif life.waits_for(job.status):
            await self._change(job, lambda stored: life.go_on(stored.status))

    async def _change(self, job: M, change: Callable[[M], None]) -> bool:
        """Write a change down unless the job is no longer the one, or at the attempt, that was looked at."""

        def checked(stored: M) -> None:
            if (stored.uid, stored.status.attempt) != (job.uid, job.status.attempt):
                raise WrongState("another attempt is under way")
            change(stored)

        try:
            stored = await self._kind.collection.update(job.name, checked)
        except (WrongState, NotFound):
            return False
        try:
            await self._launcher.show(life.key(stored), stored.status)
        except LeptonError as error:
            _log.warning("the state of a job could not be shown: %s", error, extra={"job": job.name})
        return True


def _is_news(report: files.Report, status: job_pb2.JobStatus) -> bool:
    if report.progress != status.progress or len(report.metrics) != len(status.metrics):
        return True
    # As bytes: a NaN is no news, though it equals nothing.
    pairs = zip(report.metrics, status.metrics, strict=True)
    return any(told.SerializeToString() != known.SerializeToString() for told, known in pairs)

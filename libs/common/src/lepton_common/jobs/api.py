"""What the methods of every job service share, behind their own messages."""

import asyncio
from collections.abc import AsyncIterator

from lepton_common.errors import WrongState
from lepton_common.jobs import files
from lepton_common.jobs import job as life
from lepton_common.jobs.controller import Controller
from lepton_common.jobs.kind import M
from lepton_common.jobs.launcher import Launcher
from lepton_common.objects import ObjectStore
from lepton_common.records import Collection, check_etag


async def watch(jobs: Collection[M], name: str) -> AsyncIterator[M]:
    """Yield a job now and after every change, the last time when it has ended.

    Raises:
        NotFound: There is none of this name (any more).
    """
    async for job in jobs.watch(name):
        yield job
        if life.is_final(job.status.state):
            return


async def cancel(jobs: Collection[M], name: str, *, controller: Controller[M]) -> M:
    """Ask a job to stop and return it as it is then; does nothing to one that has ended.

    Raises:
        NotFound: There is none of this name.
    """
    job = await jobs.update(name, lambda stored: life.request_cancel(stored.status))
    controller.wake()
    return job


async def suspend(jobs: Collection[M], name: str, *, etag: str = "", controller: Controller[M]) -> M:
    """Ask a job to be without workers until it is resumed, and return it as it is then.

    Raises:
        NotFound: There is none of this name.
        EtagMismatch: `etag` is given and it has another.
        WrongState: It has ended, or is being cancelled.
    """
    job = await jobs.update(name, lambda stored: life.request_suspend(stored.status), etag=etag)
    controller.wake()
    return job


async def resume(jobs: Collection[M], name: str, *, etag: str = "", controller: Controller[M]) -> M:
    """Put a suspended job back into the queue and return it as it is then.

    Raises:
        NotFound: There is none of this name.
        EtagMismatch: `etag` is given and it has another.
        WrongState: It has ended, or is being cancelled.
    """
    job = await jobs.update(name, lambda stored: life.resume(stored.status), etag=etag)
    controller.wake()
    return job


async def delete(
    jobs: Collection[M], name: str, *, etag: str = "", launcher: Launcher, objects: ObjectStore
) -> None:
    """Delete a job that has ended, with its files and logs.

    The resource goes last: a deletion that was cut off can be asked for again.

    Raises:
        NotFound: There is none of this name.
        EtagMismatch: `etag` is given and it has another.
        WrongState: It has not ended.
    """
    job = await jobs.get(name)
    check_deletable(job, etag=etag)
    await launcher.clean(life.key(job))
    await asyncio.to_thread(objects.delete_prefix, files.prefix(life.key(job)))
    await jobs.delete(name, etag=etag)


def check_deletable(job: life.Job, *, etag: str) -> None:
    """Check that a job may be deleted.

    Raises:
        EtagMismatch: `etag` is given and it has another.
        WrongState: It has not ended.
    """
    check_etag(job, etag)
    if not life.is_final(job.status.state):
        raise WrongState(f"{job.name!r} has not ended: cancel it first", metadata={"name": job.name})


def without_metrics(job: M) -> M:
    """Return a job as lists show it."""
    del job.status.metrics[:]
    return job

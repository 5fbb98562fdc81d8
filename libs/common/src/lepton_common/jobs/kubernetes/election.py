"""Which of several replicas does what one of them is to do."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import aiohttp
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from lepton_common.errors import LeptonError
from lepton_common.jobs.kubernetes.cluster import Cluster

_LEASE_SECONDS = 10
_RENEW_SECONDS = 6
_RETRY_SECONDS = 2

_log = logging.getLogger(__name__)


async def lead(
    cluster: Cluster, lease: str, *, identity: str, work: Sequence[Callable[[], Coroutine[Any, Any, None]]]
) -> None:
    """Do some work while this replica holds a Lease, whenever it does, until cancelled.

    A replica that cannot renew the Lease stops its work before another one begins with it; one that is
    stopped gives it back.

    Args:
        cluster: Where the Lease is.
        lease: Its name.
        identity: This replica's, as the name of its pod.
        work: Runs until cancelled; an error that it raises is raised here.
    """
    while True:
        term = _Term(lease, work)
        config = Config(
            LeaseLock(lease, cluster.namespace, identity, cluster.api),
            lease_duration=_LEASE_SECONDS,
            renew_deadline=_RENEW_SECONDS,
            retry_period=_RETRY_SECONDS,
            onstarted_leading=term.begin,
            onstopped_leading=term.end,
        )
        election = asyncio.create_task(LeaderElection(config).run())
        try:
            await asyncio.wait({election, term.over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            election.cancel()
            if term.began:
                await term.end()
                await _give_back(cluster, lease)
        if term.over.done() and (fault := term.over.exception()) is not None:
            raise fault
        with suppress(asyncio.CancelledError, aiohttp.ClientError, TimeoutError, OSError):
            # The library lets errors of the connection through: then it is tried again.
            await election
        await asyncio.sleep(_RETRY_SECONDS)


class _Term:
    """The time that a replica leads.

    Attributes:
        began: Whether it leads, or has led.
        over: Done when its work has ended by itself.
    """

    def __init__(self, lease: str, work: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        self.began = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lease = lease
        self._work = work
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        _log.info("this replica leads", extra={"lease": self._lease})
        self.began = True
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def end(self) -> None:
        """Stop the work, if it goes on."""
        if self._task is None or self._task.done():
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        _log.info("this replica does not lead any more", extra={"lease": self._lease})

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for each in self._work:
                group.create_task(each())

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.over.done():
            return
        if (fault := task.exception()) is not None:
            self.over.set_exception(fault)
        else:
            self.over.set_result(None)


async def _give_back(cluster: Cluster, lease: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{cluster.namespace}/leases/{lease}"
    with suppress(LeptonError):
        await cluster.patch(path, {"spec": {"holderIdentity": ""}})

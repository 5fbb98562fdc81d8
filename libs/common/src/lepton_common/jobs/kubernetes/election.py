"""Which of several replicas does what one of them is to do.

The protocol is that of client-go's leader election, over a Lease. (The elections of the Kubernetes client for
Python cannot create one, in version 37.)
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from lepton_common.errors import AlreadyExists, EtagMismatch, LeptonError, NotFound
from lepton_common.jobs.kubernetes.cluster import Cluster, Document

_LEASE_SECONDS = 10
"""Nobody takes a Lease that was renewed within so long."""
_RENEW_SECONDS = 6.0
"""A replica that could not renew its Lease for so long does not count on it any more."""
_RETRY_SECONDS = 2.0

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
    held = Lease(cluster, lease, identity=identity)
    term: asyncio.Task[None] | None = None
    renewed_at = 0.0
    try:
        while True:
            mine = await held.hold()
            if mine:
                renewed_at = time.monotonic()
                if term is None:
                    _log.info("this replica leads", extra={"lease": lease})
                    term = asyncio.create_task(_do(work))
            elif term is not None and (mine is False or time.monotonic() - renewed_at > _RENEW_SECONDS):
                _log.warning("this replica does not lead any more", extra={"lease": lease})
                await _end(term)
                term = None
            if term is None:
                await asyncio.sleep(_RETRY_SECONDS)
            elif (await asyncio.wait({term}, timeout=_RETRY_SECONDS))[0]:
                return await term
    finally:
        if term is not None:
            await _end(term)
            await held.give_back()


class Lease:
    """A Lease that several want to hold."""

    def __init__(self, cluster: Cluster, name: str, *, identity: str) -> None:
        """Hold the Lease `name` as `identity`."""
        self._cluster = cluster
        self._path = cluster.path("leases")
        self._name = name
        self._identity = identity
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = 0.0

    async def hold(self) -> bool | None:
        """Take or renew the Lease; say whether it is held, None where the cluster does not answer."""
        try:
            return await self._hold()
        except (AlreadyExists, EtagMismatch):
            # Another one was faster.
            return False
        except LeptonError as error:
            _log.warning("the lease could not be renewed: %s", error, extra={"lease": self._name})
            return None

    async def give_back(self) -> None:
        """Let another one take the Lease at once."""
        with suppress(LeptonError):
            await self._cluster.patch(f"{self._path}/{self._name}", {"spec": {"holderIdentity": ""}})

    async def _hold(self) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": now,
        }
        try:
            lease = await self._cluster.get(f"{self._path}/{self._name}")
        except NotFound:
            metadata = {"name": self._name}
            spec = {**mine, "acquireTime": now, "leaseTransitions": 0}
            await self._cluster.create(self._path, {"metadata": metadata, "spec": spec})
            return True
        spec = lease["spec"]
        if spec.get("holderIdentity") != self._identity:
            if spec.get("holderIdentity") and not self._has_lapsed(spec):
                return False
            mine |= {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", 0) + 1}
        # Refused if somebody else has written it meanwhile, by its resourceVersion.
        await self._cluster.replace(f"{self._path}/{self._name}", lease | {"spec": spec | mine})
        return True

    def _has_lapsed(self, spec: Document) -> bool:
        """Whether its holder has not renewed it for too long, by this machine's clock alone."""
        seen = spec.get("holderIdentity", ""), spec.get("renewTime", "")
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        lease_seconds: int = spec.get("leaseDurationSeconds", _LEASE_SECONDS)
        return time.monotonic() - self._seen_at > lease_seconds


async def _do(work: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each())


async def _end(term: asyncio.Task[None]) -> None:
    term.cancel()
    await asyncio.wait({term})

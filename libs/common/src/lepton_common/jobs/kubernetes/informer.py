"""A copy of some objects of a cluster, kept up to date by one list and one watch."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from lepton_common.errors import LeptonError, NotFound
from lepton_common.jobs.kubernetes.cluster import Cluster, Document

T = TypeVar("T")

_LIST_SECONDS = 300
"""After so long everything is listed anew, should an event have been missed."""
_WATCH_SECONDS = 90
"""After so long the cluster ends a watch, and the next goes on from there; so one whose connection has died
without a word is soon known."""
_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Informer(Generic[T]):
    """Objects of one kind by their names, each cut down to what matters.

    Attributes:
        items: The objects as they were when the cluster last told of them.
        synced: Set once all have been listed.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: str,
        *,
        keep: Callable[[Document], T],
        changed: Callable[[T | None, T | None], None],
        selectors: Mapping[str, str],
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            cluster: Where they are.
            kind: `jobs`, `pods` and so on.
            keep: Cuts an object down.
            changed: Called with what an object was and what it is now, where that is not the same. None: it
                was not there, or is not any more.
            selectors: `labelSelector` and `fieldSelector` of those that matter.
        """
        self.items: dict[str, T] = {}
        self.synced = asyncio.Event()
        self._cluster = cluster
        self._kind = kind
        self._keep = keep
        self._changed = changed
        self._selectors = selectors

    async def run(self) -> None:
        """Follow the cluster until cancelled; where it does not answer, try again."""
        while True:
            try:
                await self._follow(await self._list())
            except NotFound:
                _log.debug("the watch is too old", extra={"kind": self._kind})
            except LeptonError as error:
                _log.warning("the cluster cannot be watched: %s", error, extra={"kind": self._kind})
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _list(self) -> str:
        """Take all over; return the version that a watch goes on from."""
        found: dict[str, T] = {}
        query = {**self._selectors, "limit": "500"}
        while True:
            page = await self._cluster.get(self._cluster.path(self._kind), **query)
            found |= {document["metadata"]["name"]: self._keep(document) for document in page["items"]}
            if not (more := page["metadata"].get("continue")):
                break
            query["continue"] = more
        for name in self.items.keys() - found.keys():
            self._set(name, None)
        for name, item in found.items():
            self._set(name, item)
        self.synced.set()
        version: str = page["metadata"]["resourceVersion"]
        return version

    async def _follow(self, version: str) -> None:
        loop = asyncio.get_running_loop()
        # Spread, so that informers that were started together do not all list at once.
        deadline = loop.time() + _LIST_SECONDS * random.uniform(0.8, 1.2)
        while (left := deadline - loop.time()) > 0:
            seconds = max(1, min(int(left), _WATCH_SECONDS))
            path = self._cluster.path(self._kind)
            async for event, document in self._cluster.watch(
                path, seconds=seconds, resourceVersion=version, **self._selectors
            ):
                version = document["metadata"]["resourceVersion"]
                if event == "DELETED":
                    self._set(document["metadata"]["name"], None)
                elif event != "BOOKMARK":
                    self._set(document["metadata"]["name"], self._keep(document))

    def _set(self, name: str, item: T | None) -> None:
        known = self.items.get(name)
        if item is None:
            self.items.pop(name, None)
        else:
            self.items[name] = item
        if item != known:
            self._changed(known, item)

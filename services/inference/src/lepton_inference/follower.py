"""Follows the registry: takes its word for what to serve, and tells it how that goes.

Serving does not depend on the registry being there. Without it the server goes on with what
it has; started without it, with what it was told last.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NoReturn, Protocol

from lepton_common.errors import LeptonError
from lepton_inference.catalogue import Catalogue
from lepton_inference.deployment import Status
from lepton_inference.loader import Loader
from lepton_inference.repository import Repository

logger = logging.getLogger(__name__)

REPORT_SECONDS = 10.0
_FIRST_RETRY_SECONDS = 0.2
_LAST_RETRY_SECONDS = 2.0


class Registry(Protocol):
    """Who says what is to be served."""

    def last_known(self) -> Catalogue | None:
        """What was said last, also before a restart; None if nothing ever was."""

    def watch(self) -> AsyncIterator[Catalogue]:
        """What is to be served, whenever it differs from what is known.

        Raises:
            LeptonError: the registry does not answer any more.
        """

    async def report(self, statuses: Mapping[str, Sequence[Status]]) -> None:
        """Tells the state of every version by endpoint.

        Raises:
            LeptonError: the registry does not answer.
        """


class Follower:
    """Two loops for ever: `follow` hears the registry, `report` answers it."""

    def __init__(self, registry: Registry, repository: Repository, *, loader: Loader) -> None:
        self._registry = registry
        self._repository = repository
        self._loader = loader

    async def follow(self) -> NoReturn:
        """Applies what the registry says, and comes back to it when it is gone."""
        known = self._registry.last_known()
        if known is not None:
            self._repository.apply(known)
        retry_seconds = _FIRST_RETRY_SECONDS
        while True:
            try:
                async for catalogue in self._registry.watch():
                    retry_seconds = _FIRST_RETRY_SECONDS
                    self._repository.apply(catalogue)
                    await self._loader.prune(catalogue)
            except LeptonError as error:
                logger.warning("the registry does not answer", extra={"reason": str(error)})
            await asyncio.sleep(retry_seconds)
            retry_seconds = min(2 * retry_seconds, _LAST_RETRY_SECONDS)

    async def report(self) -> NoReturn:
        """Reports at every change and at least every `REPORT_SECONDS`."""
        while True:
            self._repository.changed.clear()
            try:
                await self._registry.report(self._repository.report())
            except LeptonError as error:
                logger.warning("the report was not heard", extra={"reason": str(error)})
                await asyncio.sleep(_FIRST_RETRY_SECONDS)
            try:
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._repository.changed.wait()
            except TimeoutError:
                continue

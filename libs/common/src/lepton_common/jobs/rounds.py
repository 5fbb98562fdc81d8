"""The loop of a controller: look at all, take each step that is due, wait until something changes."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from lepton_common.errors import LeptonError

_IDLE_POLLS = 10
"""While nothing is followed, the next look for what another replica accepted is so many times as far."""

_MAX_PAUSE_SECONDS = 10.0

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Followed:
    """Something that is followed until it has ended.

    Attributes:
        step: The step that is being taken.
        failures: Steps in a row that could not be taken, or were held up.
        not_before: Monotonic time of the next step.
    """

    step: asyncio.Task[None] | None = None
    failures: int = 0
    not_before: float = 0.0

    def free(self, now: float) -> bool:
        """Say whether its next step may be taken."""
        return self.step is None and now >= self.not_before


class Rounds:
    """Goes round all that is followed."""

    def __init__(
        self,
        followed: Mapping[str, Followed],
        *,
        look: Callable[[], Awaitable[None]],
        take_steps: Callable[[], None],
        poll_seconds: float,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            followed: What is followed, by name.
            look: Brings it up to date.
            take_steps: Calls `take` for each of it that is due.
            poll_seconds: How often to look. Also the unit of the time between steps that are held up, which
                doubles with each.
        """
        self._followed = followed
        self._look = look
        self._take_steps = take_steps
        self._poll_seconds = poll_seconds
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Begin the next round now."""
        self._awake.set()

    async def run(self) -> None:
        """Go round until cancelled; steps that are being taken are cut off then."""
        try:
            while True:
                self._awake.clear()
                try:
                    await self._look()
                except LeptonError as error:
                    _log.warning("a store cannot be looked at: %s", error)
                self._take_steps()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds * (1 if self._followed else _IDLE_POLLS)):
                        await self._awake.wait()
        finally:
            steps = [entry.step for entry in self._followed.values() if entry.step]
            for step in steps:
                step.cancel()
            await asyncio.gather(*steps, return_exceptions=True)
            # One that was cut off before its first line could not do it.
            for entry in self._followed.values():
                entry.step = None

    def take(
        self, name: str, entry: Followed, step: Callable[[], Awaitable[T]], *, then: Callable[[T], None]
    ) -> None:
        """Begin a step.

        Args:
            name: Of what is followed, for the log.
            entry: What is followed.
            step: Takes the step. If it fails it is due again after a pause.
            then: Called with what came of it.
        """
        entry.step = asyncio.create_task(self._take(name, entry, step, then=then))

    def back_off(self, entry: Followed) -> None:
        """Put off the next step, longer with each that could not be taken."""
        entry.failures += 1
        self.pause(entry, exponent=entry.failures)

    def pause(self, entry: Followed, *, exponent: int) -> None:
        """Put off the next step."""
        delay = min(self._poll_seconds * 2**exponent, _MAX_PAUSE_SECONDS)
        entry.not_before = time.monotonic() + delay

    async def _take(
        self, name: str, entry: Followed, step: Callable[[], Awaitable[T]], *, then: Callable[[T], None]
    ) -> None:
        try:
            came_of_it = await step()
        except LeptonError as error:
            _log.warning("a step will be taken again: %s", error, extra={"resource": name})
            self.back_off(entry)
        except Exception:
            # A fault in one must not end the others' loop.
            _log.exception("a step failed", extra={"resource": name})
            self.back_off(entry)
        else:
            then(came_of_it)
        finally:
            entry.step = None

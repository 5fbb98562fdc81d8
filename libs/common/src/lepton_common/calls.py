"""Calls to other services: bounded, and with errors that say what the caller can do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lepton_common.errors import DeadlineExceeded, DependencyUnavailable, ShuttingDown
from lepton_common.rpc import named_errors

CALL_SECONDS = 10.0
"""Deadline of one call, its retries included."""

_RETRY_SECONDS = 5.0


@asynccontextmanager
async def answered_by(service: str) -> AsyncIterator[None]:
    """Translate what a stub raises; a service that is away is named, for a person.

    Raises:
        DependencyUnavailable: It does not answer.
        LeptonError: It answered with this error.
    """
    try:
        with named_errors():
            yield
    except (DependencyUnavailable, DeadlineExceeded, ShuttingDown) as error:
        raise DependencyUnavailable(
            f"the {service} does not answer: make sure that it runs, then try again",
            metadata={"service": service},
            retry_after_seconds=_RETRY_SECONDS,
        ) from error

"""What tells one kind of job from another: the port that every service with jobs implements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from lepton_common.errors import Code, LeptonError
from lepton_common.jobs.job import Job
from lepton_common.jobs.launcher import Placement
from lepton_common.records import Collection

M = TypeVar("M", bound=Job)

_NOT_NOW = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED})


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the workers of a job do.

    Attributes:
        module: The module of the worker.
        spec: Its spec, JSON.
        workers: How many work together.
        placement: Where they may run.
    """

    module: str
    spec: Mapping[str, Any]
    workers: int = 1
    placement: Placement = field(default_factory=Placement)


class JobKind(Protocol[M]):
    """One kind of job: where its resources are, what its workers do, what becomes of their output.

    Of the errors that its methods raise, those that say "not now" (codes UNAVAILABLE,
    DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED) make the job wait; any other is the job's end.
    """

    @property
    def collection(self) -> Collection[M]:
        """The jobs. Its index must be `job.index`."""

    async def launch(self, job: M) -> Work:
        """Return what the workers of a job do, the same at every call."""

    async def complete(self, job: M, outcome: Mapping[str, Any]) -> Callable[[M], None]:
        """Register the output of a job; return the change to be written together with SUCCEEDED.

        It may be called again after it has returned: whatever it makes is made once.
        """


def says_not_now(error: LeptonError) -> bool:
    """Say whether the same call may succeed later."""
    return error.code in _NOT_NOW

"""One call, as the stages around it see it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from lepton.access.v1.access_pb2 import Permission
from lepton_common.auth import ANYONE, Identity
from lepton_common.errors import Code


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is known of a method before anyone calls it."""

    service: str
    """Full name of the service, as `lepton.dataset.v1.DatasetService`."""

    name: str
    """Name of the method, as `GetDataset`."""

    permission: "Permission.ValueType | None"
    """The `lepton.access.v1.Permission` that a caller needs. None: open to everyone, even while draining."""

    validate: bool
    """Whether requests are checked against the rules in their contract."""

    endless: bool
    """Whether it ends with the server and not by itself: the streams of `Watch...` methods."""

    client_streaming: bool
    server_streaming: bool

    quiet: bool = False
    """Whether calls that succeed, or find no time, are logged at DEBUG alone: thousands come in a second."""

    @property
    def kind(self) -> str:
        """How many messages go each way, in the words of metrics."""
        kinds = ("unary", "server_stream", "client_stream", "bidi_stream")
        return kinds[2 * self.client_streaming + self.server_streaming]

    @property
    def path(self) -> str:
        """`/service/method`, as on the wire."""
        return f"/{self.service}/{self.name}"


@dataclass(kw_only=True, eq=False)
class Call:
    """A call in progress. Stages fill in what they find out."""

    method: Method
    context: "grpc.aio.ServicerContext[Any, Any]"
    request_id: str
    identity: Identity = ANYONE
    code: Code = Code.OK
    reader: asyncio.Task[Any] | None = None
    """What waits for the next request of a stream, while it does."""
    reads_no_more: bool = False
    """Whether no more requests of a stream are taken."""
    cut_short: bool = False
    """Whether there might have been more of them."""

    def end_requests(self) -> None:
        """Takes no more requests of a stream: for its handler they end, and it answers those it was given."""
        self.reads_no_more = True
        if self.reader is not None:
            self.reader.cancel()

    def metadata(self, key: str) -> str:
        """Gives the caller's last text metadata of this key; empty if there is none."""
        found = ""
        for name, value in self.context.invocation_metadata() or ():
            if name == key and isinstance(value, str):
                found = value
        return found


Proceed = Callable[[], Awaitable[Any]]
"""Goes on to the next stage, and ends when the call was answered: with the response of a unary method, with
None after a stream."""


class Stage(Protocol):
    """Something that happens around a call."""

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        """Does its part before and after `await proceed()`, and gives back what that gave."""

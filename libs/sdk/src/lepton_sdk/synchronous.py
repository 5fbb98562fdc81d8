"""The client without `await`, for notebooks and scripts.

There is no second client: every call of the asynchronous one is run on an event loop in a background
thread, and its result waited for.
"""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lepton_sdk.addresses import Addresses
from lepton_sdk.client import Client


def connect(endpoints: Path | None = None) -> "SynchronousClient":
    """A client for the services that `endpoints.json` names; use it in a `with` block."""
    return SynchronousClient(Addresses.read(endpoints))


class SynchronousClient:
    """`Client` with blocking calls: `client.models.list()` returns the list, and a Watch is a plain
    iterator."""

    def __init__(self, addresses: Addresses) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lepton-sdk", daemon=True)
        self._thread.start()
        self._client: Client = self._run(_enter(addresses))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread."""
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __getattr__(self, group: str) -> "_Blocking":
        return _Blocking(getattr(self._client, group), self)

    def _run(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result()

    def _iterate(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        while True:
            try:
                yield self._run(anext(items))
            except StopAsyncIteration:
                return


class _Blocking:
    """A group of calls, each waited for."""

    def __init__(self, group: Any, owner: SynchronousClient) -> None:
        self._group = group
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._group, name)

        def blocking(*arguments: Any, **named: Any) -> Any:
            result = call(*arguments, **named)
            if inspect.isasyncgen(result):
                return self._owner._iterate(result)
            return self._owner._run(result)

        blocking.__doc__ = call.__doc__
        return blocking


async def _enter(addresses: Addresses) -> Client:
    return Client(addresses)

"""The client without `await`, for notebooks and scripts.

There is no second client: every call of the asynchronous one is run on an event loop in a background
thread, and its result waited for.
"""

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator
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
    iterator; leaving its loop ends it."""

    addresses: Addresses

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lepton-sdk", daemon=True)
        self._thread.start()
        try:
            self._client: Client = self._run(_enter(addresses))
        except BaseException:
            self._end_loop()
            raise

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
        """Close the connections and end the thread; a second call does nothing."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._client.close())
        finally:
            self._end_loop()

    def _end_loop(self) -> None:
        self._run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __getattr__(self, group: str) -> "_Blocking":
        if group.startswith("_"):
            raise AttributeError(group)
        return _Blocking(getattr(self._client, group), self)

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            # An interrupt of the caller ends the call too.
            future.cancel()
            raise

    def _iterate(self, items: AsyncGenerator[Any, Any]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(items, _END)

        try:
            while (item := self._run(following())) is not _END:
                yield item
        finally:
            if not self._loop.is_closed():
                self._run(items.aclose())


_END = object()


class _Blocking:
    """A group of calls, each waited for."""

    def __init__(self, group: Any, owner: SynchronousClient) -> None:
        self._group = group
        self._owner = owner

    def __dir__(self) -> Iterable[str]:
        return dir(self._group)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._group, name)

        @functools.wraps(call)
        def blocking(*arguments: Any, **named: Any) -> Any:
            result = call(*arguments, **named)
            if isinstance(result, AsyncGenerator):
                return self._owner._iterate(result)
            return self._owner._run(result)

        return blocking


async def _enter(addresses: Addresses) -> Client:
    return Client(addresses)

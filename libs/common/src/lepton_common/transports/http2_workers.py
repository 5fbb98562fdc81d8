"""The server of `lepton_http2` with its connections in processes of their own.

The handlers stay in one process, which has the models; what costs CPU for each byte and each connection,
which is TLS, HTTP/2 and their system calls, is done by as many others as there are cores for it.
"""

import os
import sys
from typing import Any

from lepton_common.settings import ServerSettings
from lepton_common.transports.http2 import Http2Transport, server_options
from lepton_http2.relay.processes import Fronts

_COMMAND = (sys.executable, "-m", "lepton_common.transports.front_end")


class WorkersTransport(Http2Transport):
    """See `Http2Transport`.

    Args:
        settings: how it behaves.
        workers: how many processes take connections.
        others: as of `Http2Transport`.

    Raises:
        OSError: this system cannot share memory in the way that it takes.
    """

    def __init__(self, settings: ServerSettings, listen: str, *, workers: int, **others: Any) -> None:
        super().__init__(settings, listen, **others)
        if not (hasattr(os, "eventfd") and hasattr(os, "memfd_create")):
            raise OSError("processes for connections (workers) need Linux")
        self._workers = workers
        self._fronts: Fronts | None = None

    async def _prepare(self) -> None:
        """The processes start before anybody can connect, who would have to wait for them."""
        settings = self._settings
        files = (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
        self._fronts = Fronts(
            self._workers,
            _COMMAND,
            methods=self._methods(),
            options=server_options(settings),
            more={
                "tls": [None if path is None else str(path.absolute()) for path in files],
                "log_level": settings.log_level,
            },
        )
        await self._fronts.start()

    async def start(self) -> None:
        """See `Transport.start`."""
        assert self._fronts is not None and self._socket is not None
        self._fronts.accept(self._socket)

    def leave(self) -> None:
        """See `Transport.leave`."""
        if self._fronts is not None:
            self._fronts.leave()

    async def stop(self, seconds: float) -> None:
        """See `Transport.stop`."""
        if self._fronts is not None:
            await self._fronts.drain(seconds)
        await super().stop(seconds)

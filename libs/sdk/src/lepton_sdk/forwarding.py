"""A port of this machine that leads to a Service of a cluster, and is opened again whenever it closes.

`kubectl port-forward` binds itself to one pod, and ends with it, or stays and fails at every connection.
"""

import asyncio
import contextlib
import re
from asyncio.subprocess import Process
from collections.abc import Callable

from lepton_common.errors import DependencyUnavailable, LeptonError, NotFound
from lepton_sdk.kubectl import Kubectl, end, error_of
from lepton_sdk.ports import LOOPBACK

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
BROKEN = re.compile(rb"error occurred forwarding|lost connection to pod|error forwarding port")


class Forward:
    """One Service, at one port of this machine."""

    def __init__(
        self,
        kubectl: Kubectl,
        service: str,
        *,
        port: int,
        target: int,
        on_trouble: Callable[[str, LeptonError], None],
    ) -> None:
        """
        Args:
            kubectl: how the cluster is reached.
            service: name of the Service.
            port: of this machine.
            target: port of the Service.
            on_trouble: told of the Service and of why it cannot be reached now, once until it can be again.
        """
        self.service = service
        self._kubectl = kubectl
        self._ports = f"{port}:{target}"
        self._on_trouble = on_trouble
        self.opened = asyncio.Event()
        """Set while the port is open."""

    async def keep_open(self) -> None:
        """Forward until cancelled.

        Raises:
            LeptonError: it will never do, for want of rights or by a wrong name.
        """
        pause, was_open = FIRST_PAUSE_SECONDS, False
        while True:
            trouble = await self._forward()
            if self.opened.is_set():
                pause, was_open = FIRST_PAUSE_SECONDS, True
                self.opened.clear()
            elif not isinstance(trouble, DependencyUnavailable | NotFound) and not was_open:
                raise trouble
            if pause == FIRST_PAUSE_SECONDS:
                self._on_trouble(self.service, trouble)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _forward(self) -> LeptonError:
        """Forward until it breaks; says why it did."""
        process = await self._kubectl.start(
            "port-forward",
            f"--address={LOOPBACK}",
            "--pod-running-timeout=10s",
            f"service/{self.service}",
            self._ports,
        )
        try:
            _, said = await asyncio.gather(self._watch(process), _said(process))
            await process.wait()
            return error_of(said.decode(errors="replace"))
        finally:
            await end(process)

    async def _watch(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(b"Forwarding from"):
                self.opened.set()


async def _said(process: Process) -> bytes:
    """The last that it has written on stderr; it is ended when that says that its pod has gone."""
    assert process.stderr is not None
    last = b""
    async for line in process.stderr:
        last = line
        if BROKEN.search(line):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
    return last

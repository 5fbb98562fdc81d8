"""What carries calls to a server: the gRPC library's own server, or the one of `lepton_http2`.

Both take the same handlers with the same stages around them, listen as the same settings say, and stop the
same way. `http2` is imported by those who want it: only they need what it stands on.
"""

from typing import Any, Protocol


class Transport(Protocol):
    """A server without anything around it."""

    @property
    def registrar(self) -> Any:
        """What the generated `add_...Servicer_to_server` functions add handlers to."""

    async def bind(self) -> str:
        """Takes the address.

        Returns:
            The bound `host:port`.

        Raises:
            OSError: it cannot be taken, or a certificate cannot be read.
        """

    async def start(self) -> None:
        """Begins to answer what comes to the address."""

    def leave(self) -> None:
        """Asks the clients that are there to make their next calls elsewhere, where that can be said.

        Calls that come all the same reach their handlers.
        """

    async def stop(self, seconds: float) -> None:
        """Lets go of the address, and ends connections: those with calls after this time at the latest.

        Does nothing to a server that was not started but to let go of its address.
        """

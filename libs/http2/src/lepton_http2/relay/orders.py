"""What the back tells a front process when it starts, and later, over a socket of their own.

The socket keeps messages apart (SOCK_SEQPACKET). The first one to the front brings `Orders` and descriptors.
The front says READY when it can accept connections. It does when the back says ACCEPT and brings the socket
that listens; LEAVE asks the clients to go elsewhere, and DRAIN ends it. When one of the two ends, the other
reads the end of the socket.
"""

import json
import socket
from dataclasses import asdict, dataclass, field
from struct import Struct
from typing import Any

from lepton_http2.grpc.options import Options
from lepton_http2.relay.shared import Sizes

__all__ = ["ACCEPT", "DRAIN", "LEAVE", "MOST_SAID_BYTES", "READY", "Orders", "receive_orders", "send_orders"]

READY = b"ready"
ACCEPT = b"accept"
LEAVE = b"leave"
DRAIN = Struct("=d")
"""How many seconds calls may take to end."""

MOST_SAID_BYTES = 16
"""Of what follows the orders."""

_MOST_BYTES = 128 << 10
_MOST_DESCRIPTORS = 16


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a front process is to do."""

    index: int
    """Its place among the processes."""
    count: int
    """How many processes there are."""
    methods: list[tuple[str, bool]]
    """The paths of the methods, and whether they take streams."""
    options: Options
    sizes: Sizes
    more: dict[str, Any] = field(default_factory=dict)
    """What only the program of the front understands: of what JSON knows."""


def send_orders(to: socket.socket, orders: Orders, descriptors: list[int]) -> None:
    """Sends orders, and copies of descriptors: of what counts connections, and of what is shared.

    Raises:
        OSError: nobody takes them.
    """
    socket.send_fds(to, [json.dumps(asdict(orders)).encode()], descriptors)


def receive_orders(control: socket.socket) -> tuple[Orders, list[int]]:
    """Waits for orders.

    Raises:
        OSError: none came.
    """
    data, descriptors, _, _ = socket.recv_fds(control, _MOST_BYTES, _MOST_DESCRIPTORS)
    if not data:
        raise ConnectionAbortedError("no orders came")
    said = json.loads(data)
    methods = [(path, takes_stream) for path, takes_stream in said.pop("methods")]
    options, sizes = Options(**said.pop("options")), Sizes(**said.pop("sizes"))
    return Orders(methods=methods, options=options, sizes=sizes, **said), descriptors

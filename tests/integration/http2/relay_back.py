"""A back with two fronts: tells their process ids and its port, and serves until it is killed."""

import asyncio
import socket
import sys
from pathlib import Path

from lepton_http2.grpc import Call, Options, direct
from lepton_http2.relay.processes import Fronts

FRONT = (sys.executable, str(Path(__file__).with_name("relay_front.py")))


def echo(call: Call, message: bytes) -> bytes:
    """Answers with the request."""
    return message


async def main() -> None:
    """Serves."""
    fronts = Fronts(2, FRONT, methods=[direct("/test/Echo", echo)], options=Options())
    await fronts.start()
    listener = socket.create_server(("127.0.0.1", 0))
    fronts.accept(listener)
    sys.stdout.write(f"{listener.getsockname()[1]} {' '.join(map(str, fronts.pids))}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

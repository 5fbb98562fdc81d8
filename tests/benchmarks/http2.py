"""What a call costs on the HTTP/2 transport, beside grpc.aio, in CPU time of the server.

    make bench-http2

Servers that send a message back, or only tell its size, each a process on one core; the load comes from the
other. CPU time is what the operating system counted for the server's process, system calls included. The
servers take turns; of several rounds the median counts. The load is h2load's (Debian's nghttp2-client), whose
calls are all the same, or an ordinary grpc.aio client's, each of whose calls has a deadline and an id of its
own. Prints a table and writes `build/bench/http2.json` as records `name, value, unit, bar, holds`.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ECHO, SIZE = "/test.Echo/Echo", "/test.Echo/Size"
SERVER_CORE, LOAD_CORE = 0, 1
SERVERS = ("lepton_http2 on uvloop", "lepton_http2 on asyncio", "grpc.aio")
SMALL, LARGE = 3_100, 602_112


@dataclass(frozen=True)
class Load:
    """Calls of one kind."""

    name: str
    client: str
    size: int
    calls: int
    in_flight: int
    path: str = ECHO
    bar: float | None = None
    """The most microseconds a call may cost on uvloop."""
    ratio_bar: float | None = None
    """How many times that a call must cost at least with grpc.aio."""


LOADS = (
    Load("3 KB, h2load, 1 in flight", "h2load", SMALL, 10_000, 1),
    Load("3 KB, h2load, 16 in flight", "h2load", SMALL, 40_000, 16, bar=15.0, ratio_bar=10.0),
    Load("3 KB, h2load, 64 in flight", "h2load", SMALL, 40_000, 64, bar=15.0, ratio_bar=10.0),
    Load("3 KB, grpc.aio client, 16 in flight", "grpc.aio", SMALL, 8_000, 16, bar=35.0, ratio_bar=4.0),
    Load("602 KB in, h2load, 8 in flight", "h2load", LARGE, 800, 8, path=SIZE, bar=400.0),
    Load("602 KB in and out, h2load, 8 in flight", "h2load", LARGE, 800, 8),
)


def main() -> None:
    """Measure, print, write; or be one of the servers, or the client."""
    parser = argparse.ArgumentParser(description="Measure what a call costs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=SERVERS, help="be this server")
    parser.add_argument(
        "--call", nargs=4, metavar=("PORT", "SIZE", "CALLS", "IN_FLIGHT"), help="be the client"
    )
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
    elif arguments.call:
        asyncio.run(call_aio(*map(int, arguments.call)))
    else:
        measure(arguments.rounds)


def measure(rounds: int) -> None:
    """Measure all loads against all servers."""
    if not shutil.which("h2load"):
        sys.exit("h2load is missing: it comes with the package nghttp2-client.")
    records = []
    for load in LOADS:
        costs: dict[str, list[float]] = {name: [] for name in SERVERS}
        for _ in range(rounds):
            for name in SERVERS:
                costs[name].append(cost(name, load))
        medians = {name: statistics.median(values) for name, values in costs.items()}
        ours, theirs = medians[SERVERS[0]], medians["grpc.aio"]
        for name, value in medians.items():
            bar = load.bar if name == SERVERS[0] else None
            records.append(_record(f"{load.name}: {name}", value, "us", bar, bar is None or value <= bar))
        held = load.ratio_bar is None or theirs / ours >= load.ratio_bar
        records.append(_record(f"{load.name}: grpc.aio / ours", theirs / ours, "times", load.ratio_bar, held))
        for record in records[-len(SERVERS) - 1 :]:
            told = "" if record["bar"] is None else f"bar {record['bar']:g}, holds: {record['holds']}"
            print(f"{record['name']:<64}{record['value']:>9.1f} {record['unit']:<6}{told}", flush=True)
    target = Path("build/bench/http2.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=1))


def _record(name: str, value: float, unit: str, bar: float | None, holds: bool) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "bar": bar, "holds": holds}


def cost(name: str, load: Load) -> float:
    """The CPU microseconds that a server took for a call, once it is warm."""
    with _server(name) as (process, port):
        _run(load, port, max(load.calls // 10, 100))
        before = process.cpu_times()
        _run(load, port, load.calls)
        after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / load.calls * 1e6


@contextmanager
def _server(name: str) -> Iterator[tuple[psutil.Process, int]]:
    command = ["taskset", "-c", str(SERVER_CORE), sys.executable, __file__, "--serve", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield psutil.Process(process.pid), int(process.stdout.readline())
        finally:
            process.terminate()


def _run(load: Load, port: int, calls: int) -> None:
    if load.client == "grpc.aio":
        arguments = map(str, (port, load.size, calls, load.in_flight))
        command = [sys.executable, __file__, "--call", *arguments]
        subprocess.run(["taskset", "-c", str(LOAD_CORE), *command], check=True)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0" + load.size.to_bytes(4) + os.urandom(load.size))
        file.flush()
        done = subprocess.run(
            [
                *("taskset", "-c", str(LOAD_CORE), "h2load", f"--requests={calls}"),
                *("--clients=1", f"--max-concurrent-streams={load.in_flight}", f"--data={file.name}"),
                # Windows of 1 GiB.
                *("--window-bits=30", "--connection-window-bits=30"),
                *("--header=content-type: application/grpc", "--header=te: trailers"),
                f"http://127.0.0.1:{port}{load.path}",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
    succeeded = re.search(r"(\d+) succeeded", done.stdout)
    assert succeeded is not None and int(succeeded[1]) == calls, done.stdout
    # Every answer has a message, so it was OK.
    answer = 5 + (load.size if load.path == ECHO else len(str(load.size)))
    received = re.search(r"\((\d+)\) data", done.stdout)
    assert received is not None and int(received[1]) >= calls * answer, done.stdout


async def call_aio(port: int, size: int, calls: int, in_flight: int) -> None:
    """Call from grpc.aio: each call has a deadline and an id of its own."""
    import grpc.aio

    message = os.urandom(size)
    channel: Any
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo = channel.unary_unary(ECHO)

        async def work() -> None:
            for _ in range(calls // in_flight):
                metadata = [("x-request-id", str(uuid.uuid4()))]
                assert await echo(message, timeout=30 + time.monotonic() % 1, metadata=metadata) == message

        await asyncio.gather(*(work() for _ in range(in_flight)))


def serve(name: str) -> None:
    """Be a server, and print its port."""
    if name == "grpc.aio":
        asyncio.run(_serve_aio())
    elif name.endswith("uvloop"):
        import uvloop

        uvloop.run(_serve())
    else:
        asyncio.run(_serve())


async def _serve() -> None:
    from lepton_http2.grpc import Server, direct

    methods = [
        direct(ECHO, lambda call, request: request),
        direct(SIZE, lambda call, request: b"%d" % len(request)),
    ]
    server = Server(methods)
    _, port = await server.listen("127.0.0.1", 0)
    print(port, flush=True)
    await asyncio.Event().wait()


async def _serve_aio() -> None:
    import grpc.aio

    async def echo(request: bytes, context: object) -> bytes:
        return request

    async def size(request: bytes, context: object) -> bytes:
        return b"%d" % len(request)

    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Size": grpc.unary_unary_rpc_method_handler(size),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    main()

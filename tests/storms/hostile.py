"""A hundred thousand connections that no client would make, while a client goes on calling."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from lepton_common.errors import Code

from ..integration.inference.conftest import InferenceServer, until
from .conversation import call
from .load import Elsewhere, open_load
from .records import Record, at_most, milliseconds
from .services import Services, cnn, image, serve, services
from .siege import besiege, lingering

WARM_UP = 10_000
LINGERING = 400
RATE = 100.0
"""Calls a second of the client that means well."""
MOST_SECONDS = 3_600.0
CALM_SECONDS = 3.0
SETTLED_SECONDS = 120.0
QUIET_SECONDS = 1.0
MEMORY_LOOKS, MEMORY_LOOK_SECONDS = 20, 0.5
MEGABYTE = 1 << 20


def measure(folder: Path, elsewhere: Elsewhere, *, connections: int) -> Iterator[Record]:
    """Measures the service's own transport."""
    with services(folder, transport="http2", MAX_CONNECTION_AGE_SECONDS="0") as running:
        serve(running, "besieged", cnn(), max_batch_size=64)
        yield from _measure(running, elsewhere, connections=connections, end=folder / "over")


def _measure(running: Services, elsewhere: Elsewhere, *, connections: int, end: Path) -> Iterator[Record]:
    address, message = running.server.address, image("besieged")
    asked = call(message)
    calm = elsewhere(open_load, address, asked, rate=RATE, seconds=CALM_SECONDS)
    # What a storm needs at its height, the server keeps: the question is whether it grows from there.
    asyncio.run(_siege(address, message, WARM_UP, seed=1))
    settle(running.server)
    before = resting_memory(running.process)
    cpu = sum(running.process.cpu_times()[:2])
    loading = elsewhere.start(open_load, address, asked, rate=RATE, seconds=MOST_SECONDS, end=end)
    began = time.perf_counter()
    kinds, let_go = asyncio.run(_siege(address, message, connections))
    seconds = time.perf_counter() - began
    end.touch()
    outcomes = loading.result()
    cpu = sum(running.process.cpu_times()[:2]) - cpu
    settled = settle(running.server)
    after = resting_memory(running.process)
    yield Record("connections", sum(kinds.values()), "")
    yield Record("kinds", len(kinds), "")
    yield Record("connections a second", sum(kinds.values()) / seconds, "1/s")
    yield Record("CPU of the server, a connection", cpu / connections * 1e6, "us")
    yield at_most("crashes", float(not running.server.is_running), "", 0.0)
    yield at_most("memory after, of before", after / before, "times", 1.05)
    yield Record("memory before", before / MEGABYTE, "MB")
    yield Record("memory after", after / MEGABYTE, "MB")
    yield at_most("connections left open", connections_of(running.server), "", 0.0)
    yield at_most("calls left in flight", calls_in_flight(running.server), "", 0.0)
    yield Record("seconds until all was let go", settled, "s")
    yield Record("connections that stayed, and that the server let go by itself", let_go, "")
    yield Record("calls of another client", len(outcomes), "")
    failed = sum(outcome.status != Code.OK for outcome in outcomes)
    yield at_most("calls of another client that failed", failed, "", 0.0)
    yield Record("p99 of another client before", milliseconds(calm, 99), "ms")
    yield Record("p99 of another client meanwhile", milliseconds(outcomes, 99), "ms")
    yield Record("p50 of another client meanwhile", milliseconds(outcomes, 50), "ms")


async def _siege(
    address: str, message: bytes, connections: int, *, seed: int = 0
) -> tuple[dict[str, int], int]:
    async with lingering(address, message, LINGERING) as tasks:
        kinds = await besiege(address, message, connections=connections, seed=seed)
        return kinds, sum(task.done() for task in tasks)


def settle(server: InferenceServer) -> float:
    """Waits until the server has no connection and no call, and keeps none; gives how many seconds that took.

    It is looked at several times: a connection that the server has yet to accept is not seen.
    """
    began = quiet_since = time.perf_counter()

    def is_quiet() -> bool:
        nonlocal quiet_since
        if connections_of(server) or calls_in_flight(server):
            quiet_since = time.perf_counter()
        return time.perf_counter() - quiet_since > QUIET_SECONDS

    until(is_quiet, seconds=SETTLED_SECONDS)
    return quiet_since - began


def resting_memory(process: psutil.Process) -> int:
    """The bytes that a process without work holds. What it frees, the system has back a moment later."""
    seen = []
    for _ in range(MEMORY_LOOKS):
        seen.append(process.memory_info().rss)
        time.sleep(MEMORY_LOOK_SECONDS)
    return min(seen)


def connections_of(server: InferenceServer) -> int:
    """How many connections of clients the server has open. Those that it makes itself are not counted."""
    assert server.process is not None
    port = int(server.address.rpartition(":")[2])
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return sum(one.laddr.port == port and one.status != psutil.CONN_LISTEN for one in found)


def calls_in_flight(server: InferenceServer) -> float:
    """What the server's metrics say."""
    with server.log.open() as log:
        facts = next(line for line in map(json.loads, log) if line["message"] == "serving")
    with urllib.request.urlopen(f"http://{facts['metrics_address']}/metrics") as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("grpc_server_in_flight{"))

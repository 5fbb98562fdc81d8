"""A service as a process: start, signals, failures, footprint."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lepton.dataset.v1 import dataset_pb2 as pb

PROGRAM = Path(__file__).parent / "programs" / "datasets_service.py"
GET = pb.GetDatasetRequest(name="datasets/digits")


@dataclass
class Process:
    """A running program and the files it writes."""

    popen: "subprocess.Popen[bytes]"
    address_file: Path
    log: Path

    def wait_until_ready(self) -> str:
        """Waits for the address and gives it."""
        for _ in range(600):
            if self.address_file.exists():
                return self.address_file.read_text()
            assert self.popen.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError("not ready within 30 s")

    def lines(self) -> list[dict[str, Any]]:
        """Everything it logged; fails if a line is not JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines()]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts the program with an environment; what still runs ends with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def launcher(**environment: str) -> Process:
        address_file, log = tmp_path / "address", tmp_path / "log"
        defaults = {"LEPTON_ADDRESS_FILE": str(address_file), "LEPTON_DATABASE_URL": "sqlite:////tmp/none.db"}
        with log.open("wb") as stream:
            popen = subprocess.Popen(
                [sys.executable, PROGRAM], env={**os.environ, **defaults, **environment}, stderr=stream
            )
        running.append(popen)
        return Process(popen, address_file, log)

    yield launcher
    for popen in running:
        popen.kill()
        popen.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_when_what_is_in_flight_is_done(
    launch: Callable[..., Process], stub_to: Any, number: signal.Signals
) -> None:
    process = launch(ANSWER_SECONDS="1")
    stub = await stub_to(process.wait_until_ready())
    call = asyncio.ensure_future(stub.GetDataset(GET))
    await asyncio.sleep(0.4)

    process.popen.send_signal(number)

    assert (await call).dataset.name == GET.name
    assert await asyncio.to_thread(process.popen.wait, 10) == 0
    assert process.messages() == ["serving", "draining", "call", "stores closed", "stopped"]
    assert not process.address_file.exists()


async def test_it_tells_where_it_serves_what(launch: Callable[..., Process]) -> None:
    process = launch(LEPTON_METRICS_LISTEN="127.0.0.1:0")
    address = process.wait_until_ready()
    while not process.lines():
        await asyncio.sleep(0.01)

    (line,) = process.lines()
    assert line["message"] == "serving"
    assert line["address"] == address
    assert line["metrics_address"].startswith("127.0.0.1:")
    assert line["services"] == ["lepton.dataset.v1.DatasetService"]


def test_a_background_task_that_dies_ends_it(launch: Callable[..., Process]) -> None:
    process = launch(BACKGROUND="dies")

    assert process.popen.wait(20) == 1
    assert "stores closed" in process.messages()
    (death,) = [line for line in process.lines() if "exception" in line]
    assert "RuntimeError: the background died" in death["exception"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEPTON_LISTEN", "0.0.0.0:7001"),
        ("LEPTON_DRAIN_SECONDS", "a while"),
        ("LEPTON_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_setting_ends_it_at_the_start_and_is_named(
    launch: Callable[..., Process], name: str, value: str
) -> None:
    process = launch(**{name: value})

    assert process.popen.wait(20) == 2
    (line,) = process.lines()
    assert name.removeprefix("LEPTON_").lower() in line["message"].lower()


def test_settings_that_do_not_go_together_are_named(launch: Callable[..., Process]) -> None:
    process = launch(LEPTON_TLS_KEY="/nowhere/key.pem")

    assert process.popen.wait(20) == 2
    assert "tls_certificate and tls_key" in process.messages()[0]


def test_an_address_that_is_taken_ends_it(launch: Callable[..., Process]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = launch(LEPTON_LISTEN=address)

        assert process.popen.wait(20) == 1

    # Among gRPC's own lines about it, which are no JSON.
    assert f"cannot listen on {address}" in process.log.read_text()


def test_it_is_small(launch: Callable[..., Process]) -> None:
    process = launch()
    process.wait_until_ready()

    pages = int(Path(f"/proc/{process.popen.pid}/statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGE_SIZE") < 100e6


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("lepton_common.rpc", ["protovalidate", "prometheus_client", "opentelemetry"]),
        ("lepton_common.server", ["opentelemetry.sdk", "sqlalchemy", "cryptography", "numpy"]),
        ("lepton_common.errors", ["grpc", "google.protobuf", "pydantic"]),
    ],
)
def test_who_needs_little_imports_little(module: str, absent: list[str]) -> None:
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"

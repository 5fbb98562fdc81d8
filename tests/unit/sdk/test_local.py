"""Where the services of one machine listen, and what becomes of what a killed supervisor left behind."""

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from lepton_common.errors import WrongState
from lepton_common.jobs.process_file import ProcessFile
from lepton_sdk.local import MODULES, LocalCloud, clear, running

SERVICES = len(MODULES)


def ports(cloud: LocalCloud) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in asdict(cloud.addresses).values()]


@contextlib.contextmanager
def listening(port: int = 0) -> Iterator[int]:
    """Another program's port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def first_port() -> int:
    """The first of six ports that are free just now."""
    for first in range(20_000, 30_000, 10):
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in range(first, first + SERVICES):
                held.enter_context(listening(port))
            return first
    raise AssertionError("this machine has no six free ports in a row")


def test_the_ports_follow_the_first(tmp_path: Path, first_port: int) -> None:
    assert ports(LocalCloud(tmp_path, first_port=first_port)) == [first_port + n for n in range(SERVICES)]


def test_a_port_that_is_taken_is_replaced(tmp_path: Path, first_port: int) -> None:
    with listening(first_port + 2):
        chosen = ports(LocalCloud(tmp_path, first_port=first_port))
    assert chosen[2] not in range(first_port, first_port + SERVICES)
    assert chosen[:2] + chosen[3:] == [first_port + n for n in (0, 1, 3, 4, 5)]


def test_with_0_the_system_chooses(tmp_path: Path) -> None:
    chosen = ports(LocalCloud(tmp_path, first_port=0))
    assert len(set(chosen)) == SERVICES
    assert 0 not in chosen


def test_clients_find_the_services_where_they_were(tmp_path: Path, first_port: int) -> None:
    before = LocalCloud(tmp_path, first_port=0)
    before.addresses.write(before.endpoints_file)
    assert LocalCloud(tmp_path, first_port=first_port).addresses == before.addresses


def test_where_they_were_may_be_taken(tmp_path: Path, first_port: int) -> None:
    before = LocalCloud(tmp_path, first_port=0)
    before.addresses.write(before.endpoints_file)
    with listening(ports(before)[3]):
        after = LocalCloud(tmp_path, first_port=first_port)
    assert ports(after)[0] == first_port


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param('{"trainer": "127.0.0.1:7102"}', id="of an older version"),
        pytest.param(json.dumps(dict.fromkeys(MODULES, "192.0.2.1:7101")), id="elsewhere"),
        pytest.param(json.dumps(dict.fromkeys(MODULES, "127.0.0.1:99999")), id="no port"),
    ],
)
def test_a_file_that_does_not_help_is_replaced(tmp_path: Path, first_port: int, content: str) -> None:
    (tmp_path / "endpoints.json").write_text(content)
    assert ports(LocalCloud(tmp_path, first_port=first_port))[0] == first_port


def test_every_service_has_its_own_stores_and_log(tmp_path: Path) -> None:
    cloud = LocalCloud(tmp_path, first_port=0)
    for name in ("LEPTON_LISTEN", "LEPTON_DATABASE_URL", "LEPTON_RUN_DIRECTORY", "LEPTON_ADDRESS_FILE"):
        assert len({process.environment[name] for process in cloud.processes.values()}) == SERVICES
    assert len({process.log for process in cloud.processes.values()}) == SERVICES


@pytest.fixture
def running_cloud(tmp_path: Path) -> Iterator[Path]:
    """A folder whose services are supervised by somebody else."""
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield tmp_path


async def test_a_folder_has_one_supervisor(running_cloud: Path) -> None:
    with pytest.raises(WrongState, match="already runs in"):
        async with running(running_cloud):
            pytest.fail("two supervisors")


async def test_what_is_in_use_is_not_cleared(running_cloud: Path) -> None:
    (running_cloud / "objects").mkdir()
    with pytest.raises(WrongState, match="already runs in"):
        await clear(running_cloud)
    assert (running_cloud / "objects").exists()


async def test_what_was_stored_can_be_cleared(tmp_path: Path) -> None:
    (tmp_path / "cloud" / "objects").mkdir(parents=True)
    (tmp_path / "cloud" / "endpoints.json").touch()
    (tmp_path / "cloud" / "link").symlink_to(tmp_path)
    await clear(tmp_path / "cloud")
    assert [entry.name for entry in (tmp_path / "cloud").iterdir()] == ["lock"]


LEFT_OVER = """
import signal, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["willing", "stubborn"])
async def test_services_that_outlived_their_supervisor_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("lepton_sdk.local.STOP_SECONDS", 0.5)
    (tmp_path / "trainer").mkdir()
    file = ProcessFile(tmp_path / "trainer" / "process")
    claim = file.claim()
    assert claim is not None
    with subprocess.Popen(
        [sys.executable, "-c", LEFT_OVER, kind],
        stdout=subprocess.PIPE,
        start_new_session=True,
        pass_fds=(claim,),
    ) as left_over:
        os.write(claim, f"{left_over.pid}\n".encode())
        os.close(claim)
        assert left_over.stdout is not None
        await asyncio.to_thread(left_over.stdout.readline)
        await clear(tmp_path)
        assert await asyncio.to_thread(left_over.wait, 5) != 0

"""`lepton connect`, with a program in kubectl's place that really forwards ports to a real server."""

import asyncio
import base64
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest

from lepton_common.auth import mint_token
from lepton_common.server import Server
from lepton_sdk.addresses import Addresses

from .conftest import JOB

KUBECTL = Path(__file__).with_name("programs") / "kubectl.py"
LEPTON = (sys.executable, "-m", "lepton_sdk.cli")
SECONDS = 60

pytestmark = pytest.mark.timeout(300)


class Cluster:
    """What the program in kubectl's place knows, and the environment in which `lepton` finds it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.file = folder / "cluster.json"
        names = [field.name.replace("_", "-") for field in fields(Addresses)]
        self.content: dict[str, Any] = {
            "namespaces": ["ai"],
            "services": {f"team-{name}": address for name in names},
            "secrets": {},
            "says": {},
        }
        self.save()
        self.started: list[asyncio.subprocess.Process] = []
        program = folder / "bin" / "kubectl"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\n{KUBECTL.read_text()}")
        program.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LEPTON_")},
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "KUBECTL_CLUSTER": str(self.file),
            "LEPTON_HOME": str(folder / "home"),
        }

    def save(self) -> None:
        """Have it known what `content` says now."""
        self.file.write_text(json.dumps(self.content))

    def secret(self, name: str, **content: bytes) -> None:
        """A Secret; in the names of keys, `_` stands for a dot."""
        self.content["secrets"][name] = {
            key.replace("_", "."): base64.b64encode(value).decode() for key, value in content.items()
        }
        self.save()

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        """`lepton WORDS`, with pipes."""
        process = await asyncio.create_subprocess_exec(
            *LEPTON, *words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.started.append(process)
        return process

    async def run(self, *words: str) -> tuple[int | None, str, str]:
        """How `lepton WORDS` ends, what it prints and what it says."""
        process = await self.start(*words)
        printed, said = await asyncio.wait_for(process.communicate(), SECONDS)
        return process.returncode, printed.decode(), said.decode()


CONNECT = ("connect", "--namespace", "ai", "--release", "team", "--first-port", "0")


async def connected(process: asyncio.subprocess.Process) -> None:
    """Wait until it says that it is."""
    assert process.stderr is not None
    async with asyncio.timeout(SECONDS):
        async for line in process.stderr:
            if b'{"state": "connected"}' in line or line.startswith(b"connected"):
                return
    raise AssertionError("it ended before it was connected")


async def ended(process: asyncio.subprocess.Process, number: int = signal.SIGINT) -> str:
    """What it has printed, once it was told to stop."""
    process.send_signal(number)
    printed, said = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, said.decode()
    return printed.decode()


@pytest.fixture
async def cluster_of(tmp_path: Path) -> AsyncIterator[Callable[[str], Cluster]]:
    """Makes a cluster whose pods are all the server at an address."""
    made: list[Cluster] = []

    def make(address: str) -> Cluster:
        made.append(Cluster(tmp_path, address))
        return made[-1]

    yield make
    # Where a test has failed.
    for process in (process for cluster in made for process in cluster.started):
        if process.returncode is None:
            process.terminate()
            await process.communicate()


@pytest.fixture
def cluster(cluster_of: Callable[[str], Cluster], server: Server) -> Cluster:
    return cluster_of(server.address)


async def test_every_other_command_works_with_what_it_prints(
    start: Callable[..., Awaitable[Server]], cluster_of: Callable[[str], Cluster], tmp_path: Path
) -> None:
    token, digest = mint_token()
    credentials = tmp_path / "tokens.json"
    credentials.write_text(json.dumps({"tokens": [{"name": "u", "sha256": digest, "roles": ["writer"]}]}))
    server = await start(token_file=credentials)
    cluster = cluster_of(server.address)
    cluster.secret("team-user-token", token=token.encode())

    process = await cluster.start(*CONNECT)
    await connected(process)
    folder = Path(cluster.environment["LEPTON_HOME"]) / "team"
    cluster.environment |= {
        "LEPTON_ENDPOINTS": f"{folder}/endpoints.json",
        "LEPTON_TOKEN_PATH": f"{folder}/token",
    }
    assert (await cluster.run("train", "watch", "digits"))[0] == 0

    # A forward that dies, and those whose pods have gone, are opened again at the same port.
    victim, *_ = [
        child
        for child in psutil.Process(process.pid).children()
        if any("team-trainer" in word for word in child.cmdline())
    ]
    victim.kill()
    code, printed, said = await cluster.run("train", "watch", "digits")
    assert (code, printed.splitlines()[0]) == (0, f"{JOB}: succeeded"), said

    assert (await ended(process)).splitlines() == [
        f"export LEPTON_ENDPOINTS={folder}/endpoints.json",
        f"export LEPTON_TOKEN_PATH={folder}/token",
    ]
    assert not psutil.pid_exists(victim.pid)
    assert (await cluster.run("train", "watch", "digits"))[0] == 5, "the ports are closed"


async def test_a_pod_that_is_replaced_is_found_again(cluster: Cluster, dead_address: str) -> None:
    process = await cluster.start(*CONNECT)
    await connected(process)
    cluster.environment["LEPTON_ENDPOINTS"] = f"{cluster.environment['LEPTON_HOME']}/team/endpoints.json"
    # Forwards that are opened from now on end at nobody, as with a pod that has just gone; then at a new one.
    alive = dict(cluster.content["services"])
    cluster.content["services"] = {name: dead_address for name in alive}
    cluster.save()
    for child in psutil.Process(process.pid).children():
        child.kill()
    call = asyncio.create_task(cluster.run("train", "watch", "digits"))
    assert process.stderr is not None
    async with asyncio.timeout(SECONDS):
        async for line in process.stderr:
            if b"waiting for team-trainer" in line and b"error occurred forwarding" in line:
                break
    cluster.content["services"] = alive
    cluster.save()
    code, _, said = await call
    # The call may have been broken off with its connection; the next one finds the new pod.
    assert code in (0, 5), said
    async with asyncio.timeout(SECONDS):
        while (await cluster.run("train", "watch", "digits"))[0] != 0:
            await asyncio.sleep(0.2)
    await ended(process, signal.SIGTERM)


async def test_token_and_certificates_are_written_for_their_owner_alone(
    cluster: Cluster, tmp_path: Path
) -> None:
    certificates = {"ca_crt": b"authority", "tls_crt": b"certificate", "tls_key": b"key"}
    cluster.secret("team-user-token", token=b"secret")
    cluster.secret("team-client-tls", **certificates)
    folder = tmp_path / "a folder"
    words = ("-o", "json", *CONNECT, "--directory", str(folder))
    process = await cluster.start(*words)
    await connected(process)
    document = json.loads(await ended(process))
    assert document["environment"] == {
        "LEPTON_ENDPOINTS": f"{folder}/endpoints.json",
        "LEPTON_TOKEN_PATH": f"{folder}/token",
        "LEPTON_TLS_CA": f"{folder}/ca.crt",
        "LEPTON_TLS_CERTIFICATE": f"{folder}/tls.crt",
        "LEPTON_TLS_KEY": f"{folder}/tls.key",
    }
    assert json.loads((folder / "endpoints.json").read_text()) == document["addresses"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name, content in {"token": b"secret", "ca.crt": b"authority", "tls.key": b"key"}.items():
        assert (folder / name).read_bytes() == content
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600

    # Without authentication, what was written before would be wrong; the ports stay what they were.
    cluster.content["secrets"] = {}
    cluster.save()
    process = await cluster.start(*words)
    await connected(process)
    again = json.loads(await ended(process))
    assert [*again["environment"]] == ["LEPTON_ENDPOINTS"]
    assert again["addresses"] == document["addresses"]
    assert [path.name for path in folder.iterdir()] == ["endpoints.json"]


FORBIDDEN = "Error from server (Forbidden): {} is forbidden: User ada cannot do that"


@pytest.mark.parametrize(
    ("words", "says", "code", "told"),
    [
        (("--namespace", "none"), {}, 3, 'namespaces "none" not found'),
        (("--release", "none"), {}, 3, "there is no release 'none' in namespace 'ai'"),
        ((), {"get service": FORBIDDEN.format("services")}, 6, "services is forbidden"),
        ((), {"get secret": FORBIDDEN.format("secrets")}, 6, "secrets is forbidden"),
        ((), {"port-forward": FORBIDDEN.format("pods")}, 6, "pods is forbidden"),
        (
            (),
            {"get": "The connection to the server 10.0.0.1:6443 was refused - did you mean it?"},
            5,
            "was refused",
        ),
        ((), {"get": "error: You must be logged in to the server (Unauthorized)"}, 6, "logged in"),
        ((), {"get": "error: flag needs an argument"}, 4, "kubectl: flag needs an argument"),
    ],
    ids=["namespace", "release", "services", "secrets", "forwarding", "no answer", "no login", "other"],
)
async def test_what_is_wrong_is_said(
    cluster: Cluster, words: tuple[str, ...], says: dict[str, str], code: int, told: str
) -> None:
    cluster.content["says"] = says
    cluster.save()
    ended_with, printed, said = await cluster.run(*CONNECT, *words)
    assert (ended_with, printed) == (code, ""), said
    assert told in said
    assert not (Path(cluster.environment["LEPTON_HOME"]) / "team" / "endpoints.json").exists()


async def test_a_release_that_lacks_a_service_is_said_so(cluster: Cluster) -> None:
    del cluster.content["services"]["team-rl-agent"]
    cluster.save()
    code, _, said = await cluster.run(*CONNECT)
    assert (code, "lacks services: team-rl-agent" in said) == (3, True), said


async def test_without_kubectl_it_says_what_is_missing(cluster: Cluster) -> None:
    cluster.environment["PATH"] = "/nonexistent"
    code, _, said = await cluster.run(*CONNECT)
    assert (code, "kubectl is not on the PATH" in said) == (5, True), said


async def test_what_is_not_up_yet_is_waited_for(cluster: Cluster) -> None:
    cluster.content["says"] = {
        "port-forward": "error: unable to forward port because pod is not running. Current status=Pending"
    }
    cluster.save()
    process = await cluster.start(*CONNECT)
    assert process.stderr is not None
    line = await asyncio.wait_for(process.stderr.readline(), SECONDS)
    assert b"waiting for team-" in line and b"pod is not running" in line
    cluster.content["says"] = {}
    cluster.save()
    await connected(process)
    await ended(process)

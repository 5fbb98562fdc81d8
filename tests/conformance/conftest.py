"""Other people's programs, and servers on the library for them to test."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from lepton_http2.grpc import Method, Options, Server
from lepton_http2.relay.processes import Fronts
from lepton_http2.tls import server_context

from .interop_service import TestService

if TYPE_CHECKING:
    from ..certificates import Certificates

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FRONT = (sys.executable, str(ROOT / "tests/integration/http2/relay_front.py"))


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Finds a program that `go.mod` names."""

    def find(name: str) -> str:
        path = ROOT / "build/conformance" / name
        if not path.exists():
            pytest.skip(f"no {name}: `make build/conformance/stamp` builds it where Go is installed")
        return str(path)

    return find


@pytest.fixture(scope="session")
def messages(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The code of the interoperability messages, generated now."""
    folder = tmp_path_factory.mktemp("interop")
    source = HERE / "protos"
    # In a process of its own: the compiler dies beside other libraries that hold a copy of protobuf.
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", f"--python_out={folder}"]
    subprocess.run([*compiler, str(source / "interop.proto")], check=True)
    spec = importlib.util.spec_from_file_location("interop_pb2", folder / "interop_pb2.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def _relayed(methods: Sequence[Method], options: Options) -> AsyncIterator[int]:
    """The port of two processes that have the calls answered here."""
    fronts = Fronts(2, FRONT, methods=methods, options=options)
    await fronts.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fronts.accept(listener)
        yield listener.getsockname()[1]
        await fronts.drain(0)


@pytest_asyncio.fixture(params=["plain", "tls", "relayed"])
async def interop_port(
    request: pytest.FixtureRequest, messages: ModuleType, certificates: Certificates
) -> AsyncIterator[tuple[int, bool]]:
    """The port of a server with the test service, and whether it speaks TLS."""
    methods = TestService(messages).methods()
    if request.param == "relayed":
        async with _relayed(methods, Options()) as port:
            yield port, False
        return
    secure = request.param == "tls"
    server = Server(methods)
    context = server_context(certificates.certificate, certificates.key) if secure else None
    _, port = await server.listen("127.0.0.1", 0, tls=context)
    yield port, secure
    await server.close()


@pytest_asyncio.fixture(params=["one process", "relayed"])
async def strict_port(request: pytest.FixtureRequest, messages: ModuleType) -> AsyncIterator[int]:
    """The port of a server whose frames are of the smallest size that HTTP/2 allows: h2spec takes 20,000
    octets of header fields to be too many for a frame."""
    methods, options = TestService(messages).methods(), Options(max_frame_bytes=1 << 14)
    if request.param == "relayed":
        async with _relayed(methods, options) as port:
            yield port
        return
    server = Server(methods, options)
    _, port = await server.listen("127.0.0.1", 0)
    yield port
    await server.close()

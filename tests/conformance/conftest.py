"""Other people's programs, and servers on the library for them to test."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from lepton_http2.grpc import Options, Server
from lepton_http2.tls import server_context

from .interop_service import TestService

if TYPE_CHECKING:
    from ..certificates import Certificates

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


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


@pytest_asyncio.fixture(params=["plain", "tls"])
async def interop_port(
    request: pytest.FixtureRequest, messages: ModuleType, certificates: Certificates
) -> AsyncIterator[tuple[int, bool]]:
    """The port of a server with the test service, and whether it speaks TLS."""
    secure = request.param == "tls"
    server = Server(TestService(messages).methods())
    context = server_context(certificates.certificate, certificates.key) if secure else None
    _, port = await server.listen("127.0.0.1", 0, tls=context)
    yield port, secure
    await server.close()


@pytest_asyncio.fixture
async def strict_port(messages: ModuleType) -> AsyncIterator[int]:
    """The port of a server whose frames are of the smallest size that HTTP/2 allows: h2spec takes 20,000
    octets of header fields to be too many for a frame."""
    server = Server(TestService(messages).methods(), Options(max_frame_bytes=1 << 14))
    _, port = await server.listen("127.0.0.1", 0)
    yield port
    await server.close()

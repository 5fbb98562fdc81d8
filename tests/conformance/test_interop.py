"""The official gRPC interoperability client, as of grpc-go, finds a server of gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..certificates import Certificates

CASES = (
    "cancel_after_begin",
    "cancel_after_first_response",
    "channel_soak",
    "client_streaming",
    "custom_metadata",
    "empty_stream",
    "empty_unary",
    "large_unary",
    "pick_first_unary",
    "ping_pong",
    "rpc_soak",
    "server_streaming",
    "special_status_message",
    "status_code_and_message",
    "timeout_on_sleeping_server",
    "unimplemented_method",
    "unimplemented_service",
)


@pytest.mark.parametrize("case", CASES)
async def test_a_case_holds(
    program: Callable[[str], str], certificates: Certificates, interop_port: tuple[int, bool], case: str
) -> None:
    port, secure = interop_port
    tls = ["--use_tls", "--use_test_ca", f"--ca_file={certificates.authority}"] if secure else []
    process = await asyncio.create_subprocess_exec(
        program("client"),
        *("--server_host=localhost", f"--server_port={port}", f"--test_case={case}", *tls),
        "--soak_per_iteration_max_acceptable_latency_ms=30000",
        "--soak_overall_timeout_seconds=60",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output

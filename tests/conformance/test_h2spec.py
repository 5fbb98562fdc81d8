"""h2spec: an HTTP/2 server does what RFC 9113 and RFC 7541 ask for, and refuses what they forbid."""

import asyncio
import re
from collections.abc import Callable

import pytest


@pytest.mark.parametrize("mode", [(), ("--strict",)], ids=["default", "strict"])
async def test_every_case_holds(
    program: Callable[[str], str], strict_port: int, mode: tuple[str, ...]
) -> None:
    process = await asyncio.create_subprocess_exec(
        program("h2spec"),
        *("--host", "127.0.0.1", "--port", str(strict_port), "--timeout", "5", *mode),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    summary = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", output)
    assert summary is not None, output
    tests, passed, skipped, failed = map(int, summary.groups())
    assert (passed, skipped, failed) == (tests, 0, 0), output
    assert tests >= 140

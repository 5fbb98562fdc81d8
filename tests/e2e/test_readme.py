"""What the README tells its reader to type is typed here, against real services."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton_sdk.addresses import Addresses
from lepton_sdk.local import running

ROOT = Path(__file__).parents[2]
EXAMPLE = re.compile(
    r"<!-- (?P<kind>run|file)(?:: (?P<what>[^ ]+))? -->\n```\w*\n(?P<text>.*?)```",
    re.DOTALL,
)
INFERENCE = "127.0.0.1:7105"

pytestmark = pytest.mark.timeout(900)


def examples() -> Iterator[re.Match[str]]:
    """The marked blocks of the README, in order."""
    yield from EXAMPLE.finditer((ROOT / "README.md").read_text())


def interpreter(what: str | None) -> list[str]:
    """What runs a block of this mark."""
    if what == "tritonclient":
        return [str(ROOT / ".venv-tritonclient/bin/python"), "-c"]
    if what == "python":
        return [sys.executable, "-c"]
    return ["bash", "-euo", "pipefail", "-c"]


def type_in(example: re.Match[str], addresses: Addresses, home: Path) -> None:
    """Run one block as its reader would, the inference server's address being the one of this test."""
    text = example["text"].replace(INFERENCE, addresses.inference)
    if example["kind"] == "file":
        path = ROOT / example["what"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return
    environment = os.environ | {
        "LEPTON_HOME": str(home),
        "PATH": f"{ROOT / 'build/tools'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [*interpreter(example["what"]), text],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


async def test_every_example_of_the_readme_works(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with running(home, first_port=0) as cloud:
        found = list(examples())
        assert len(found) >= 7
        for example in found:
            if example["what"] == "grpcurl" and not (ROOT / "build/tools/grpcurl").exists():
                # Built where Go is installed.
                continue
            await asyncio.to_thread(type_in, example, cloud.addresses, home)

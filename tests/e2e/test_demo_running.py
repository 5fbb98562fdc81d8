"""`lepton demo --running`, as `helm test` runs it on services that others started."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lepton_sdk.client import Client
from lepton_sdk.local import LocalCloud

pytestmark = pytest.mark.timeout(900)

QUICK = ("--epochs", "3", "--workers", "2", "--agent-steps", "2000")


async def tell(cloud: LocalCloud, report: Path, *options: str) -> dict[str, Any]:
    """The figures of a demo that went well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lepton_sdk.cli", "--endpoints", str(cloud.endpoints_file), "-o", "json"),
        *("demo", "--running", "--report", str(report), *QUICK, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    printed, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    figures: dict[str, Any] = json.loads(printed)
    assert json.loads((report / "report.json").read_text()) == figures
    assert (report / "report.html").stat().st_size > 100_000
    return figures


async def test_the_story_is_told_twice_and_leaves_nothing_when_asked_to(
    cloud: LocalCloud, client: Client, tmp_path: Path
) -> None:
    first = await tell(cloud, tmp_path / "first")
    assert first["reused"] == []
    assert first["accuracy_served"] > 0.9
    (job,) = await client.training.list()
    assert job.spec.workers == 2

    again = await tell(cloud, tmp_path / "second", "--clean")
    assert again["reused"] == ["dataset", "train", "compress", "agent"]
    assert again["accuracy_served"] == first["accuracy_served"]
    left = await asyncio.gather(
        client.datasets.list(),
        client.training.list(),
        client.compression.list(),
        client.models.list(),
        client.endpoints.list(),
        client.agents.list(),
    )
    assert not any(left)

    # Under the old names, which are free again.
    anew = await tell(cloud, tmp_path / "third")
    assert anew["reused"] == []

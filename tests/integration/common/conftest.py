"""What the tests of jobs need: programs that child processes can import."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let child processes import `job_programs`."""
    paths = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))

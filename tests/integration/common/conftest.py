"""What the tests of jobs need: programs to start as processes."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its children import `job_programs`."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    paths = [folder, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))

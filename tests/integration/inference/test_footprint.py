"""What the server needs at rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from .conftest import InferenceServer


def test_a_server_at_rest_is_small_and_starts_fast(
    new_server: Callable[[Path], InferenceServer], tmp_path: Path
) -> None:
    server = new_server(tmp_path)
    server.start()
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    times = process.cpu_times()
    # The work of starting up, whatever else this machine does at the moment.
    assert times.user + times.system <= 3
    assert process.memory_info().rss <= 200 << 20

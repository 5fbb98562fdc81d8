"""What an API process needs at rest, and what it must never load."""

from pathlib import Path

import psutil
import pytest

from lepton_sdk.local import MODULES, LocalCloud

MOST_BYTES = 200 << 20


@pytest.mark.timeout(90)
async def test_api_processes_stay_small_and_free_of_tensorflow(
    cloud: LocalCloud,
) -> None:
    sizes = {}
    for service in MODULES:
        handle = cloud.processes[service].handle
        assert handle is not None
        process = psutil.Process(handle.pid)
        sizes[service] = process.memory_info().rss
        mapped = {Path(mapping.path).name for mapping in process.memory_maps()}
        assert not any("tensorflow" in name for name in mapped), f"{service} has loaded TensorFlow"
    assert max(sizes.values()) <= MOST_BYTES, sizes

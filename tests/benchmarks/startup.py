"""How soon everything answers, and what it costs at rest.

    make bench-startup

Prints a table and writes `build/bench/startup.json` as records `name, value, unit, bar, holds`. The services
are started one at a time; of several rounds the median counts. Run it on an otherwise idle machine.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from lepton_sdk.local import MODULES, LocalCloud

ROUNDS = 3
READY_BAR_SECONDS = 3.0
MEMORY_BAR_MB = 200.0
HELP_BAR_SECONDS = 0.5
REST_SECONDS = 2.0


def main() -> None:
    """Measure, print, write."""
    records = [
        _record("lepton --help", statistics.median(map(_help_seconds, range(5))), "s", HELP_BAR_SECONDS)
    ]
    for service in MODULES:
        rounds = [asyncio.run(_measure(service)) for _ in range(ROUNDS)]
        name = service.replace("_", "-")
        ready, memory = (statistics.median(column) for column in zip(*rounds, strict=True))
        records.append(_record(f"{name} ready", ready, "s", READY_BAR_SECONDS))
        records.append(_record(f"{name} at rest", memory, "MB", MEMORY_BAR_MB))
    for record in records:
        print(
            f"{record['name']:<24}{record['value']:>9.2f} {record['unit']:<3} bar {record['bar']:g}"
            f"  {'holds' if record['holds'] else 'MISSED'}"
        )
    target = Path("build/bench/startup.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=2) + "\n")


def _record(name: str, value: float, unit: str, bar: float) -> dict[str, object]:
    return {"name": name, "value": value, "unit": unit, "bar": bar, "holds": value <= bar}


def _help_seconds(_: int) -> float:
    lepton = Path(sys.executable).with_name("lepton")
    began = time.perf_counter()
    subprocess.run([lepton, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


async def _measure(service: str) -> tuple[float, float]:
    """Seconds until one service is ready, and its resident megabytes after a while."""
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud(Path(folder), first_port=0)
        process = cloud.processes[service]
        run_directory = Path(process.environment["LEPTON_RUN_DIRECTORY"])
        run_directory.mkdir(parents=True)
        address_file = Path(process.environment["LEPTON_ADDRESS_FILE"])
        began = time.perf_counter()
        handle = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            MODULES[service],
            env=os.environ | process.environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            while not address_file.exists():
                if handle.returncode is not None:
                    raise RuntimeError(f"{service} ended with {handle.returncode}")
                await asyncio.sleep(0.01)
            ready = time.perf_counter() - began
            await asyncio.sleep(REST_SECONDS)
            return ready, psutil.Process(handle.pid).memory_info().rss / 1e6
        finally:
            handle.terminate()
            await handle.wait()


if __name__ == "__main__":
    main()

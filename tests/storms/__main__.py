"""What holds of the inference service in a storm.

    make bench-inference_storms

Overload, swaps of versions under load, the end of a server under load, and hostile connections, each against
a server that is a process on one core; load and registry are on the other. `python -m tests.storms NAME ...`
runs some of them. Prints a table and writes `build/bench/inference_storms.json` as records
`name, value, unit, bar, holds`. Bars are of the service's own transport; gRPC's stands beside it.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from . import drain, hostile, overload, swaps
from .load import LOAD_CORE, Elsewhere
from .records import Record
from .services import services

STORMS = ("overload", "swaps", "drain", "hostile")
TRANSPORTS = ("http2", "grpc")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Measure what holds in a storm.")
    parser.add_argument("storms", nargs="*", metavar="STORM", help=f"of {', '.join(STORMS)}; all by default")
    parser.add_argument("--transport", choices=TRANSPORTS, help="both by default")
    parser.add_argument("--rounds", type=int, default=3, help="of the overload")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each overload")
    parser.add_argument("--connections", type=int, default=100_000, help="how many are hostile")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE} & os.sched_getaffinity(0) or os.sched_getaffinity(0))
    records = []
    for storm in arguments.storms or STORMS:
        for transport in [arguments.transport] if arguments.transport else TRANSPORTS:
            for record in measure(storm, transport, arguments):
                named = replace(record, name=f"{storm}, {transport}: {record.name}")
                print(named, flush=True)
                records.append(asdict(named))
    target = Path("build/bench/inference_storms.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(records, indent=1))


def measure(storm: str, transport: str, arguments: argparse.Namespace) -> Iterator[Record]:
    """One storm on one transport."""
    bars = transport == TRANSPORTS[0]
    with tempfile.TemporaryDirectory() as name, Elsewhere() as elsewhere:
        folder = Path(name)
        if storm == "hostile":
            if bars:
                yield from hostile.measure(folder, elsewhere, connections=arguments.connections)
            return
        age = {} if storm == "drain" else {"MAX_CONNECTION_AGE_SECONDS": "0"}
        with services(folder, transport=transport, **age) as running:
            if storm == "overload":
                rounds, seconds = arguments.rounds, arguments.seconds
                yield from overload.measure(running, elsewhere, bars=bars, rounds=rounds, seconds=seconds)
            elif storm == "swaps":
                yield from swaps.measure(running, elsewhere, bars=bars, folder=folder)
            else:
                yield from drain.measure(running, elsewhere, bars=bars)


if __name__ == "__main__":
    main()

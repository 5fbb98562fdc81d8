"""Fuzzing that is guided by coverage: `make fuzz`.

    python -m tests.fuzz [--seconds N] [HARNESS ...]    look for inputs that break a harness
    python -m tests.fuzz --keep [HARNESS ...]           keep in tests/fuzz/corpus those that go new ways

Starts from the corpus and from what earlier runs found. New inputs go to `build/fuzz/HARNESS/found`; one that
breaks something, to `build/fuzz/HARNESS/crash-HASH`, and ends the run. It needs atheris, on Linux on x86-64.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.fuzz.corpus import HARNESSES, LONGEST_BYTES, folder, harness, keep

BUILD = Path("build/fuzz")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Fuzz what reads the bytes of strangers.")
    parser.add_argument(
        "harnesses", nargs="*", metavar="HARNESS", help=f"of {', '.join(HARNESSES)}; all by default"
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each harness")
    parser.add_argument("--keep", action="store_true", help="add to the corpus instead")
    arguments = parser.parse_args()
    names = arguments.harnesses or [*HARNESSES]
    for name in names:
        if name not in HARNESSES:
            parser.error(f"there is no harness {name!r}")
    if arguments.keep:
        for name in names:
            for path in keep(name, BUILD / name / "found"):
                print(path)
        return 0
    if len(names) == 1:
        fuzz(names[0], arguments.seconds)
    # The fuzzer ends its process: each harness has one of its own.
    commands = [
        [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(arguments.seconds)] for name in names
    ]
    return max(subprocess.run(command).returncode for command in commands)


def fuzz(name: str, seconds: int) -> None:
    """Fuzzes one harness, and ends the process."""
    import atheris

    found = BUILD / name / "found"
    found.mkdir(parents=True, exist_ok=True)
    print(f"Fuzzing {name} for {seconds} s", flush=True)
    with atheris.instrument_imports(include=[*HARNESSES[name]]):
        run = harness(name)
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST_BYTES}",
            f"-artifact_prefix={found.parent}/",
            "-timeout=10",
            "-print_final_stats=1",
            str(found),
            str(folder(name)),
        ],
        run,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())

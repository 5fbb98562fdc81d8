"""The inputs that are kept: what grpcio, h2load and grpc-go sent, some by hand, and what fuzzing found.

Each harness has a folder. A file is named by the hash of its octets, so the same input is kept once. Of new
ones those are kept, the shortest first, that go a way through the code that none before went, or go it a
multiple as often.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha1
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeAlias

__all__ = ["HARNESSES", "LONGEST_BYTES", "digest", "folder", "harness", "keep", "kept"]

HARNESSES = {
    "connection": ("lepton_http2",),
    "header_blocks": ("lepton_http2",),
    "session": ("lepton_http2",),
    "layout": ("lepton_inference.api.layout",),
}
"""By name, the modules or packages that each looks at."""

LONGEST_BYTES = 2048
"""What an input may have."""

_FOLDER = Path(__file__).parent / "corpus"

Run: TypeAlias = Callable[[bytes], None]
# From a line of a function to another, and the power of two of how often.
_Step: TypeAlias = tuple[CodeType, int, int, int]


def harness(name: str) -> Run:
    """The function that runs an input, and raises where something does not hold."""
    run: Run = importlib.import_module(f"tests.fuzz.{name}").run
    return run


def folder(name: str) -> Path:
    """Where the inputs of a harness are kept."""
    return _FOLDER / name


def kept(name: str) -> list[Path]:
    """The inputs of a harness."""
    return sorted(folder(name).iterdir())


def digest(data: bytes) -> str:
    """The name of an input, as the fuzzer gives it."""
    return sha1(data, usedforsecurity=False).hexdigest()


def keep(name: str, found: Path) -> Iterator[Path]:
    """Keeps those inputs of a folder that show something new, and tells which."""
    run = harness(name)
    packages = HARNESSES[name]
    seen: set[_Step] = set()
    for path in kept(name):
        seen |= steps(run, path.read_bytes(), packages)
    for path in sorted(found.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        data = path.read_bytes()
        new = steps(run, data, packages) - seen
        if new:
            seen |= new
            copy = folder(name) / digest(data)
            copy.write_bytes(data)
            yield copy


def steps(run: Run, data: bytes, packages: tuple[str, ...]) -> set[_Step]:
    """The steps from line to line that an input takes in the code that is looked at."""
    taken: Counter[tuple[CodeType, int, int]] = Counter()

    def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if not str(frame.f_globals.get("__name__", "")).startswith(packages):
            return None
        code, last = frame.f_code, 0

        def line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            nonlocal last
            if event == "line":
                taken[code, last, frame.f_lineno] += 1
                last = frame.f_lineno
            return line

        return line

    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        run(data)
    finally:
        sys.settrace(earlier)
    return {(*step, count.bit_length()) for step, count in taken.items()}

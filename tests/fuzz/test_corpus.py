"""What real clients send, and what fuzzing found, holds for good."""

from pathlib import Path

import pytest
from tests.fuzz.corpus import HARNESSES, LONGEST_BYTES, digest, harness, kept

INPUTS = [pytest.param(name, path, id=f"{name}-{path.name[:8]}") for name in HARNESSES for path in kept(name)]


@pytest.mark.parametrize(("name", "path"), INPUTS)
def test_it_holds(name: str, path: Path) -> None:
    data = path.read_bytes()
    assert path.name == digest(data)
    assert len(data) <= LONGEST_BYTES
    harness(name)(data)

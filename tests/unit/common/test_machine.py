"""What a process may use of its machine: the limits of containers, as both interfaces of Linux tell them."""

import os
from pathlib import Path

import pytest

from lepton_common import machine
from lepton_common.machine import memory_limit_bytes, usable_cores

OWN_CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the limits, which are absent at first."""
    monkeypatch.setattr(machine, "_CPU_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(machine, "_OLDER_CPU_LIMIT", (tmp_path / "cfs_quota_us", tmp_path / "cfs_period_us"))
    monkeypatch.setattr(machine, "_MEMORY_LIMITS", (tmp_path / "memory.max", tmp_path / "limit_in_bytes"))
    return tmp_path


@pytest.mark.parametrize(
    "said", [{}, {"cpu.max": "max 100000"}, {"cfs_quota_us": "-1", "cfs_period_us": "100000"}]
)
def test_without_a_limit_all_own_cores_may_be_used(limits: Path, said: dict[str, str]) -> None:
    for name, text in said.items():
        (limits / name).write_text(f"{text}\n")
    assert usable_cores() == OWN_CORES


@pytest.mark.parametrize(
    "said", [{"cpu.max": "50000 100000"}, {"cfs_quota_us": "50000", "cfs_period_us": "100000"}]
)
def test_half_a_core_is_one(limits: Path, said: dict[str, str]) -> None:
    for name, text in said.items():
        (limits / name).write_text(f"{text}\n")
    assert usable_cores() == 1


def test_a_limit_beyond_the_own_cores_is_none(limits: Path) -> None:
    (limits / "cpu.max").write_text("100000000 100000\n")
    assert usable_cores() == OWN_CORES


@pytest.mark.skipif(OWN_CORES < 2, reason="there is one core")
def test_a_process_that_is_kept_to_a_core_has_one(limits: Path) -> None:
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(own)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, own)


@pytest.mark.parametrize(
    ("name", "text", "limit_bytes"),
    [
        ("memory.max", "67108864", 1 << 26),
        ("memory.max", "max", 0),
        ("limit_in_bytes", "67108864", 1 << 26),
        ("limit_in_bytes", "9223372036854771712", 0),
    ],
)
def test_memory_has_a_limit_or_none(limits: Path, name: str, text: str, limit_bytes: int) -> None:
    assert memory_limit_bytes() == 0
    (limits / name).write_text(f"{text}\n")
    assert memory_limit_bytes() == limit_bytes

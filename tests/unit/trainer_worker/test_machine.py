"""What a worker may use of its machine."""

from pathlib import Path

import pytest

from lepton_common import machine
from lepton_trainer.worker.machine import own_cores, own_input_bytes

ELSEWHERE = ("10.0.0.1:4000", "10.0.0.2:4000")
TOGETHER = ("127.0.0.1:4000", "127.0.0.1:4001")


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the limits of a container, which are absent at first."""
    monkeypatch.setattr(machine, "_CPU_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(machine, "_OLDER_CPU_LIMIT", (tmp_path / "cfs_quota_us", tmp_path / "cfs_period_us"))
    monkeypatch.setattr(machine, "_MEMORY_LIMITS", (tmp_path / "memory.max", tmp_path / "limit_in_bytes"))
    return tmp_path


def test_workers_on_one_machine_share_it(limits: Path) -> None:
    assert own_input_bytes(peers=TOGETHER, index=1) == own_input_bytes(peers=ELSEWHERE, index=1) // 2
    assert own_input_bytes(peers=("",), index=0) == own_input_bytes(peers=ELSEWHERE, index=0)
    assert own_cores(peers=TOGETHER, index=1) == max(1, own_cores(peers=ELSEWHERE, index=1) // 2)


def test_records_may_take_a_quarter_of_a_containers_memory(limits: Path) -> None:
    (limits / "memory.max").write_text(f"{64 << 20}\n")
    assert own_input_bytes(peers=("",), index=0) == 16 << 20


def test_a_container_that_has_no_limit_has_the_machine(limits: Path) -> None:
    machine_bytes, machine_cores = own_input_bytes(peers=("",), index=0), own_cores(peers=("",), index=0)
    (limits / "memory.max").write_text("max\n")
    (limits / "cpu.max").write_text("max 100000\n")
    assert own_input_bytes(peers=("",), index=0) == machine_bytes
    assert own_cores(peers=("",), index=0) == machine_cores


def test_half_a_core_is_one(limits: Path) -> None:
    (limits / "cpu.max").write_text("50000 100000\n")
    assert own_cores(peers=("",), index=0) == 1

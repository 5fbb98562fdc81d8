"""What models may take of the memory, and what the process has."""

import numpy as np
import pytest

from lepton_common.errors import Code, Overloaded
from lepton_inference import memory
from lepton_inference.memory import MemoryBudget

MEGABYTE = 1_000_000


def test_what_fits_is_let_in_and_what_does_not_is_told_the_figures() -> None:
    budget = MemoryBudget(10 * MEGABYTE, in_use=memory.process_bytes)
    budget.check("m", 4 * MEGABYTE, taken_bytes=6 * MEGABYTE)
    with pytest.raises(Overloaded, match=r"m needs 4\.5 MB of memory; 4\.0 MB of the 10\.0 MB") as caught:
        budget.check("m", 4_500_000, taken_bytes=6 * MEGABYTE)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert caught.value.metadata == {
        "needed_bytes": "4500000",
        "free_bytes": "4000000",
        "budget_bytes": "10000000",
    }


def test_without_a_budget_everything_fits() -> None:
    MemoryBudget(in_use=memory.process_bytes).check("m", 1 << 50, taken_bytes=1 << 50)


@pytest.mark.parametrize(
    ("limit", "used", "budget"),
    [
        pytest.param(0, 100, 0, id="no limit"),
        pytest.param(1000, 100, 650, id="three quarters, less what is used"),
        pytest.param(100, 100, 1, id="nothing is left"),
    ],
)
def test_the_usual_budget_comes_from_the_container(limit: int, used: int, budget: int) -> None:
    assert memory.usual_budget(limit, used) == budget


def test_the_process_has_what_it_touches() -> None:
    before = memory.process_bytes()
    block = np.ones(32 << 20, np.uint8)
    grown = memory.process_bytes() - before
    assert block.nbytes * 0.9 < grown < block.nbytes * 1.5

"""Blocks for large messages: none overlaps another, and each is free when nobody reads it any more."""

import gc
import random

import numpy as np
import pytest

from lepton_http2.relay.blocks import Lender, Loans
from lepton_http2.relay.shared import Shared, Sizes

PAGE = 4096


def test_blocks_do_not_overlap_and_come_back_whole() -> None:
    rng = random.Random(0)
    lender = Lender(64 * PAGE)
    lent: dict[int, int] = {}
    refused = 0
    for _ in range(5000):
        if lent and rng.random() < 0.5:
            start = rng.choice([*lent])
            del lent[start]
            lender.give_back(start)
        else:
            size = rng.randrange(1, 20 * PAGE)
            taken = lender.take(size)
            if taken is None:
                refused += 1
                continue
            assert taken >= 0 and taken + size <= 64 * PAGE
            assert all(taken + size <= other or other + lent[other] <= taken for other in lent)
            lent[taken] = size
    assert refused
    for start in lent:
        lender.give_back(start)
    assert lender.lent_bytes == 0
    # All of it is one piece again.
    assert lender.take(64 * PAGE) == 0


def test_a_block_that_was_not_lent_cannot_come_back() -> None:
    lender = Lender(PAGE)
    with pytest.raises(KeyError):
        lender.give_back(0)


def test_a_block_is_returned_when_nothing_made_from_its_view_is_left() -> None:
    shared = Shared.create(Sizes(ring_bytes=PAGE, block_bytes=16 * PAGE))
    loans = Loans(shared.memory, shared.first_block(0))
    shared.view[shared.first_block(0) + PAGE] = 42
    view = loans.view(PAGE, 8)
    part = view[:4]
    array = np.frombuffer(view, np.uint8)
    assert view.readonly and view[0] == part[0] == array[0] == 42
    del view
    gc.collect()
    assert not loans.returned
    del part
    assert not loans.returned
    del array
    assert [*loans.returned] == [PAGE]
    shared.close()

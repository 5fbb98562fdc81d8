"""Sessions of one model: which of them runs a batch."""

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import onnxruntime as ort
import pytest

from lepton_inference.pool import SessionPool

Open = Callable[[], ort.InferenceSession]


@pytest.fixture
def open_session(write_scaler: Callable[[], Path]) -> Open:
    path = write_scaler()
    return lambda: ort.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("records", [0, 1, 7])
def test_a_place_has_one_session_for_batches_of_all_sizes(open_session: Open, records: int) -> None:
    pool = SessionPool(open_session(), open_session, places=2)
    assert len(pool.sessions) == 2
    assert pool.size_for(records) == records
    with pool.session_for(records) as one, pool.session_for(records) as other:
        assert {one, other} == {*pool.sessions} == {*pool.sessions_for(records)}


def test_who_finds_no_free_place_waits_for_one(open_session: Open) -> None:
    pool = SessionPool(open_session(), open_session, places=1)
    seen = []

    def run() -> None:
        with pool.session_for(1):
            seen.append("second")

    with pool.session_for(1):
        thread = Thread(target=run)
        thread.start()
        thread.join(0.05)
        seen.append("first")
    thread.join(10)
    assert seen == ["first", "second"]


def test_sizes_have_sessions_of_their_own(open_session: Open) -> None:
    pool = SessionPool(open_session(), open_session, places=2)
    first = pool.sessions[0]
    pool.divide(12)
    assert pool.sizes == (1, 3, 6, 12)
    assert len(pool.sessions) == 2 * 4
    assert [pool.size_for(records) for records in (1, 2, 3, 4, 12, 13)] == [1, 3, 3, 6, 12, 13]
    assert first in pool.sessions_for(12)
    of_sizes = [{*pool.sessions_for(size)} for size in pool.sizes]
    assert len(set.union(*of_sizes)) == 8
    with pool.session_for(3) as one, pool.session_for(3) as other:
        assert {one, other} == of_sizes[1]


def test_larger_and_smaller_batches_may_come_later(open_session: Open) -> None:
    pool = SessionPool(open_session(), open_session, places=1)
    pool.divide(4)
    pool.divide(6)
    pool.divide(2)
    assert pool.sizes == (1, 2, 3, 4, 6)
    assert len({*(pool.sessions_for(size)[0] for size in pool.sizes)}) == len(pool.sessions) == 5

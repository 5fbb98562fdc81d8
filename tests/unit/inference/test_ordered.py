"""Concurrent work, results in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from lepton_inference.ordered import in_order


async def count(end: int) -> AsyncIterator[int]:
    for number in range(end):
        yield number


async def test_results_come_in_the_order_of_the_items() -> None:
    async def slow_at_first(number: int) -> int:
        await asyncio.sleep(0.02 * (3 - number))
        return number

    assert [result async for result in in_order(slow_at_first, count(4), window=4)] == [0, 1, 2, 3]


async def test_no_more_than_the_window_is_worked_on() -> None:
    running = most = 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return number

    assert len([result async for result in in_order(work, count(50), window=8)]) == 50
    assert most <= 8


async def test_a_result_does_not_wait_for_further_items() -> None:
    more = asyncio.Event()

    async def one_then_wait() -> AsyncIterator[int]:
        yield 1
        await more.wait()

    async def work(number: int) -> int:
        return number

    results = in_order(work, one_then_wait(), window=8)
    assert await asyncio.wait_for(anext(results), 5) == 1
    more.set()
    assert [result async for result in results] == []


async def test_work_is_cancelled_when_nobody_listens() -> None:
    cancelled = asyncio.Event()

    async def work(number: int) -> int:
        if number == 0:
            return number
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return number

    async with aclosing(in_order(work, count(3), window=8)) as results:
        async for _ in results:
            await asyncio.sleep(0)
            break
    assert cancelled.is_set()


async def test_a_failure_ends_the_results() -> None:
    async def fail(number: int) -> int:
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        await anext(in_order(fail, count(3), window=2))


async def test_items_that_break_off_end_the_results() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError

    async def work(number: int) -> int:
        return number

    results = in_order(work, broken(), window=2)
    assert await anext(results) == 1
    with pytest.raises(ConnectionError):
        await anext(results)

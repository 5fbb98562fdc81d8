"""Load on a server: as much as it can answer, or as much as is wanted, whatever it can answer.

Under an open load calls are made when they are due, and their time counts from then: a server that falls
behind does not slow its clients down.
"""

import os
import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

import numpy as np

from .conversation import Call, Conversation, Outcome

P = ParamSpec("P")
T = TypeVar("T")

SERVER_CORE, LOAD_CORE = 0, 1
_CORES = os.sched_getaffinity(0)
# How long answers are waited for when no more calls are made.
_PATIENCE_SECONDS = 5.0
_LONGEST_WAIT_MS = 1.0
_NEVER = float("inf")


def closed_load(
    address: str, call: Call, *, in_flight: int, seconds: float, connections: int = 8
) -> list[Outcome]:
    """Calls, a new one for each that is answered."""
    conversations = [Conversation(address, call) for _ in range(connections)]
    began = time.perf_counter()
    for number in range(in_flight):
        conversations[number % connections].begin(began)

    def more(conversation: Conversation, ended: int) -> None:
        now = time.perf_counter()
        if now - began < seconds:
            for _ in range(ended):
                conversation.begin(now)

    _converse(conversations, lambda: _NEVER, more, began=began)
    return [outcome for conversation in conversations for outcome in conversation.outcomes()]


def open_load(
    address: str,
    call: Call,
    *,
    rate: float,
    seconds: float,
    connections: int = 8,
    seed: int = 0,
    end: Path | None = None,
) -> list[Outcome]:
    """Calls that come by chance, so many a second.

    They come until the time is over, the server asks for no more on any connection, or there is a file `end`.
    """
    conversations = [Conversation(address, call) for _ in range(connections)]
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / rate, round(rate * seconds))
    began = time.perf_counter()
    due = iter((began + np.cumsum(gaps)).tolist())
    coming: list[float] = [next(due, _NEVER)]
    turn = 0

    def make_due() -> float:
        nonlocal turn
        now = time.perf_counter()
        if end is not None and end.exists():
            coming[0] = _NEVER
        while coming[0] <= now:
            if conversations[turn % connections].begin(coming[0]):
                coming[0] = next(due, _NEVER)
            elif all(conversation.leaving or conversation.closed for conversation in conversations):
                coming[0] = _NEVER
            turn += 1
        return coming[0] - began

    _converse(conversations, make_due, lambda conversation, ended: None, began=began)
    return [outcome for conversation in conversations for outcome in conversation.outcomes()]


def _converse(
    conversations: list[Conversation],
    make_due: Callable[[], float],
    answered: Callable[[Conversation, int], None],
    *,
    began: float,
) -> None:
    """Sends and receives until nothing is to be made or waited for; `make_due` tells when the next is."""
    by_number = {conversation.socket.fileno(): conversation for conversation in conversations}
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    moved = began
    while by_number:
        due = make_due()
        now = time.perf_counter()
        in_flight = False
        for conversation in by_number.values():
            conversation.send()
            in_flight = in_flight or conversation.in_flight > 0
        if due != _NEVER:
            moved = now
        elif not in_flight or now - moved > _PATIENCE_SECONDS:
            break
        for number, _ in poll.poll(min(max((began + due - now) * 1e3, 0.0), _LONGEST_WAIT_MS)):
            conversation = by_number[number]
            if ended := conversation.receive():
                moved = now
                answered(conversation, ended)
            if conversation.closed:
                poll.unregister(number)
                del by_number[number]
    for conversation in by_number.values():
        conversation.close()


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes that are started within run on this core alone, where there is one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} & _CORES or _CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Elsewhere:
    """Runs functions in a process of its own on the core of the load, one after the other."""

    def __init__(self) -> None:
        with on_core(LOAD_CORE):
            self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            self._pool.submit(os.getpid).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def start(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Calls a function, and does not wait for it."""
        return self._pool.submit(function, *args, **kwargs)

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.start(function, *args, **kwargs).result()

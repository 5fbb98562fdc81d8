"""Workers meet, and notice when one of them is gone."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from lepton_common.errors import Cancelled, DependencyUnavailable
from lepton_trainer.worker.rendezvous import Meeting, Met, meet

JOB = "trainingJobs/digits/0f8e"


@pytest.fixture
def peers() -> list[str]:
    """Three addresses that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    addresses = ["{}:{}".format(*one.getsockname()) for one in sockets]
    for one in sockets:
        one.close()
    return addresses


class Gathering:
    """Lets workers come, each on a thread of its own."""

    def __init__(self, pool: ThreadPoolExecutor, peers: list[str]) -> None:
        self._pool = pool
        self._peers = peers
        self.agreed = 0

    def come(self, index: int, *, job: str = JOB, seconds: float = 60, stop: bool = False) -> Future[Met]:
        meeting = Meeting(
            job=job, peers=self._peers, index=index, seconds=seconds, stop_requested=lambda: stop
        )
        return self._pool.submit(meet, meeting, self._agree)

    def _agree(self) -> dict[str, Any]:
        self.agreed += 1
        return {"checkpoint": "jobs/7"}


@pytest.fixture
def gathering(peers: list[str]) -> Iterator[Gathering]:
    with ThreadPoolExecutor(8) as pool:
        yield Gathering(pool, peers)


@pytest.fixture
def call_first(peers: list[str]) -> Callable[[], socket.socket]:
    """Connects to worker 0 as soon as it listens."""

    def call() -> socket.socket:
        host, port = peers[0].split(":")
        deadline = time.monotonic() + 30
        while True:
            try:
                return socket.create_connection((host, int(port)), timeout=10)
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    return call


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_go_when_the_last_has_come(gathering: Gathering, order: tuple[int, ...]) -> None:
    coming: list[Future[Met]] = []
    for index in order:
        assert not any(future.done() for future in coming)
        coming.append(gathering.come(index))
    assert [future.result(60).agreement for future in coming] == [{"checkpoint": "jobs/7"}] * 3
    assert gathering.agreed == 1


def test_one_alone_waits_for_nobody() -> None:
    meeting = Meeting(job=JOB, peers=[""], index=0, seconds=0, stop_requested=lambda: False)
    met = meet(meeting, lambda: {"checkpoint": ""})
    assert met.agreement == {"checkpoint": ""}
    met.wait_for_end()


def test_one_that_left_before_the_last_came_is_waited_for_anew(
    gathering: Gathering, call_first: Callable[[], socket.socket]
) -> None:
    first = gathering.come(0)
    with call_first() as gone:
        gone.sendall(b'{"job": "%s", "index": 1}\n' % JOB.encode())
    third = gathering.come(2)
    time.sleep(0.3)
    assert not first.done()
    second = gathering.come(1)
    assert {future.result(60).agreement["checkpoint"] for future in (first, second, third)} == {"jobs/7"}


@pytest.mark.parametrize(
    "said",
    [
        b'{"job": "trainingJobs/other/1", "index": 1}\n',
        b'{"job": "trainingJobs/digits/0f8e", "index": 0}\n',
        b'{"job": "trainingJobs/digits/0f8e", "index": 3}\n',
        b'{"job": "trainingJobs/digits/0f8e", "index": "1"}\n',
        b"GET / HTTP/1.1\r\n\r\n",
        b"[1]\n",
        b"\xff\xfe\n",
        b"x" * 100_000,
        b"",
    ],
    ids=[
        "another job",
        "worker 0",
        "no worker",
        "text",
        "http",
        "list",
        "bytes",
        "long",
        "none",
    ],
)
def test_a_stranger_is_turned_away(
    gathering: Gathering, call_first: Callable[[], socket.socket], said: bytes
) -> None:
    first = gathering.come(0)
    with call_first() as stranger:
        # It may be turned away before it has said all.
        with suppress(OSError):
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
        others = [gathering.come(index) for index in (1, 2)]
        assert first.result(60).agreement == others[0].result(60).agreement


@pytest.mark.parametrize("index", [0, 1])
def test_who_waits_in_vain_says_for_whom(gathering: Gathering, index: int) -> None:
    with pytest.raises(DependencyUnavailable, match="worker 1, 2" if index == 0 else "worker 0"):
        gathering.come(index, seconds=0.3).result(60)


@pytest.mark.parametrize("index", [0, 1])
def test_who_is_asked_to_stop_waits_no_longer(gathering: Gathering, index: int) -> None:
    with pytest.raises(Cancelled):
        gathering.come(index, stop=True).result(60)


def test_the_others_notice_when_one_ends(
    gathering: Gathering, call_first: Callable[[], socket.socket]
) -> None:
    coming = [gathering.come(index) for index in (0, 1)]
    third = call_first()
    third.sendall(b'{"job": "%s", "index": 2}\n' % JOB.encode())
    assert third.recv(100) == b'{"ready": true}\n'
    third.sendall(b'{"ready": true}\n')
    first, second = (future.result(60) for future in coming)
    lost = threading.Event()
    with first.together(lost.set):
        assert not lost.is_set()
        third.close()
        assert lost.wait(30)
    late = threading.Event()
    with first.together(late.set):
        assert late.is_set(), "one that ended before is missed too"
    with second.together(pytest.fail):
        pass

"""How the workers of a training start together or not at all, and notice when one of them is gone.

A TensorFlow process that waits for a peer waits for half an hour, deaf to SIGTERM. So the workers meet here
first, over plain sockets: all come to worker 0, which asks each whether it is still there when the last has
come, and then tells all of them what they have to agree on, such as the checkpoint that they go on from. The
connections stay open after that: one that closes, or does not answer the kernel's keep-alives, tells that the
process behind it has ended.

Messages are lines of JSON:

    to worker 0     {"job": key, "index": i}     once; `job` keeps strangers out
    from worker 0   {"ready": true}              when all have come
    to worker 0     {"ready": true}
    from worker 0   {"go": agreement}            when all have answered
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from lepton_common.errors import Cancelled, DependencyUnavailable

_TRY_AGAIN_SECONDS = 0.2
_ANSWER_SECONDS = 5.0
_LINE_BYTES = 64 * 1024
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""A peer whose machine is gone is noticed within 25 seconds."""


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Who meets, and how long they wait.

    Attributes:
        job: key of the job; workers of another one are turned away.
        peers: `host:port` of each worker, in the order of their indices.
        index: which of them this one is.
        seconds: how long to wait for the others.
        stop_requested: whether this worker was asked to stop.
        told: hears how many have come, of how many.
    """

    job: str
    peers: Sequence[str]
    index: int
    seconds: float
    stop_requested: Callable[[], bool]
    told: Callable[[int, int], None] = lambda come, of: None


class Met:
    """Workers that have met.

    Attributes:
        agreement: What worker 0 told all of them.
    """

    def __init__(self, agreement: Mapping[str, Any], lines: Sequence["_Line"] = ()) -> None:
        """Watch the connections to the others: worker 0 has one to each, the others one to worker 0."""
        self.agreement = agreement
        self._lost: Callable[[], None] | None = None
        self._watches = [threading.Thread(target=self._watch, args=(line,), daemon=True) for line in lines]
        for watch in self._watches:
            watch.start()

    @contextmanager
    def together(self, lost: Callable[[], None]) -> Iterator[None]:
        """While the block runs none can go on without the others: `lost` is called when one has ended."""
        self._lost = lost
        try:
            if any(not watch.is_alive() for watch in self._watches):
                lost()
            yield
        finally:
            self._lost = None

    def wait_for_end(self) -> None:
        """Wait until the processes on the other ends have ended."""
        for watch in self._watches:
            watch.join()

    def _watch(self, line: "_Line") -> None:
        line.wait_for_end()
        if (lost := self._lost) is not None:
            lost()


def meet(meeting: Meeting, agree: Callable[[], Mapping[str, Any]]) -> Met:
    """Wait until all workers are there.

    Args:
        meeting: who meets.
        agree: makes what is told, JSON of at most 64 KiB; called on worker 0 alone, when all are there.

    Raises:
        DependencyUnavailable: not all came in time.
        Cancelled: this worker was asked to stop while it waited.
    """
    if len(meeting.peers) == 1:
        return Met(agree())
    if meeting.index == 0:
        return _lead(meeting, agree)
    return _follow(meeting)


def _lead(meeting: Meeting, agree: Callable[[], Mapping[str, Any]]) -> Met:
    deadline = time.monotonic() + meeting.seconds
    others = len(meeting.peers) - 1
    come: dict[int, _Line] = {}
    # Closed again at once: TensorFlow listens at the same address next.
    with socket.create_server(_address(meeting.peers[0]), backlog=others) as listener:
        listener.settimeout(_TRY_AGAIN_SECONDS)
        while len(come) < others or not _all_there(come):
            _check(meeting, deadline, missing=set(range(1, others + 1)) - come.keys())
            with suppress(TimeoutError):
                line = _Line(listener.accept()[0])
                if (index := _introduced(line, meeting)) is None:
                    line.close()
                else:
                    come[index] = line
                    meeting.told(len(come) + 1, others + 1)
    agreement = agree()
    for line in come.values():
        line.say({"go": agreement})
    return Met(agreement, list(come.values()))


def _all_there(come: dict[int, "_Line"]) -> bool:
    """Whether all that have come are still there; those that have gone are forgotten."""
    gone = []
    for index, line in come.items():
        line.say({"ready": True})
        if line.hear().get("ready") is not True:
            line.close()
            gone.append(index)
    for index in gone:
        del come[index]
    return not gone


def _introduced(line: "_Line", meeting: Meeting) -> int | None:
    """The index that a caller says it has; None for a stranger."""
    said = line.hear()
    index = said.get("index")
    known = isinstance(index, int) and 0 < index < len(meeting.peers)
    return index if known and said.get("job") == meeting.job else None


def _follow(meeting: Meeting) -> Met:
    deadline = time.monotonic() + meeting.seconds
    while True:
        _check(meeting, deadline, missing={0})
        with suppress(OSError):
            # The name is looked up anew each time: in a cluster it comes seconds after the pod.
            line = _Line(socket.create_connection(_address(meeting.peers[0]), timeout=_ANSWER_SECONDS))
            line.say({"job": meeting.job, "index": meeting.index})
            while not line.closed:
                _check(meeting, deadline, missing={0})
                said = line.hear()
                if said.get("ready"):
                    line.say({"ready": True})
                if "go" in said:
                    return Met(said["go"], [line])
        time.sleep(_TRY_AGAIN_SECONDS)


def _check(meeting: Meeting, deadline: float, *, missing: set[int]) -> None:
    if meeting.stop_requested():
        raise Cancelled("the training was asked to stop")
    if time.monotonic() > deadline:
        names = ", ".join(str(index) for index in sorted(missing)) or "some"
        raise DependencyUnavailable(f"worker {names} did not come within {meeting.seconds:.0f} seconds")


def _address(peer: str) -> tuple[str, int]:
    host, _, port = peer.rpartition(":")
    return host.strip("[]"), int(port)


class _Line:
    """One end of a conversation in lines; what goes wrong with it closes it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_ANSWER_SECONDS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE.items():
            # Not every system names all of them.
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._connection = connection
        self._file = connection.makefile("rwb")
        self.closed = False

    def say(self, message: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(message).encode() + b"\n")
            self._file.flush()
        except (OSError, ValueError):
            self.close()

    def hear(self) -> dict[str, Any]:
        """The next message; empty where none came in time, or what came is none."""
        try:
            line = self._file.readline(_LINE_BYTES)
            message = json.loads(line) if line.endswith(b"\n") else None
        except TimeoutError:
            return {}
        except (OSError, ValueError):
            message = None
        if not isinstance(message, dict):
            self.close()
            return {}
        return message

    def wait_for_end(self) -> None:
        """Wait until the other end has closed, or does not answer any more."""
        with suppress(OSError, ValueError):
            self._connection.settimeout(None)
            while self._connection.recv(_LINE_BYTES):
                pass
        self.close()

    def close(self) -> None:
        self.closed = True
        # The file writes out what it holds when it is closed.
        with suppress(OSError):
            self._file.close()
        self._connection.close()

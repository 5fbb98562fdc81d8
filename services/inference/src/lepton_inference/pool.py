"""The sessions of one model, and which of them runs next."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import onnxruntime as ort


class SessionPool:
    """Sessions of one graph in places, at each of which one run takes place at a time.

    A place has one session, or, once it was divided, one for each of a few sizes of batches: for graphs that
    take long to change from one size to another. Batches are then to be filled up to one of those.

    Args:
        first: one of them.
        open_session: makes one more.
        places: how many runs there may be at a time.
    """

    def __init__(
        self, first: ort.InferenceSession, open_session: Callable[[], ort.InferenceSession], *, places: int
    ) -> None:
        self.sessions = [first]
        """All of them. They are in this list alone, and end when somebody empties it."""
        self.sizes: tuple[int, ...] = ()
        """Those that have sessions of their own, the smallest first."""
        self._open = open_session
        self._places = range(places)
        self._smaller: dict[tuple[int, int], int] = {}
        self._free: SimpleQueue[int] = SimpleQueue()
        for place in self._places:
            if place:
                self.sessions.append(open_session())
            self._free.put(place)

    def divide(self, most: int) -> None:
        """Gives sizes up to `most` records sessions of their own: its half, the half of that and so on.

        Batches may run meanwhile.
        """
        halves = {most >> times for times in range(most.bit_length())}
        sizes = sorted(halves | set(self.sizes))
        # The first session of a place is that of the largest.
        for size in sizes[:-1]:
            for place in self._places:
                if (place, size) not in self._smaller:
                    self.sessions.append(self._open())
                    self._smaller[place, size] = len(self.sessions) - 1
        self.sizes = tuple(sizes)

    def size_for(self, records: int) -> int:
        """The size of the batch in which so many records run: theirs, where all sizes are the same to it."""
        for size in self.sizes:
            if size >= records:
                return size
        return records

    @contextmanager
    def session_for(self, size: int) -> Iterator[ort.InferenceSession]:
        """A session that nobody else runs meanwhile; waits for one."""
        place = self._free.get()
        try:
            yield self._session(place, size)
        finally:
            self._free.put(place)

    def sessions_for(self, size: int) -> list[ort.InferenceSession]:
        """Those of every place."""
        return [self._session(place, size) for place in self._places]

    def _session(self, place: int, size: int) -> ort.InferenceSession:
        return self.sessions[self._smaller.get((place, size), place)]

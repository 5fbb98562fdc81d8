"""A metric over the steps of a job, kept short however long the job runs."""

from collections.abc import Iterable

MAX_POINTS = 512
"""Most points that a series shows."""


class Series:
    """Points in the order of their steps, at most `MAX_POINTS`, the first and the last among them.

    When it is full every second point is dropped, and from then on every second is taken: adding
    costs the same for the millionth point as for the first.
    """

    def __init__(self, points: Iterable[tuple[int, float]] = ()) -> None:
        """Begin with `points`, in the order of their steps."""
        self._kept: list[tuple[int, float]] = []
        self._stride = 1
        self._skipped = 0
        self._last: tuple[int, float] | None = None
        for step, value in points:
            self.add(step, value)

    def add(self, step: int, value: float) -> None:
        """Add a point; those of the same and of later steps are replaced by it.

        So a worker that goes back to a checkpoint measures on from there.
        """
        if self._last is not None and step <= self._last[0]:
            self._go_back(step)
        self._last = (step, value)
        self._skipped += 1
        if len(self._kept) == MAX_POINTS:
            self._kept = self._kept[::2]
            self._skipped += self._stride
            self._stride *= 2
        if not self._kept or self._skipped >= self._stride:
            self._kept.append(self._last)
            self._skipped = 0

    def points(self) -> list[tuple[int, float]]:
        """Return the points that are kept."""
        if self._last is None or self._kept[-1] == self._last:
            return list(self._kept)
        return [*self._kept, self._last]

    def _go_back(self, step: int) -> None:
        self._kept = [point for point in self._kept if point[0] < step]
        self._skipped = 0
        self._last = self._kept[-1] if self._kept else None

"""Files that are read again when they change: credentials and certificates are renewed under way."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

_LOG = logging.getLogger(__name__)

T = TypeVar("T")
_Stamp = tuple[tuple[int, int, int], ...]


class Reloading(Generic[T]):
    """A value made from files, made anew when one of them changes.

    A change that cannot be read is logged once and the last good value stays: a half-written file, or a
    certificate whose key has not followed yet, must not take a server down.

    Args:
        paths: the files.
        load: makes the value; raises OSError or ValueError where the files are not right.

    Raises:
        OSError, ValueError: from `load`, at construction only.
    """

    def __init__(self, paths: Sequence[Path], load: Callable[[], T]) -> None:
        self._paths = tuple(paths)
        self._load = load
        # Taken before the files are read: a change in between is seen at the next look.
        self._stamp = self._look()
        self._value = load()

    def get(self) -> T:
        """Gives the value of the files as they are now. Costs a `stat` per file; any thread may call it."""
        try:
            stamp = self._look()
        except OSError:
            # Between the two steps of a replacement; the next call looks again.
            return self._value
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._value = self._load()
            except (OSError, ValueError) as error:
                _LOG.error("kept the last good state: %s cannot be used: %s", self._names(), error)
            else:
                _LOG.info("read again: %s", self._names())
        return self._value

    def _look(self) -> _Stamp:
        stats = (path.stat() for path in self._paths)
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

    def _names(self) -> str:
        return ", ".join(str(path) for path in self._paths)

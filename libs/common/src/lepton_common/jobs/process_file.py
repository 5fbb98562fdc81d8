"""A file that stands for one worker process and outlives the service that started it.

The service opens the file, locks it, and lets the new process inherit the open handle. The
kernel keeps the lock for as long as any process has the handle, so:

- from before the process exists until after it is gone, nobody else can start it;
- whether it runs is asked of the lock, never of a process id that another process may have by now;
- there is no instant at which killing the service leaves a process that cannot be found again.

The process itself writes its id, for signals, and its exit code, as lines of text.
"""

import fcntl
import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessFile:
    """One worker process, started or not.

    Attributes:
        path: The file.
    """

    path: Path

    def claim(self) -> int | None:
        """Open and lock the file for a process to be started; None when there was or is one.

        The caller hands the returned handle to the process and closes it.
        """
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        if os.fstat(handle).st_size:
            os.close(handle)
            return None
        return handle

    def alive(self) -> bool:
        """Say whether the process runs."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    @property
    def pid(self) -> int | None:
        """The process id; None while it has not begun."""
        return self._line(0)

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs, and when it was killed."""
        return self._line(1)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process and those that it started; False while it has no id yet."""
        pid = self.pid
        if pid is None:
            return False
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return False
        return True

    def _line(self, number: int) -> int | None:
        try:
            lines = self.path.read_text().splitlines()
        except FileNotFoundError:
            return None
        return int(lines[number]) if len(lines) > number else None

"""How a worker's progress and metrics get to the object store without slowing the work.

The work only notes down numbers, under a lock that is never held while anything is written; a
thread of its own writes them, at most every half second, and only when there is news. The work waits
for a write only before it keeps a state from which it would not tell again what it told: `flush`.
"""

import logging
import threading
import time
from collections import deque

from google.protobuf.duration_pb2 import Duration

from lepton.job.v1 import job_pb2
from lepton_common.errors import LeptonError
from lepton_common.jobs import files
from lepton_common.jobs.series import Series
from lepton_common.objects import ObjectStore

WRITE_SECONDS = 0.5
"""Shortest time between two writes."""

_RATE_SAMPLES = 40
_RATE_SAMPLE_SECONDS = 0.25

_log = logging.getLogger(__name__)


class Reporter:
    """Collects what one attempt reports and writes it down."""

    def __init__(self, objects: ObjectStore, job: str, attempt: int) -> None:
        """Report on an attempt of a job, given its key; metrics of earlier attempts are taken over."""
        self._objects = objects
        self._job = job
        self._attempt = attempt
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._news = threading.Event()
        self._closed = threading.Event()
        self._phase, self._done, self._total, self._unit = "starting", 0, 0, ""
        self._samples: deque[tuple[float, int]] = deque(maxlen=_RATE_SAMPLES)
        self._series: dict[str, Series] = self._inherited_series()
        self._thread = threading.Thread(target=self._write_news, name="reporter", daemon=True)

    def start(self) -> None:
        """Write the first report, which says that the worker runs, and go on in the background."""
        self._write(finished=False)
        self._thread.start()

    def progress(self, phase: str, done: int, *, total: int, unit: str) -> None:
        """Note down how far the work is; `total` is 0 while unknown."""
        now = time.monotonic()
        with self._lock:
            if phase != self._phase or done < self._done:
                self._samples.clear()
            self._phase, self._done, self._total, self._unit = phase, done, total, unit
            if not self._samples or now - self._samples[-1][0] >= _RATE_SAMPLE_SECONDS:
                self._samples.append((now, done))
        self._news.set()

    def metric(self, name: str, step: int, *, value: float) -> None:
        """Note down one measurement."""
        with self._lock:
            self._series.setdefault(name, Series()).add(step, value)
        self._news.set()

    def flush(self) -> None:
        """Write down what was noted so far, and return when it is there."""
        self._write(finished=False)

    def close(self) -> None:
        """Write the last report, which says that the outcome is next."""
        self._closed.set()
        self._news.set()
        self._thread.join()
        self._write(finished=True)

    def _write_news(self) -> None:
        while not self._closed.wait(WRITE_SECONDS):
            self._news.wait()
            self._news.clear()
            if not self._closed.is_set():
                self._write(finished=False)

    def _write(self, *, finished: bool) -> None:
        # One at a time, so that no older report replaces a newer one.
        with self._writing:
            try:
                report = self._report(finished=finished)
                files.write_report(self._objects, self._job, self._attempt, report=report)
            except LeptonError as error:
                # The work matters more than the news of it; the next report holds everything again.
                _log.warning("progress could not be written: %s", error)
                self._news.set()

    def _report(self, *, finished: bool) -> files.Report:
        with self._lock:
            progress = job_pb2.Progress(
                phase=self._phase, done=self._done, total=self._total, unit=self._unit
            )
            rate = self._rate_per_second()
            series = {name: series.points() for name, series in self._series.items()}
        progress.rate_per_second = rate
        if rate and progress.total > progress.done and not finished:
            time_left = Duration()
            time_left.FromMilliseconds(int(1000 * (progress.total - progress.done) / rate))
            progress.time_left.CopyFrom(time_left)
        return files.Report(
            progress=progress,
            metrics=tuple(
                job_pb2.MetricSeries(
                    name=name,
                    points=[job_pb2.MetricPoint(step=step, value=value) for step, value in points],
                )
                for name, points in series.items()
            ),
            finished=finished,
        )

    def _rate_per_second(self) -> float:
        if len(self._samples) < 2:
            return 0.0
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return (last - first) / (ended - began)

    def _inherited_series(self) -> dict[str, Series]:
        for attempt in range(self._attempt - 1, 0, -1):
            before = files.read_report(self._objects, self._job, attempt)
            if before is not None:
                return {
                    series.name: Series((point.step, point.value) for point in series.points)
                    for series in before.metrics
                }
        return {}

"""Jobs while they run: a bar with rate and time left on a terminal, plain lines in a log, JSON lines for
scripts."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from lepton.job.v1 import job_pb2
from lepton_sdk.cli.session import Output, as_dict
from lepton_sdk.jobs import Job, state_name

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_SECONDS = 5.0
"""In a log, a line of progress at most this often."""


class JobDisplay:
    """Shows jobs as they change; use it in a `with` block."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._live: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> Self:
        if not self._output.json and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )

            self._live = Progress(
                TextColumn("{task.description:<12}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                TextColumn("[dim]{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, stage: str, job: Job) -> None:
        """The job of a stage has changed."""
        if self._output.json:
            self._output.line({"stage": stage, "name": job.name, "status": as_dict(job.status)})
        elif self._live is not None:
            self._bar(stage, job.status)
        else:
            self._line(stage, job)

    def count(self, stage: str, done: int, total: int) -> None:
        """Bytes of an upload have arrived."""
        if self._live is not None:
            task = self._task(stage)
            self._live.update(
                task,
                completed=done,
                total=total,
                note="uploaded" if done == total else "",
            )

    def _bar(self, stage: str, status: job_pb2.JobStatus) -> None:
        assert self._live is not None
        progress = status.progress
        self._live.update(
            self._task(stage),
            description=stage,
            completed=progress.done,
            total=progress.total or None,
            rate=f"{progress.rate_per_second:,.0f} {progress.unit}/s" if progress.rate_per_second else "",
            left=f"{progress.time_left.seconds} s left" if progress.time_left.seconds else "",
            note=" ".join(part for part in (progress.phase, status.message, latest(status)) if part),
        )

    def _task(self, stage: str) -> "TaskID":
        assert self._live is not None
        if stage not in self._tasks:
            self._tasks[stage] = self._live.add_task(stage, total=None, rate="", left="", note="")
        return self._tasks[stage]

    def _line(self, stage: str, job: Job) -> None:
        status, progress = job.status, job.status.progress
        heading = f"{state_name(job)} {progress.phase} {status.message}"
        said, when = self._said.get(job.name, ("", 0.0))
        if heading == said and time.monotonic() - when < PLAIN_SECONDS:
            return
        self._said[job.name] = heading, time.monotonic()
        parts = [f"{stage}: {state_name(job).lower()}", progress.phase, status.message]
        if progress.total:
            parts.append(f"{progress.done}/{progress.total} {progress.unit}s")
        if progress.rate_per_second:
            parts.append(f"{progress.rate_per_second:,.0f}/s")
        if progress.time_left.seconds:
            parts.append(f"{progress.time_left.seconds} s left")
        parts.append(latest(status))
        click.echo("  ".join(part for part in parts if part), err=True)


def latest(status: job_pb2.JobStatus) -> str:
    """The last value of up to three metrics."""
    series = [each for each in status.metrics if each.points][:3]
    return "  ".join(f"{each.name} {each.points[-1].value:.4g}" for each in series)

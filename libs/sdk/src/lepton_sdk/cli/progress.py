"""Jobs while they run: a bar with rate and time left on a terminal, plain lines in a log, JSON lines for
scripts. All of it on stderr: stdout is for results."""

import sys
import time
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from lepton.job.v1 import job_pb2
from lepton_sdk.cli.output import Output, as_dict
from lepton_sdk.jobs import J, Job, state_name, wait

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_SECONDS = 5.0
"""In a log, a line of progress at most this often."""


async def follow(output: Output, stage: str, name: str, *, updates: AsyncGenerator[J, None]) -> J:
    """Show a job until it has succeeded; whoever breaks off knows by its name where to go on.

    Args:
        output: how things are printed.
        stage: what the job does, in a word.
        name: the job's.
        updates: what a client's `watch` gives.

    Raises:
        LeptonError: it failed or was cancelled.
    """
    output.news(f"{stage}: {name}", {"stage": stage, "name": name})
    with JobDisplay(output) as display:
        return await wait(updates, lambda changed: display.show(stage, changed))


class JobDisplay:
    """Shows jobs as they change; use it in a `with` block."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._live: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> Self:
        if not self._output.json and sys.stderr.isatty():
            self._live = _bars()
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
            self._output.news("", {"stage": stage, "name": job.name, "status": as_dict(job.status)})
        elif self._live is not None:
            self._bar(stage, job)
        else:
            self._line(stage, job)

    def count(self, file: str, done: int, total: int) -> None:
        """Bytes of an upload have been sent."""
        if self._live is not None:
            self._live.update(
                self._task(file),
                completed=done,
                total=total,
                amount=_size(done, total),
                note="uploaded" if done == total else "uploading",
            )
        elif self._is_news(file, "complete" if done == total else ""):
            content = {"upload": file, "sent_bytes": done, "size_bytes": total}
            self._output.news(f"{file}: {_size(done, total)}", content)

    def _bar(self, stage: str, job: Job) -> None:
        assert self._live is not None
        status, progress = job.status, job.status.progress
        # One that has succeeded is full, however the worker counted; what is not known yet pulses.
        succeeded = status.state == job_pb2.JOB_STATE_SUCCEEDED
        total = progress.total or (1 if succeeded else None)
        state = "" if status.state == job_pb2.JOB_STATE_RUNNING else state_name(job).lower()
        note = (state, progress.phase if not state else "", status.message, latest(status))
        self._live.update(
            self._task(stage),
            completed=total if succeeded else progress.done,
            total=total,
            amount="" if succeeded else amount(progress),
            rate="" if succeeded else rate(progress),
            left="" if succeeded else left(progress),
            note="  ".join(part for part in note if part),
        )
        if status.end_time.seconds:
            self._live.stop_task(self._task(stage))

    def _task(self, name: str) -> "TaskID":
        assert self._live is not None
        if name not in self._tasks:
            self._tasks[name] = self._live.add_task(name, total=None, amount="", rate="", left="", note="")
        return self._tasks[name]

    def _line(self, stage: str, job: Job) -> None:
        status, progress = job.status, job.status.progress
        if not self._is_news(job.name, f"{state_name(job)} {progress.phase} {status.message}"):
            return
        parts = (
            f"{stage}: {state_name(job).lower()}",
            progress.phase,
            status.message,
            amount(progress),
            rate(progress),
            left(progress),
            latest(status),
        )
        click.echo("  ".join(part for part in parts if part), err=True)

    def _is_news(self, subject: str, heading: str) -> bool:
        """Whether to say something of a subject again: it is in another state, or some time has passed."""
        said, when = self._said.get(subject, (None, 0.0))
        if heading == said and time.monotonic() - when < PLAIN_SECONDS:
            return False
        self._said[subject] = heading, time.monotonic()
        return True


def _bars() -> "Progress":
    from rich.console import Console, ConsoleDimensions
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    class Narrower(Console):
        """Leaves room for the ^C that a terminal shows: pushed over the edge, it would move the bars."""

        @property  # type: ignore[misc]  # Nobody sets it here.
        def size(self) -> ConsoleDimensions:
            width, height = super().size
            return ConsoleDimensions(max(width - len("^C") - 1, 1), height)

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[amount]}", markup=False, justify="right"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[rate]}", markup=False, justify="right"),
        TextColumn("{task.fields[left]}", markup=False),
        # What does not fit on the line is cut off: a folded bar would jump.
        TextColumn(
            "{task.fields[note]}",
            markup=False,
            style="dim",
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
        ),
        console=Narrower(stderr=True, highlight=False, emoji=False),
        expand=True,
    )


def amount(progress: job_pb2.Progress) -> str:
    """How much is done, in words. Example: "12/20 epochs"."""
    if not progress.total:
        return f"{progress.done:,} {_plural(progress.unit)}".rstrip() if progress.done else ""
    return f"{progress.done:,}/{progress.total:,} {_plural(progress.unit)}".rstrip()


def rate(progress: job_pb2.Progress) -> str:
    """How fast it goes. Example: "1,234 steps/s"."""
    per_second = progress.rate_per_second
    if not per_second:
        return ""
    digits = 0 if per_second >= 10 else 2
    return f"{per_second:,.{digits}f} {_plural(progress.unit)}/s".replace(" /", "/")


def left(progress: job_pb2.Progress) -> str:
    """How long it may take. Example: "2 min 5 s left"."""
    seconds = progress.time_left.seconds
    if not seconds:
        return ""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min left"
    return f"{minutes} min {seconds} s left" if minutes else f"{seconds} s left"


def latest(status: job_pb2.JobStatus) -> str:
    """The last value of up to three metrics."""
    series = [each for each in status.metrics if each.points][:3]
    return "  ".join(f"{each.name} {each.points[-1].value:.4g}" for each in series)


def _plural(unit: str) -> str:
    return unit and (f"{unit}es" if unit.endswith("s") else f"{unit}s")


def _size(done: int, total: int) -> str:
    """Example: "2.5/5.0 MB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if total >= scale:
            return f"{done / scale:.1f}/{total / scale:.1f} {unit}"
    return f"{done}/{total} bytes"

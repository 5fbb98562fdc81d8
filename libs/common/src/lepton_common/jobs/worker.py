"""The worker's side of a job: what the `__main__` of a worker calls.

    def main(worker: Worker) -> Mapping[str, Any]:
        for step in range(1000):
            ...
            worker.progress("training", step + 1, total=1000, unit="step")
        return {"files": [...]}

    if __name__ == "__main__":
        run_worker(main)

A worker is told everything by its environment:

    LEPTON_JOB                 the job's key
    LEPTON_ATTEMPT             number of the attempt, from 1. Where something else than the service starts
                               workers anew there is none: worker 0 takes the next, and tells its peers
    LEPTON_OBJECT_STORE_URL    where spec, progress and outcome are
    LEPTON_WORKERS             how many workers work together on the job
    LEPTON_WORKER_INDEX        which of them this one is, from 0 (Kubernetes: JOB_COMPLETION_INDEX)
    LEPTON_PEERS               host:port of each, comma-separated, in the order of their indices
    LEPTON_POD                 the name of the pod that it is, if it is one
    LEPTON_RUN_DIRECTORY       a folder of its own for scratch, gone with the attempt; made if not given
"""

import json
import logging
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from lepton_common.errors import Code, DependencyUnavailable, Internal, LeptonError, NotFound
from lepton_common.jobs import files
from lepton_common.jobs.launcher import RESTART_EXIT_CODE
from lepton_common.jobs.reporter import Reporter
from lepton_common.objects import ObjectStore
from lepton_common.telemetry.logs import configure_logging

_TRANSIENT = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED})

_SPEC_SECONDS = 600.0
"""How long a worker that was started by somebody else than the service waits to be told what to do."""

_log = logging.getLogger(__name__)


class Worker:
    """What a worker knows and what it can say.

    Attributes:
        job: The job's key, unique over all time.
        attempt: Number of the attempt, from 1. Where a worker other than the first was told none it is the
            last one that was begun, until worker 0 has told it: `join`.
        index: Which of the workers this is. Worker 0 reports, and its output counts.
        workers: How many there are.
        peers: `host:port` where each may listen for the others.
        objects: The object store.
        prefix: Where in it the job may keep files of its own, as checkpoints.
        directory: An empty folder for scratch, gone with the attempt.
        spec: What to do.
        stop_requested: Whether the worker was asked to stop. It then raises `Cancelled`, soon.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read what to do.

        Raises:
            KeyError: A variable is missing.
            LeptonError: The spec cannot be read.
        """
        self.job = environment["LEPTON_JOB"]
        self.index = int(environment.get("LEPTON_WORKER_INDEX") or environment["JOB_COMPLETION_INDEX"])
        self.workers = int(environment["LEPTON_WORKERS"])
        self.peers = tuple(environment.get("LEPTON_PEERS", "").split(","))
        self.directory = Path(environment.get("LEPTON_RUN_DIRECTORY") or tempfile.mkdtemp())
        self.objects = ObjectStore(environment["LEPTON_OBJECT_STORE_URL"])
        self.prefix = files.prefix(self.job)
        pod = environment.get("LEPTON_POD") or uuid.uuid4().hex
        self.attempt = int(environment.get("LEPTON_ATTEMPT") or self._claimed_attempt(pod))
        self.spec = _await_spec(self.objects, self.job)
        self.stop_requested = False
        self._reporter = Reporter(self.objects, self.job, self.attempt) if self.index == 0 else None

    def _claimed_attempt(self, pod: str) -> int:
        if self.index == 0:
            return files.claim_attempt(self.objects, self.job, pod)
        return max(1, files.latest_claim(self.objects, self.job)[0])

    def join(self, attempt: int) -> None:
        """Take part in the attempt that worker 0 has begun."""
        self.attempt = attempt

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None:
        """Say how far the work is. Cheap: call it at every step.

        Args:
            phase: What is being done, in one or two words. Example: "training".
            done: Units done so far in this phase.
            total: Units in all; 0 while unknown.
            unit: What is counted. Example: "step".
        """
        if self._reporter:
            self._reporter.progress(phase, done, total=total, unit=unit)

    def metric(self, name: str, step: int, value: float) -> None:
        """Note down one measurement; a step that is measured again replaces it and all after it."""
        if self._reporter:
            self._reporter.metric(name, step, value=float(value))

    def flush(self) -> None:
        """Write down what was said so far: before a state is kept from which it would not be said again."""
        if self._reporter:
            self._reporter.flush()

    def listen_for_stop(self) -> None:
        """Let SIGTERM set `stop_requested`.

        `run_worker` has done it; do it again after a library that installs a handler of its own.
        """
        signal.signal(signal.SIGTERM, self._request_stop)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True

    def run(self, main: Callable[["Worker"], Mapping[str, Any]]) -> int:
        """Do the work, write the outcome, and return the exit code."""
        if self._reporter:
            self._reporter.start()
        outcome = self._outcome(main)
        if self._reporter:
            self._reporter.close()
        if outcome is None:
            return RESTART_EXIT_CODE
        # The output is worker 0's to give; an error that no attempt mends may come from any.
        if self.index == 0 or outcome.error is not None:
            files.write_outcome(self.objects, self.job, self.attempt, outcome=outcome)
        return 0 if outcome.error is None else 1

    def _outcome(self, main: Callable[["Worker"], Mapping[str, Any]]) -> files.Outcome | None:
        try:
            output = dict(main(self))
            json.dumps(output)
        except LeptonError as error:
            if error.code in _TRANSIENT:
                _log.warning("stopped before the end: %s", error, exc_info=not self.stop_requested)
                return None
            _log.info("the work ended with %s: %s", error.reason, error)
            return files.Outcome(error=error)
        except Exception:
            _log.exception("the work failed")
            # Workers that work together fail when one of them is lost, and so may one being stopped.
            if self.stop_requested or self.workers > 1:
                return None
            return files.Outcome(error=Internal("the worker failed; its log holds the cause"))
        return files.Outcome(output=output)


def _await_spec(objects: ObjectStore, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + _SPEC_SECONDS
    while True:
        try:
            return files.read_spec(objects, job)
        except NotFound as error:
            if time.monotonic() > deadline:
                raise DependencyUnavailable("the service has not said what the job is to do") from error
            time.sleep(1)


def run_worker(main: Callable[[Worker], Mapping[str, Any]]) -> NoReturn:
    """Run a worker process from its environment, and end it.

    Args:
        main: Does the work and returns the output, which must be JSON. A `LeptonError` that it
            raises is the job's error, except those that say "not now" (code UNAVAILABLE or
            DEADLINE_EXCEEDED) and `Cancelled`: they leave it to another attempt. Any other
            exception is logged whole and reported as `Internal`.
    """
    configure_logging("INFO")
    try:
        worker = Worker(os.environ)
    except LeptonError as error:
        _log.exception("the work could not begin")
        sys.exit(RESTART_EXIT_CODE if error.code in _TRANSIENT else 1)
    worker.listen_for_stop()
    sys.exit(worker.run(main))

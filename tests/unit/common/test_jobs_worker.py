"""What a worker writes, and how it ends."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lepton_common.errors import (
    Cancelled,
    DependencyUnavailable,
    FieldViolation,
    Internal,
    InvalidField,
    LeptonError,
    NotFound,
)
from lepton_common.jobs import files
from lepton_common.jobs.worker import Worker
from lepton_common.objects import ObjectStore

JOB = "trainingJobs/digits/0f8e"


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    store = ObjectStore(f"file://{tmp_path}/objects")
    files.write_spec(store, JOB, {"epochs": 3})
    return store


def worker_of(objects: ObjectStore, *, attempt: int = 1, index: int = 0, workers: int = 1) -> Worker:
    return Worker(
        {
            "LEPTON_JOB": JOB,
            "LEPTON_ATTEMPT": str(attempt),
            "LEPTON_OBJECT_STORE_URL": objects.url,
            "LEPTON_WORKERS": str(workers),
            "LEPTON_WORKER_INDEX": str(index),
            "LEPTON_PEERS": "127.0.0.1:7001,127.0.0.1:7002",
            "LEPTON_RUN_DIRECTORY": "/scratch",
        }
    )


def test_a_worker_knows_what_its_environment_says(objects: ObjectStore) -> None:
    worker = worker_of(objects, attempt=2, index=1, workers=2)
    assert worker.spec == {"epochs": 3}
    assert (worker.job, worker.attempt, worker.index, worker.workers) == (JOB, 2, 1, 2)
    assert worker.peers == ("127.0.0.1:7001", "127.0.0.1:7002")
    assert worker.directory == Path("/scratch")
    assert worker.prefix == f"jobs/{JOB}"


def pod_of(objects: ObjectStore, pod: str, *, index: int = 0) -> Worker:
    """A worker as a pod of a Job, which Kubernetes starts anew without telling it a number."""
    return Worker(
        {
            "LEPTON_JOB": JOB,
            "LEPTON_POD": pod,
            "LEPTON_OBJECT_STORE_URL": objects.url,
            "LEPTON_WORKERS": "2",
            "JOB_COMPLETION_INDEX": str(index),
        }
    )


def test_the_first_pod_of_a_job_begins_its_attempts_and_tells_the_others(objects: ObjectStore) -> None:
    assert pod_of(objects, "peer-a", index=1).attempt == 1
    assert pod_of(objects, "first-a").attempt == 1
    assert pod_of(objects, "first-b").attempt == 2
    peer = pod_of(objects, "peer-b", index=1)
    assert (peer.index, peer.attempt) == (1, 2)
    peer.join(3)
    assert peer.attempt == 3
    assert peer.directory.is_dir()


def test_a_worker_waits_until_it_is_told_what_to_do(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path}/late")
    written = threading.Timer(0.5, lambda: files.write_spec(store, JOB, {"epochs": 4}))
    written.start()
    assert pod_of(store, "first").spec == {"epochs": 4}
    written.join()


def test_a_worker_that_is_to_do_nothing_is_told_why(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path}/refused")
    files.write_refusal(store, JOB, NotFound("there is no such dataset"))
    with pytest.raises(NotFound, match="there is no such dataset"):
        pod_of(store, "first")


def test_the_output_is_the_outcome(objects: ObjectStore) -> None:
    assert worker_of(objects).run(lambda worker: {"accuracy": 0.97}) == 0
    outcome = files.read_outcome(objects, JOB, 1)
    assert outcome == files.Outcome(output={"accuracy": 0.97})


def raising(error: BaseException) -> Callable[[Worker], Mapping[str, Any]]:
    def main(worker: Worker) -> Mapping[str, Any]:
        raise error

    return main


def test_a_named_error_is_the_outcome_with_all_it_says(objects: ObjectStore) -> None:
    error = InvalidField("no", metadata={"limit": "3"}, violations=[FieldViolation("spec.mlp", "must fit")])
    assert worker_of(objects).run(raising(error)) == 1
    outcome = files.read_outcome(objects, JOB, 1)
    assert outcome is not None
    assert isinstance(outcome.error, InvalidField)
    assert (outcome.error.message, outcome.error.metadata, outcome.error.violations) == (
        error.message,
        error.metadata,
        error.violations,
    )


@pytest.mark.parametrize(
    "main",
    [raising(RuntimeError("password=1234")), lambda worker: {"accuracy": object()}],
    ids=["exception", "output that is not JSON"],
)
def test_a_fault_is_logged_and_told_without_its_text(
    main: Callable[[Worker], Mapping[str, Any]], objects: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert worker_of(objects).run(main) == 1
    outcome = files.read_outcome(objects, JOB, 1)
    assert outcome is not None
    assert isinstance(outcome.error, Internal)
    assert "1234" not in outcome.error.message
    assert caplog.records[-1].exc_info is not None


@pytest.mark.parametrize("error", [DependencyUnavailable("no store"), Cancelled("stopping")], ids=repr)
def test_what_another_attempt_may_mend_leaves_no_outcome(error: LeptonError, objects: ObjectStore) -> None:
    assert worker_of(objects).run(raising(error)) == 75
    assert files.read_outcome(objects, JOB, 1) is None


def test_a_fault_beside_peers_is_left_to_another_attempt(objects: ObjectStore) -> None:
    assert worker_of(objects, workers=2).run(raising(OSError("connection reset by peer"))) == 75
    assert files.read_outcome(objects, JOB, 1) is None


def test_only_worker_0_gives_the_output(objects: ObjectStore) -> None:
    assert worker_of(objects, index=1, workers=2).run(lambda worker: {"index": 1}) == 0
    assert files.read_outcome(objects, JOB, 1) is None
    assert files.read_report(objects, JOB, 1) is None
    worker_of(objects, workers=2).run(lambda worker: {"index": 0})
    assert files.read_outcome(objects, JOB, 1) == files.Outcome(output={"index": 0})


def test_the_first_outcome_of_an_attempt_stays(objects: ObjectStore) -> None:
    worker_of(objects).run(lambda worker: {"run": 1})
    worker_of(objects).run(lambda worker: {"run": 2})
    assert files.read_outcome(objects, JOB, 1) == files.Outcome(output={"run": 1})


def test_progress_tells_rate_and_time_left(objects: ObjectStore) -> None:
    seen: list[files.Report | None] = []

    def main(worker: Worker) -> Mapping[str, Any]:
        for step in range(60):
            worker.progress("training", step, 100, "step")
            time.sleep(0.02)
        seen.append(files.read_report(objects, JOB, 1))
        return {}

    worker_of(objects).run(main)
    report = seen[0]
    assert report is not None
    assert not report.finished
    assert (report.progress.phase, report.progress.unit, report.progress.total) == ("training", "step", 100)
    assert 25 < report.progress.rate_per_second < 55
    left = 100 - report.progress.done
    assert report.progress.time_left.ToTimedelta().total_seconds() == pytest.approx(
        left / report.progress.rate_per_second, abs=0.01
    )
    last = files.read_report(objects, JOB, 1)
    assert last is not None
    assert last.finished
    assert last.progress.done == 59
    assert not last.progress.HasField("time_left")


def test_reporting_costs_the_work_microseconds(objects: ObjectStore) -> None:
    elapsed: list[float] = []

    def main(worker: Worker) -> Mapping[str, Any]:
        began = time.process_time()
        for step in range(100_000):
            worker.progress("training", step, 100_000, "step")
            worker.metric("loss", step, 1.0)
        elapsed.append(time.process_time() - began)
        return {}

    worker_of(objects).run(main)
    assert elapsed[0] / 100_000 < 50e-6


def metrics_of(objects: ObjectStore, attempt: int) -> dict[str, list[tuple[int, float]]]:
    report = files.read_report(objects, JOB, attempt)
    assert report is not None
    return {series.name: [(point.step, point.value) for point in series.points] for series in report.metrics}


def measuring(*steps: int, value: float) -> Callable[[Worker], Mapping[str, Any]]:
    def main(worker: Worker) -> Mapping[str, Any]:
        for step in steps:
            worker.metric("loss", step, value)
        return {}

    return main


def test_a_later_attempt_goes_on_with_the_curves_of_the_one_before(objects: ObjectStore) -> None:
    worker_of(objects, attempt=1).run(measuring(1, 2, 3, value=0.9))
    worker_of(objects, attempt=3).run(measuring(3, 4, value=0.5))
    assert metrics_of(objects, 3) == {"loss": [(1, 0.9), (2, 0.9), (3, 0.5), (4, 0.5)]}


def test_what_was_flushed_is_there_whatever_becomes_of_the_worker(objects: ObjectStore) -> None:
    seen: list[dict[str, list[tuple[int, float]]]] = []

    def main(worker: Worker) -> Mapping[str, Any]:
        for step in (1, 2, 3):
            worker.metric("loss", step, 0.5)
            worker.flush()
            seen.append(metrics_of(objects, 1))
        return {}

    worker_of(objects).run(main)
    assert [len(metrics["loss"]) for metrics in seen] == [1, 2, 3]


def test_a_metric_that_is_no_number_is_told_as_it_is(objects: ObjectStore) -> None:
    worker_of(objects).run(measuring(1, value=math.nan))
    assert math.isnan(metrics_of(objects, 1)["loss"][0][1])


def test_sigterm_asks_the_work_to_stop(objects: ObjectStore) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def main(worker: Worker) -> Mapping[str, Any]:
        worker.listen_for_stop()
        os.kill(os.getpid(), signal.SIGTERM)
        while not worker.stop_requested:
            time.sleep(0.01)
        raise RuntimeError("a library did not like being stopped")

    try:
        assert worker_of(objects).run(main) == 75
    finally:
        signal.signal(signal.SIGTERM, before)
    assert files.read_outcome(objects, JOB, 1) is None

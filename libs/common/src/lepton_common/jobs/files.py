"""What a job keeps in the object store, below `jobs/<job>/`.

    spec.json                   what to do; written by the controller before the first attempt
    launched                    there once its workers were given to a cluster
    attempts/<n>/claim.json     whose attempt n is, where workers are started anew without being told a number
    attempts/<n>/progress.json  how far attempt n is; written by its worker, again and again
    attempts/<n>/outcome.json   how attempt n ended; written by its worker, once

    logs/<worker>.log           what a worker wrote that is gone

Each attempt has a folder of its own, and only the current attempt's is read: a worker that was
cut off and goes on all the same can change nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.rpc import status_pb2

from lepton.job.v1 import job_pb2
from lepton_common.errors import Internal, LeptonError, NotFound
from lepton_common.objects import ObjectStore
from lepton_common.status import from_status, to_status


def prefix(job: str) -> str:
    """Return the prefix of all files of a job, given its key."""
    return f"jobs/{job}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a worker says while it works.

    Attributes:
        progress: How far it is.
        metrics: What it measured so far.
        finished: Whether the work is over and the outcome is written next.
    """

    progress: job_pb2.Progress
    metrics: tuple[job_pb2.MetricSeries, ...] = ()
    finished: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended: with an output, or with an error that no other attempt would mend."""

    output: Mapping[str, Any] | None = None
    error: LeptonError | None = None


def write_spec(objects: ObjectStore, job: str, spec: Mapping[str, Any]) -> None:
    """Write what a job is to do."""
    objects.put(f"{prefix(job)}/spec.json", json.dumps(spec).encode())


def write_refusal(objects: ObjectStore, job: str, error: LeptonError) -> None:
    """Write why a job that was started by somebody else than the service is to do nothing."""
    write_spec(objects, job, {"refused": json_format.MessageToDict(to_status(error))})


def spec_is_written(objects: ObjectStore, job: str) -> bool:
    """Say whether it is written down what a job is to do, or why nothing."""
    return objects.stat(f"{prefix(job)}/spec.json") is not None


def read_spec(objects: ObjectStore, job: str) -> dict[str, Any]:
    """Read what a job is to do.

    Raises:
        NotFound: The service has not said so yet.
        LeptonError: Nothing; see `write_refusal`.
    """
    spec: dict[str, Any] = json.loads(objects.get(f"{prefix(job)}/spec.json"))
    if "refused" in spec:
        raise from_status(json_format.ParseDict(spec["refused"], status_pb2.Status()))
    return spec


def mark_launched(objects: ObjectStore, job: str) -> None:
    """Write down that a job's workers were given to a cluster."""
    objects.put(f"{prefix(job)}/launched", b"", if_absent=True)


def unmark_launched(objects: ObjectStore, job: str) -> None:
    """Take back that a job's workers were given to a cluster: they are about to be taken from it."""
    objects.delete(f"{prefix(job)}/launched")


def was_launched(objects: ObjectStore, job: str) -> bool:
    """Say whether a job's workers were given to a cluster."""
    return objects.stat(f"{prefix(job)}/launched") is not None


def write_log(objects: ObjectStore, job: str, worker: str, text: str) -> None:
    """Keep what a worker wrote."""
    objects.put(f"{prefix(job)}/logs/{worker}.log", text.encode())


def read_logs(objects: ObjectStore, job: str) -> dict[str, str]:
    """Return what was kept of the workers' logs, by their names."""
    start = f"{prefix(job)}/logs"
    keys = sorted(info.key for info in objects.list(start))
    return {key.removeprefix(f"{start}/").removesuffix(".log"): objects.get(key).decode() for key in keys}


def claim_attempt(objects: ObjectStore, job: str, owner: str) -> int:
    """Begin the next attempt: return its number, which nobody else has got or will get.

    Args:
        objects: The object store.
        job: The job's key.
        owner: Who begins it, unique over all time. One that asks again gets the number that it has.
    """
    number, known = latest_claim(objects, job)
    if known == owner:
        return number
    while True:
        number += 1
        document = json.dumps({"owner": owner}).encode()
        if objects.put(_attempt_key(job, number, "claim"), document, if_absent=True):
            return number


def latest_claim(objects: ObjectStore, job: str) -> tuple[int, str]:
    """Return number and owner of the last attempt that was begun; 0 and nothing before the first."""
    start = f"{prefix(job)}/attempts"
    parts = (info.key.removeprefix(f"{start}/").split("/") for info in objects.list(start))
    numbers = [int(number) for number, name in parts if name == "claim.json"]
    if not numbers:
        return 0, ""
    number = max(numbers)
    return number, json.loads(objects.get(_attempt_key(job, number, "claim")))["owner"]


def write_report(objects: ObjectStore, job: str, attempt: int, *, report: Report) -> None:
    """Replace the report of an attempt."""
    # Plain lists: the generic encoder of messages takes many times as long, beside a training loop.
    document = {
        "progress": json_format.MessageToDict(report.progress),
        "metrics": {
            series.name: [[point.step, point.value] for point in series.points] for series in report.metrics
        },
        "finished": report.finished,
    }
    objects.put(_attempt_key(job, attempt, "progress"), json.dumps(document).encode())


def read_report(objects: ObjectStore, job: str, attempt: int) -> Report | None:
    """Read the report of an attempt; None when its worker has not written any."""
    document = _read(objects, _attempt_key(job, attempt, "progress"))
    if document is None:
        return None
    return Report(
        progress=json_format.ParseDict(document["progress"], job_pb2.Progress(), ignore_unknown_fields=True),
        metrics=tuple(
            job_pb2.MetricSeries(
                name=name,
                points=[job_pb2.MetricPoint(step=step, value=value) for step, value in points],
            )
            for name, points in document["metrics"].items()
        ),
        finished=document["finished"],
    )


def write_outcome(objects: ObjectStore, job: str, attempt: int, *, outcome: Outcome) -> None:
    """Write how an attempt ended; the first writer decides."""
    document: dict[str, Any] = {}
    if outcome.error is not None:
        document["error"] = json_format.MessageToDict(to_status(outcome.error))
    else:
        document["output"] = outcome.output
    objects.put(_attempt_key(job, attempt, "outcome"), json.dumps(document).encode(), if_absent=True)


def read_outcome(objects: ObjectStore, job: str, attempt: int) -> Outcome | None:
    """Read how an attempt ended; None when it has not, or when its worker was lost."""
    document = _read(objects, _attempt_key(job, attempt, "outcome"))
    if document is None:
        return None
    if "error" in document:
        status = json_format.ParseDict(document["error"], status_pb2.Status())
        return Outcome(error=from_status(status))
    if not isinstance(document.get("output"), dict):
        return Outcome(error=Internal("the worker wrote an outcome without output"))
    return Outcome(output=document["output"])


def _attempt_key(job: str, attempt: int, name: str) -> str:
    return f"{prefix(job)}/attempts/{attempt}/{name}.json"


def _read(objects: ObjectStore, key: str) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(objects.get(key))
    except NotFound:
        return None
    return document

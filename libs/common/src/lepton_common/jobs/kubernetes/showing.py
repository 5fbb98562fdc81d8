"""What a Job shows of the job that it carries, to whoever looks at it with kubectl."""

import json
import re

from lepton.job.v1 import job_pb2
from lepton_common.jobs import job as life
from lepton_common.jobs.kubernetes import names


def shown(status: job_pb2.JobStatus) -> tuple[dict[str, str], str]:
    """Return a job's state as labels, whose values may be few characters, and as an annotation, JSON."""
    state = job_pb2.JobState.Name(status.state).removeprefix("JOB_STATE_").lower()
    progress = status.progress
    how_far = f"{progress.done}-of-{progress.total}-{progress.unit}" if progress.total else progress.phase
    labels = {
        names.STATE_LABEL: "waiting" if life.waits_for(status) else state,
        names.PROGRESS_LABEL: re.sub(r"[^A-Za-z0-9._-]+", "-", how_far)[:63].strip("-_."),
    }
    told = {
        "state": state,
        "attempt": status.attempt,
        "message": status.message,
        "progress": f"{progress.phase}: {progress.done} of {progress.total} {progress.unit}".strip(),
        "metrics": {series.name: series.points[-1].value for series in status.metrics if series.points},
    }
    return labels, json.dumps(told)

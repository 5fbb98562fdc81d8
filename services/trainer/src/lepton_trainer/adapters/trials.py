"""What becomes of a trial, as it is written down in its study."""

import math
import time
from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from lepton.job.v1 import job_pb2
from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.errors import LeptonError, SchemaViolation
from lepton_common.jobs import job as life
from lepton_common.status import from_status
from lepton_trainer.adapters.studies import encode_metrics, encode_state, points_of
from lepton_trainer.study import Search, Trial, TrialState, kept_value


def close(trial: study_pb2.Trial, state: TrialState, end_time: Timestamp | None = None) -> None:
    """End a trial, at the time given or now."""
    trial.state = encode_state(state)
    if end_time is not None and end_time.seconds:
        trial.end_time.CopyFrom(end_time)
    else:
        trial.end_time.GetCurrentTime()


def fail(trial: study_pb2.Trial, error: LeptonError, end_time: Timestamp | None = None) -> None:
    """End a trial that comes to no value."""
    close(trial, TrialState.FAILED, end_time)
    trial.reason, trial.message = error.reason, error.message


def give_up(trial: study_pb2.Trial, job: training_pb2.TrainingJob, search: Search) -> None:
    """End a trial that others have left behind; it counts with the last number that it measured."""
    finite = [point for point in points_of(job, search.metric) if math.isfinite(point[1])]
    if finite:
        trial.epoch, trial.value = finite[-1]
    close(trial, TrialState.PRUNED)


def close_with(
    trial: study_pb2.Trial, job: training_pb2.TrainingJob, search: Search, *, kept_epoch: int
) -> None:
    """End a trial as its training job, which has ended, did.

    Args:
        trial: The trial.
        job: Its training job.
        search: Says which metric decides.
        kept_epoch: The epoch whose weights the job's model has; 0 where that is not known.
    """
    match job.status.state:
        case job_pb2.JOB_STATE_SUCCEEDED:
            points = points_of(job, search.metric)
            kept = kept_value(search, points, kept_epoch)
            if kept is None:
                fail(trial, _unmeasured(job, search, measured=bool(points)))
            else:
                trial.epoch, trial.value = kept
                close(trial, TrialState.SUCCEEDED, job.status.end_time)
        case job_pb2.JOB_STATE_FAILED:
            fail(trial, from_status(job.status.error), job.status.end_time)
        case _:
            close(trial, TrialState.CANCELLED, job.status.end_time)


def report(status: job_pb2.JobStatus, search: Search, trials: Sequence[Trial], *, phase: str) -> None:
    """Write into a study's status how far its trials are and what they have come to."""
    done = sum(trial.has_ended for trial in trials)
    progress = job_pb2.Progress(phase=phase, done=done, total=search.trials, unit="trial")
    if done == status.progress.done:
        # The rate changes with the trials, not with the clock: nothing is written while nothing happens.
        progress.rate_per_second = status.progress.rate_per_second
        if status.progress.HasField("time_left"):
            progress.time_left.CopyFrom(status.progress.time_left)
    else:
        progress.rate_per_second = done / max(time.time() - status.start_time.ToNanoseconds() / 1e9, 1e-3)
        progress.time_left.FromNanoseconds(int((search.trials - done) / progress.rate_per_second * 1e9))
    life.advance(status, progress, encode_metrics(search, trials))


def _unmeasured(job: training_pb2.TrainingJob, search: Search, *, measured: bool) -> LeptonError:
    if measured:
        return SchemaViolation(f"{search.metric} was never a number")
    names = ", ".join(series.name for series in job.status.metrics) or "nothing"
    return SchemaViolation(f"the training did not measure {search.metric!r}; it measured {names}")

"""Jobs as they go, in a log and for scripts. What a terminal shows is looked at."""

import json

import pytest
from google.protobuf.duration_pb2 import Duration

from lepton.job.v1 import job_pb2
from lepton.training.v1 import training_pb2
from lepton_sdk.cli import progress
from lepton_sdk.cli.output import Output
from lepton_sdk.cli.progress import JobDisplay, amount, latest, left, rate


def job(
    state: "job_pb2.JobState.ValueType",
    *,
    message: str = "",
    metrics: dict[str, float] | None = None,
    **done: object,
) -> training_pb2.TrainingJob:
    """A training job; what else is named are fields of its progress."""
    status = job_pb2.JobStatus(state=state, message=message, progress=job_pb2.Progress(**done))  # type: ignore[arg-type]
    for name, value in (metrics or {}).items():
        status.metrics.add(name=name, points=[job_pb2.MetricPoint(step=1, value=value)])
    return training_pb2.TrainingJob(name="trainingJobs/digits", status=status)


QUEUED = job(job_pb2.JOB_STATE_QUEUED)
READING = job(job_pb2.JOB_STATE_RUNNING, phase="reading")
TRAINING = job(
    job_pb2.JOB_STATE_RUNNING,
    phase="training",
    done=1200,
    total=4000,
    unit="step",
    rate_per_second=53.2,
    time_left=Duration(seconds=125),
    metrics={"loss": 0.25},
)
SUCCEEDED = job(job_pb2.JOB_STATE_SUCCEEDED, message="converged after 10 epochs")


def test_in_a_log_every_state_and_phase_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with JobDisplay(Output(json=False)) as display:
        for each in (QUEUED, READING, TRAINING, SUCCEEDED):
            display.show("train", each)
    told = capsys.readouterr()
    assert told.out == "", "stdout is for results"
    assert told.err.splitlines() == [
        "train: queued",
        "train: running  reading",
        "train: running  training  1,200/4,000 steps  53 steps/s  2 min 5 s left  loss 0.25",
        "train: succeeded  converged after 10 epochs",
    ]


def test_in_a_log_the_same_phase_is_told_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with JobDisplay(Output(json=False)) as display:
        for _ in range(50):
            display.show("train", TRAINING)
        assert len(capsys.readouterr().err.splitlines()) == 1
        monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
        display.show("train", TRAINING)
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_for_scripts_every_change_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with JobDisplay(Output(json=True)) as display:
        for each in (QUEUED, TRAINING):
            display.show("train", each)
    told = capsys.readouterr()
    assert told.out == ""
    first, second = map(json.loads, told.err.splitlines())
    assert first == {
        "stage": "train",
        "name": "trainingJobs/digits",
        "status": {"state": "JOB_STATE_QUEUED", "progress": {}},
    }
    assert second["status"]["progress"]["done"] == "1200"


def test_an_upload_is_told_at_its_beginning_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    with JobDisplay(Output(json=False)) as display:
        for sent in range(0, 5_000_001, 500_000):
            display.count("digits.npz", sent, 5_000_000)
    assert capsys.readouterr().err.splitlines() == ["digits.npz: 0.0/5.0 MB", "digits.npz: 5.0/5.0 MB"]
    with JobDisplay(Output(json=True)) as display:
        display.count("digits.npz", 5, 5)
    assert json.loads(capsys.readouterr().err) == {"upload": "digits.npz", "sent_bytes": 5, "size_bytes": 5}


@pytest.mark.parametrize(
    ("size", "told"),
    [(0, "0/0 bytes"), (999, "999/999 bytes"), (4_040, "4.0/4.0 kB"), (7 * 10**9, "7.0/7.0 GB")],
)
def test_a_size_has_a_unit_of_its_kind(capsys: pytest.CaptureFixture[str], size: int, told: str) -> None:
    with JobDisplay(Output(json=False)) as display:
        display.count("digits.npz", size, size)
    assert capsys.readouterr().err == f"digits.npz: {told}\n"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({}, ("", "", ""), id="nothing known"),
        pytest.param({"done": 3, "unit": "record"}, ("3 records", "", ""), id="no end known"),
        pytest.param({"done": 3, "total": 9}, ("3/9", "", ""), id="no unit"),
        pytest.param({"total": 2, "unit": "pass"}, ("0/2 passes", "", ""), id="a unit with s"),
        pytest.param({"rate_per_second": 0.25, "unit": "epoch"}, ("", "0.25 epochs/s", ""), id="slow"),
        pytest.param({"rate_per_second": 20345.6, "unit": "step"}, ("", "20,346 steps/s", ""), id="fast"),
        pytest.param({"rate_per_second": 12}, ("", "12/s", ""), id="a rate without unit"),
        pytest.param({"time_left": Duration(seconds=9)}, ("", "", "9 s left"), id="seconds left"),
        pytest.param({"time_left": Duration(seconds=7385)}, ("", "", "2 h 3 min left"), id="hours left"),
    ],
)
def test_progress_in_words(given: dict[str, object], told: tuple[str, str, str]) -> None:
    known = job_pb2.Progress(**given)  # type: ignore[arg-type]
    assert (amount(known), rate(known), left(known)) == told


def test_the_last_value_of_the_first_metrics_is_shown() -> None:
    shown = job(
        job_pb2.JOB_STATE_RUNNING, metrics={"loss": 0.5, "accuracy": float("nan"), "f1": 1e-5, "more": 1}
    )
    shown.status.metrics.add(name="empty")
    assert latest(shown.status) == "loss 0.5  accuracy nan  f1 1e-05"

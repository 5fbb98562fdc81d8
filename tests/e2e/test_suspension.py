"""A training is suspended in its middle, its service killed: resumed, it comes to the same weights."""

import json
from pathlib import Path

import pytest

from lepton.job.v1 import job_pb2
from lepton.training.v1 import training_pb2
from lepton_common.errors import LeptonError
from lepton_sdk.client import Client
from lepton_sdk.jobs import wait
from lepton_sdk.local import LocalCloud

from .test_cli import lepton

SPEC = {
    "cnn": {"filters": [4], "denseUnits": 8},
    "maxEpochs": 120,
    "convergence": {"patience": 0},
    "seed": 5,
}


async def until_state(
    client: Client, name: str, state: job_pb2.JobState.ValueType
) -> training_pb2.TrainingJob:
    """Wait until a training is in a state; the service may be killed meanwhile."""
    while True:
        try:
            async for job in client.training.watch(name):
                if job.status.state == state:
                    return job
        except LeptonError:
            continue


async def weights(client: Client, job: training_pb2.TrainingJob) -> str:
    """The digest of the Keras file that a training has made."""
    version = await client.models.get_version(job.model_version)
    return next(file.sha256 for file in version.files if file.path.endswith(".keras"))


@pytest.mark.timeout(600)
async def test_a_training_that_was_suspended_ends_with_the_same_weights(
    cloud: LocalCloud, client: Client, digits: Path
) -> None:
    def run(*words: str) -> str:
        done = lepton(*words, endpoints=cloud.endpoints_file)
        assert done.returncode == 0, done.stderr
        return done.stdout

    start = ("train", "start", "digits", "--spec", json.dumps(SPEC), "--detach", "--id")
    run("dataset", "push", "digits", str(digits), "--label", "label")
    run(*start, "disturbed")
    # On a machine one training runs at a time.
    run(*start, "calm")
    async for job in client.training.watch("trainingJobs/disturbed"):
        if job.status.progress.phase == "training" and job.status.progress.done:
            break
    assert run("train", "suspend", "disturbed") == "trainingJobs/disturbed: suspending\n"
    trainer = cloud.processes["trainer"].handle
    assert trainer is not None
    trainer.kill()
    suspended = await until_state(client, "trainingJobs/disturbed", job_pb2.JOB_STATE_SUSPENDED)
    assert 0 < suspended.status.progress.done < suspended.status.progress.total
    assert "trainingJobs/disturbed: suspended until it is resumed" in run("train", "show", "disturbed")
    assert "SUSPENDED" in run("train", "list")

    # It has left its place.
    calm = await wait(client.training.watch("trainingJobs/calm"))
    trainer = cloud.processes["trainer"].handle
    assert trainer is not None
    trainer.kill()
    await until_state(client, "trainingJobs/disturbed", job_pb2.JOB_STATE_SUSPENDED)
    assert run("train", "resume", "disturbed") == "trainingJobs/disturbed: queued\n"
    disturbed = await wait(client.training.watch("trainingJobs/disturbed"))
    assert (disturbed.status.attempt, disturbed.status.suspensions) == (2, 1)
    assert [series for series in disturbed.status.metrics if series.name == "loss"] == [
        series for series in calm.status.metrics if series.name == "loss"
    ]
    assert await weights(client, disturbed) == await weights(client, calm)

    refused = lepton("train", "suspend", "calm", endpoints=cloud.endpoints_file)
    assert refused.returncode != 0
    assert "the job has ended (JOB_STATE_SUCCEEDED): there is nothing to suspend" in refused.stderr

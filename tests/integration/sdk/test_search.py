"""`lepton search` and the pipeline's stage, against a service that knows studies."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from google.protobuf.json_format import ParseDict

from lepton.job.v1 import job_pb2
from lepton.training.v1 import study_pb2, study_pb2_grpc
from lepton_common.errors import InvalidModel, NotFound
from lepton_common.server import Service
from lepton_common.status import to_status
from lepton_sdk import pipeline
from lepton_sdk.cli import command
from lepton_sdk.client import Client

Lepton = Callable[..., Result]

ENDED = {
    "status": {"state": "JOB_STATE_SUCCEEDED"},
    "modelVersion": "models/digits/versions/1",
    "bestTrial": 2,
    "importances": {"batch_size": 1.0},
    "trials": [
        {
            "number": 1,
            "state": "TRIAL_STATE_FAILED",
            "parameters": {"batch_size": 16},
            "message": "the training diverges",
        },
        {
            "number": 2,
            "state": "TRIAL_STATE_SUCCEEDED",
            "parameters": {"batch_size": 32},
            "value": 0.25,
            "epoch": 7,
            "startTime": "2026-01-01T00:00:00Z",
            "endTime": "2026-01-01T00:00:02.5Z",
        },
    ],
}


class StudyService(study_pb2_grpc.StudyServiceServicer):
    """Makes every study that is asked for, and ends it at once as a test wants."""

    def __init__(self) -> None:
        self.made: dict[str, study_pb2.Study] = {}
        self.ended = ENDED

    async def CreateStudy(
        self, request: study_pb2.CreateStudyRequest, context: object
    ) -> study_pb2.CreateStudyResponse:
        study = study_pb2.Study(name=f"studies/{request.study_id}", spec=request.study.spec)
        study.spec.objective.metric = study.spec.objective.metric or "validation_loss"
        study.status.state = job_pb2.JOB_STATE_QUEUED
        return study_pb2.CreateStudyResponse(study=self.made.setdefault(study.name, study))

    async def GetStudy(
        self, request: study_pb2.GetStudyRequest, context: object
    ) -> study_pb2.GetStudyResponse:
        if request.name not in self.made:
            raise NotFound(f"there is no {request.name}")
        return study_pb2.GetStudyResponse(study=self.made[request.name])

    async def ListStudies(
        self, request: study_pb2.ListStudiesRequest, context: object
    ) -> study_pb2.ListStudiesResponse:
        return study_pb2.ListStudiesResponse(studies=self.made.values())

    async def WatchStudy(
        self, request: study_pb2.WatchStudyRequest, context: object
    ) -> AsyncIterator[study_pb2.WatchStudyResponse]:
        study = self.made[request.name]
        yield study_pb2.WatchStudyResponse(study=study)
        study.ClearField("status")
        yield study_pb2.WatchStudyResponse(study=ParseDict(self.ended, study))


@pytest.fixture
def studies() -> StudyService:
    return StudyService()  # type: ignore[abstract]  # Nothing else is asked of it.


@pytest.fixture
def services(studies: StudyService) -> list[Service]:
    return [
        Service(
            descriptor=study_pb2.DESCRIPTOR.services_by_name["StudyService"],
            add=study_pb2_grpc.add_StudyServiceServicer_to_server,
            servicer=studies,
        )
    ]


@pytest.fixture
def lepton(endpoints: Path) -> Lepton:
    """Runs the command in this process."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(command, ["--endpoints", str(endpoints), *words])

    return run


START = ("search", "start", "digits@1", "--id", "s", "--family", "mlp")


def test_a_search_is_asked_for_as_it_was_typed(lepton: Lepton, studies: StudyService) -> None:
    done = lepton(
        *START,
        *("--param", "batch_size=int(16,64,step=16)", "--param", "mlp.activation=choice(relu,tanh)"),
        *("--trials", "8", "--parallel", "2", "--epochs", "5", "--seed", "3", "--timeout", "60"),
        *("--sampler", "random", "--pruner", "hyperband", "--metric", "validation_accuracy", "--maximize"),
    )
    assert done.exit_code == 0, done.stderr
    expected = {
        "training": {
            "datasetVersion": "datasets/digits/versions/1",
            "model": "models/digits",
            "mlp": {},
            "maxEpochs": 5,
        },
        "parameters": [
            {"path": "batch_size", "integer": {"min": 16, "max": 64, "step": 16}},
            {"path": "mlp.activation", "choice": {"values": ["relu", "tanh"]}},
        ],
        "objective": {"metric": "validation_accuracy", "direction": "DIRECTION_MAXIMIZE"},
        "trials": 8,
        "parallelTrials": 2,
        "sampler": "SAMPLER_RANDOM",
        "successiveHalving": {"brackets": 3},
        "seed": 3,
        "timeoutSeconds": 60,
    }
    assert studies.made["studies/s"].spec == ParseDict(expected, study_pb2.StudySpec())


def test_every_trial_is_shown_and_the_best_is_marked(lepton: Lepton) -> None:
    done = lepton(*START, "--param", "batch_size=int(16,64)")
    assert done.exit_code == 0, done.stderr
    head, first, second = done.stdout.splitlines()[2:5]
    assert head.split() == ["TRIAL", "STATE", "VALIDATION_LOSS", "EPOCH", "SECONDS", "batch_size"]
    assert first.split() == ["1", "FAILED", "16", "the", "training", "diverges"]
    assert second.split() == ["2", "SUCCEEDED", "0.25", "7", "2.5", "32", "best"]
    assert "model version: models/digits/versions/1" in done.stdout
    assert "importance: batch_size 1.00" in done.stdout
    assert lepton("search", "show", "s").stdout == done.stdout
    assert "models/digits/versions/1" in lepton("search", "list").stdout


def test_for_scripts_there_is_json(lepton: Lepton) -> None:
    done = lepton("-o", "json", *START, "--param", "batch_size=int(16,64)")
    assert json.loads(done.stdout)["bestTrial"] == 2
    trials = json.loads(lepton("-o", "json", "search", "plot", "s").stdout)
    assert [trial["number"] for trial in trials] == [1, 2]
    assert json.loads(lepton("-o", "json", *START, "--param", "seed=int(1,2)", "--detach").stdout) == {
        "name": "studies/s"
    }


def test_a_picture_is_written(lepton: Lepton, tmp_path: Path) -> None:
    lepton(*START, "--param", "batch_size=int(16,64)")
    done = lepton("search", "plot", "s", "--png", str(tmp_path / "study.png"))
    assert done.exit_code == 0
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--family", "mlp"), 2, "say what to search"),
        (("--param", "batch_size=int(1,2)"), 2, "say what to train"),
        (("--family", "mlp", "--param", "batch_size=16"), 4, "must be PATH=DOMAIN"),
        (("--spec", "{trails: 3}"), 4, "trails"),
    ],
    ids=["nothing to search", "nothing to train", "no domain", "a slip in the spec"],
)
def test_what_is_typed_wrong_is_told(words: tuple[str, ...], code: int, told: str, lepton: Lepton) -> None:
    done = lepton("search", "start", "digits", *words)
    assert done.exit_code == code
    assert told in done.stderr


def test_a_failed_search_is_a_failed_command(lepton: Lepton, studies: StudyService) -> None:
    error = to_status(InvalidModel("all of the first 3 trials failed"))
    studies.ended = {"status": {"state": "JOB_STATE_FAILED", "error": {"code": error.code}}}
    done = lepton(*START, "--param", "batch_size=int(16,64)")
    assert done.exit_code == 4
    assert lepton("search", "show", "other").exit_code == 3


async def test_a_pipeline_searches_once(client: Client) -> None:
    wanted = pipeline.parse(
        {
            "name": "digits",
            "search": {
                "training": {"datasetVersion": "datasets/digits/versions/1", "mlp": {}},
                "parameters": [{"path": "batch_size", "integer": {"min": 16, "max": 64}}],
            },
        },
        Path(),
    )
    made = await pipeline.run(client, wanted)
    again = await pipeline.run(client, wanted)
    assert (made.reused, again.reused) == ([], ["search"])
    assert made.study is not None and again.study is not None
    assert made.study.name == again.study.name
    assert again.study.spec.training.model == "models/digits"
    assert again.trained == "models/digits/versions/1"

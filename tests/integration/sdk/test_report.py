"""`lepton model report`: how good a version is, and the files that say it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lepton.model.v1 import model_pb2
from lepton_common.errors import ShuttingDown
from lepton_learn.scores.report import classification_report, regression_report
from lepton_sdk.cli import command
from lepton_sdk.client import Client

from .conftest import Models

TRAINED, COMPRESSED = "models/iris/versions/1", "models/iris/versions/2"
HEADER = {"format": 1, "split": "test", "label": "species"}

Lepton = Callable[..., Result]


def classification(classes: int) -> dict[str, Any]:
    """What is said of a classifier that is right eight times of ten."""
    random = np.random.default_rng(0)
    labels = np.arange(200) % classes
    told = np.where(random.random(200) < 0.8, labels, (labels + 1) % classes)
    probabilities = np.full((200, classes), 0.3 / (classes - 1), np.float32)
    probabilities[np.arange(200), told] = 0.7
    names = tuple(f"kind {place}" for place in range(classes))
    slices = {
        "sex": np.array(["f", "m"], object)[labels % 2],
        "rare": np.array(["x"] * 5 + ["y"] * 195, object),
    }
    losses = np.zeros(200, np.float32)
    return HEADER | classification_report(labels, probabilities, losses, classes=names, slices=slices)


def regression() -> dict[str, Any]:
    """What is said of predictions that are one too high."""
    truth = np.arange(50.0)
    predictions = (truth + 1).astype(np.float32)
    return HEADER | regression_report(truth, predictions, np.zeros(50, np.float32), slices={})


@pytest.fixture
def lepton(endpoints: Path) -> Lepton:
    """Runs the command in this process."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(command, ["--endpoints", str(endpoints), *words])

    return run


def keep(models: Models, document: dict[str, Any], *others: str) -> None:
    """A trained version with its evaluation and other files, and a compressed one made from it."""
    models.files = {path: path.encode() for path in others} | {
        "model.keras": b"model",
        "evaluation.json": json.dumps(document).encode(),
    }
    files = [model_pb2.ArtifactFile(path=path) for path in models.files]
    models.versions[TRAINED] = model_pb2.ModelVersion(name=TRAINED, files=files)
    chain = [
        model_pb2.LineageNode(name="compressionJobs/c", kind=model_pb2.LINEAGE_KIND_COMPRESSION_JOB),
        model_pb2.LineageNode(name=TRAINED, kind=model_pb2.LINEAGE_KIND_MODEL_VERSION),
    ]
    onnx = model_pb2.ArtifactFile(path="model.onnx")
    compressed = model_pb2.ModelVersion(name=COMPRESSED, files=[onnx], lineage=chain)
    models.versions[COMPRESSED] = models.versions["models/iris/versions/latest"] = compressed


def test_two_classes_are_told_in_tables(lepton: Lepton, models: Models) -> None:
    document = classification(2)
    keep(models, document)
    done = lepton("model", "report", "iris@1")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == (
        f"{TRAINED}: classification of 'species', measured on the 200 records of the test split"
    )
    words = [line.split() for line in lines]
    assert ["accuracy", f"{document['figures']['accuracy']:.4g}"] in words
    (first, second), own = document["confusion"], document["classes"][0]
    assert ["kind", "0", *map(str, first)] in words
    assert ["kind", "1", *map(str, second)] in words
    assert ["kind", "0", "100", str(own["predicted"])] in [line[:4] for line in words]
    assert "by sex" in lines
    assert ["x", "(few)", "5"] in [line[:3] for line in words]
    parity = document["slices"][0]["gaps"]["demographic_parity_difference"]
    assert f"demographic parity difference: {parity:.4g}" in lines
    assert "thresholds for 'kind 1'" in lines


def test_many_classes_are_told_by_their_mistakes(lepton: Lepton, models: Models) -> None:
    document = classification(20)
    keep(models, document)
    done = lepton("model", "report", "iris@1")
    assert done.exit_code == 0
    assert "confusion" not in done.stdout.splitlines()
    first = document["mistakes"][0]
    told = [*first["true"].split(), *first["predicted"].split(), str(first["records"])]
    assert told in [line.split() for line in done.stdout.splitlines()]


def test_a_regression_is_told_by_its_residuals(lepton: Lepton, models: Models) -> None:
    keep(models, regression())
    done = lepton("model", "report", "iris@1")
    assert done.exit_code == 0
    assert ["50%", "1"] in [line.split() for line in done.stdout.splitlines()]


def test_of_a_compressed_version_that_is_told_of_which_it_was_made(lepton: Lepton, models: Models) -> None:
    keep(models, classification(3))
    done = lepton("model", "report", "iris")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{TRAINED}: ")


def test_for_scripts_it_is_the_file(lepton: Lepton, models: Models) -> None:
    document = classification(2)
    keep(models, document)
    assert json.loads(lepton("-o", "json", "model", "report", "iris@1").stdout) == document


def test_the_files_are_written_and_the_model_is_not(lepton: Lepton, models: Models, tmp_path: Path) -> None:
    events = "tensorboard/events.out.tfevents.0.lepton"
    keep(models, classification(2), "plots/roc.png", events)
    folder = tmp_path / "report"
    done = lepton("-o", "json", "model", "report", "iris@1", "--download", str(folder))
    assert done.exit_code == 0
    told = {Path(path) for path in json.loads(done.stdout)["files"]}
    assert told == {path for path in folder.rglob("*") if path.is_file()}
    assert told == {folder / path for path in ("evaluation.json", "plots/roc.png", events)}
    assert (folder / "plots/roc.png").read_bytes() == b"plots/roc.png"


def test_a_path_that_leaves_the_folder_is_refused(lepton: Lepton, models: Models, tmp_path: Path) -> None:
    keep(models, classification(2), "plots/../../outside")
    done = lepton("model", "report", "iris@1", "--download", str(tmp_path / "report"))
    assert done.exit_code == 4
    assert not (tmp_path / "outside").exists()


def test_a_version_that_nobody_evaluated_has_no_report(lepton: Lepton, models: Models) -> None:
    models.versions[TRAINED] = model_pb2.ModelVersion(
        name=TRAINED, files=[model_pb2.ArtifactFile(path="model.onnx")]
    )
    done = lepton("model", "report", "iris@1")
    assert done.exit_code == 3
    assert f"{TRAINED} has no evaluation" in done.stderr


def test_a_list_of_versions_leaves_classes_and_slices_to_the_report(lepton: Lepton, models: Models) -> None:
    metrics = {"accuracy": 0.8, "accuracy/kind 0": 0.7, "accuracy_difference/sex": 0.1}
    models.versions[TRAINED] = model_pb2.ModelVersion(name=TRAINED, metrics=metrics)
    told = lepton("model", "versions", "iris").stdout
    assert told.splitlines()[1].endswith("  accuracy 0.8")
    assert "/kind" not in told and "/sex" not in told
    (version,) = json.loads(lepton("-o", "json", "model", "versions", "iris").stdout)
    assert version["metrics"] == metrics


async def test_a_file_is_read_anew_when_the_service_goes_in_the_middle(
    client: Client, models: Models
) -> None:
    keep(models, regression())
    tried = 0

    async def goes_once() -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise ShuttingDown("back in a moment")

    models.trouble = goes_once
    assert await client.models.evaluation(TRAINED) == regression()
    assert tried == 2

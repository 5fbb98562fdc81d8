"""A search as its user has it: real workers train real models on real data, and the best one is kept."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer

from lepton_sdk.client import Client
from lepton_sdk.local import LocalCloud

LEPTON = [sys.executable, "-c", "from lepton_sdk.cli import main; main()"]


def lepton(*words: str, endpoints: Path) -> "subprocess.CompletedProcess[str]":
    line = [*LEPTON, "--endpoints", str(endpoints), *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def tumours(tmp_path: Path) -> Path:
    """569 breast tumours as a CSV file, by what was measured of their cells."""
    found = load_breast_cancer()
    path = tmp_path / "tumours.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*found.feature_names, "kind"])
        rows.writerows(
            [*each, found.target_names[kind]] for each, kind in zip(found.data, found.target, strict=True)
        )
    return path


@pytest.mark.timeout(600)
async def test_the_best_of_four_trainings_is_registered(
    cloud: LocalCloud, client: Client, tumours: Path, tmp_path: Path
) -> None:
    endpoints = cloud.endpoints_file
    lepton("dataset", "push", "tumours", str(tumours), "--label", "kind", endpoints=endpoints)
    done = lepton(
        *("-o", "json", "search", "start", "tumours", "--id", "tumours", "--family", "mlp"),
        *("--param", "optimizer.learning_rate=choice(1e-6,1e-2)", "--param", "batch_size=choice(32,64)"),
        *("--sampler", "grid", "--epochs", "5"),
        endpoints=endpoints,
    )
    study = json.loads(done.stdout)
    assert study["status"]["state"] == "JOB_STATE_SUCCEEDED"
    trials = study["trials"]
    assert [trial["state"] for trial in trials] == ["TRIAL_STATE_SUCCEEDED"] * 4
    best = min(trials, key=lambda trial: trial["value"])
    assert study["bestTrial"] == best["number"]
    # A step size of a millionth learns nothing in five epochs.
    assert best["parameters"]["optimizer.learning_rate"] == 0.01
    for trial in trials:
        job = await client.training.get(trial["trainingJob"])
        series = next(each for each in job.status.metrics if each.name == "validation_loss")
        assert trial["value"] == min(point.value for point in series.points)

    (version,) = await client.models.versions("models/tumours")
    assert version.name == study["modelVersion"]
    assert version.metrics["accuracy"] > 0.9
    lineage = [node.name for node in await client.models.lineage(version.name)]
    assert lineage[:4] == [
        version.name,
        "studies/tumours",
        best["trainingJob"],
        study["spec"]["training"]["datasetVersion"],
    ]

    shown = lepton("search", "show", "tumours", endpoints=endpoints).stdout
    assert [line.split()[0] for line in shown.splitlines() if line.endswith(" best")] == [str(best["number"])]
    picture = tmp_path / "study.png"
    lepton("search", "plot", "tumours", "--png", str(picture), endpoints=endpoints)
    assert picture.read_bytes().startswith(b"\x89PNG")

    lepton("search", "delete", "tumours", endpoints=endpoints)
    assert await client.training.list() == []
    # What was registered does not go with its trial.
    lepton("compress", "start", "tumours", "--max-accuracy-drop", "0.05", endpoints=endpoints)

"""Pictures of studies, of everything that can happen to one."""

import io
import warnings

import pytest
from google.protobuf.json_format import ParseDict
from PIL import Image

from lepton.training.v1 import study_pb2
from lepton_sdk.study_plots import study_png

PARAMETERS = [
    {"path": "optimizer.learning_rate", "real": {"min": 1e-4, "max": 0.1, "log": True}},
    {"path": "batch_size", "integer": {"min": 16, "max": 64}},
    {"path": "mlp.activation", "choice": {"values": ["ACTIVATION_RELU", "ACTIVATION_TANH"]}},
    {"path": "mlp.hidden_units", "choice": {"values": [[32], [64, 32]]}},
]


def trial(number: int, state: str, **more: object) -> dict[str, object]:
    parameters = {
        "optimizer.learning_rate": 10.0**-number,
        "batch_size": 16 * number,
        "mlp.activation": ["ACTIVATION_RELU", "ACTIVATION_TANH"][number % 2],
        "mlp.hidden_units": [[32], [64, 32]][number % 2],
    }
    return {"number": number, "state": f"TRIAL_STATE_{state}", "parameters": parameters, **more}


def study(*trials: dict[str, object], **more: object) -> study_pb2.Study:
    spec = {"parameters": PARAMETERS, "objective": {"metric": "validation_loss"}}
    return ParseDict({"name": "studies/s", "spec": spec, "trials": [*trials], **more}, study_pb2.Study())


STUDIES = [
    pytest.param(study(), id="no trial"),
    pytest.param(study(trial(1, "RUNNING")), id="none has ended"),
    pytest.param(study(trial(1, "FAILED", message="diverges")), id="none has a value"),
    pytest.param(study(trial(1, "SUCCEEDED", value=0.5), bestTrial=1), id="one value"),
    pytest.param(
        study(
            trial(1, "SUCCEEDED", value=0.5),
            trial(2, "PRUNED", value=0.9),
            trial(3, "SUCCEEDED", value=1e300),
            trial(4, "CANCELLED"),
            bestTrial=1,
            importances={"batch_size": 0.75, "mlp.activation": 0.25},
            status={"metrics": [{"name": "best_value", "points": [{"step": "1", "value": 0.5}]}]},
        ),
        id="all states",
    ),
]


@pytest.mark.parametrize("drawn", STUDIES)
def test_a_study_is_a_png(drawn: study_pb2.Study) -> None:
    with warnings.catch_warnings(record=True) as told:
        image = Image.open(io.BytesIO(study_png(drawn)))
        image.load()
    assert image.format == "PNG"
    assert min(image.size) > 100
    assert not told

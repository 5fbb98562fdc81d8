"""`lepton predict`, with a model that tells what it was given."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from inference import grpc_service_pb2 as pb
from inference import grpc_service_pb2_grpc as pb_grpc
from lepton_common.server import Service
from lepton_sdk.cli import command

Predict = Callable[..., Result]


class Model(pb_grpc.GRPCInferenceServiceServicer):
    """Takes a weight and a colour, and is sure of the second class of every record."""

    def __init__(self) -> None:
        self.requests: list[pb.ModelInferRequest] = []
        self.outputs = ["probabilities"]

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: object
    ) -> pb.ModelMetadataResponse:
        response = pb.ModelMetadataResponse(name=request.name)
        response.inputs.add(name="weight (g)", datatype="FP32", shape=[-1, 1])
        response.inputs.add(name="colour", datatype="BYTES", shape=[-1, 1])
        for name in self.outputs:
            response.outputs.add(name=name, datatype="FP32", shape=[-1, 2])
        return response

    async def ModelInfer(self, request: pb.ModelInferRequest, context: object) -> pb.ModelInferResponse:
        self.requests.append(request)
        records = request.inputs[0].shape[0]
        response = pb.ModelInferResponse(
            model_name=request.model_name, model_version=request.model_version or "7"
        )
        response.parameters["lepton_model_digest"].string_param = "abc"
        for name in [each.name for each in request.outputs] or self.outputs:
            classified = any(
                "classification" in each.parameters for each in request.outputs if each.name == name
            )
            if classified:
                text = b"0.750000:1:pear: green"
                response.outputs.add(name=name, datatype="BYTES", shape=[records, 1])
                raw = (len(text).to_bytes(4, "little") + text) * records
            else:
                response.outputs.add(name=name, datatype="FP32", shape=[records, 2])
                raw = np.array([[0.25, np.nan]] * records, "<f4").tobytes()
            response.raw_output_contents.append(raw)
        return response


@pytest.fixture
def model() -> Model:
    return Model()  # type: ignore[abstract]  # Nothing else is asked of it.


@pytest.fixture
def services(model: Model) -> list[Service]:
    return [
        Service(
            descriptor=pb.DESCRIPTOR.services_by_name["GRPCInferenceService"],
            add=pb_grpc.add_GRPCInferenceServiceServicer_to_server,
            servicer=model,
            permissions=dict.fromkeys(pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name),
            validate=False,
        )
    ]


@pytest.fixture
def predict(endpoints: Path) -> Iterator[Predict]:
    """Asks the model, with these words before `predict` in `options`."""

    def run(*words: str, options: tuple[str, ...] = ()) -> Result:
        line = ["--endpoints", str(endpoints), *options, "predict", "fruit", *words]
        return CliRunner().invoke(command, line)

    yield run


def test_people_see_the_likeliest_class_by_its_name(predict: Predict) -> None:
    done = predict("weight (g)=[150, 120]", 'colour=["green", "red"]')
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "fruit version 7",
        "RECORD  CLASS        PROBABILITY",
        "0       pear: green         0.75",
        "1       pear: green         0.75",
    ]


def test_people_see_the_numbers_of_what_is_no_class(predict: Predict, model: Model) -> None:
    model.outputs = ["prediction"]
    assert predict("weight (g)=150", "colour=green").stdout == "fruit version 7\nprediction: [[0.25, nan]]\n"


def test_scripts_get_all_numbers(predict: Predict) -> None:
    done = predict("weight (g)=150", "colour=green", options=("-o", "json"))
    assert json.loads(done.stdout, parse_constant=pytest.fail) == {
        "model_version": "7",
        "outputs": {"probabilities": [[0.25, "NaN"]]},
        "parameters": {"lepton_model_digest": "abc"},
    }


def test_inputs_arrive_as_the_model_takes_them(predict: Predict, model: Model) -> None:
    predict("weight (g)=-1.5", "colour=1.50", "--version", "3", "--sequence-key", "ada")
    [request] = model.requests
    assert request.model_version == "3"
    assert request.parameters["sequence_key"].string_param == "ada"
    assert [(each.name, each.datatype, [*each.shape]) for each in request.inputs] == [
        ("weight (g)", "FP32", [1, 1]),
        ("colour", "BYTES", [1, 1]),
    ]
    assert [*request.raw_input_contents] == [np.float32(-1.5).tobytes(), b"\x04\0\0\x001.50"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["150"], "name the input as NAME=VALUE; there are weight (g), colour", id="no name"),
        pytest.param(["size=5"], "there are weight (g), colour", id="no such input"),
        pytest.param(["weight (g)=heavy"], "neither a file nor JSON", id="a word for a number"),
        pytest.param(["weight (g)=none.npy"], "No such file", id="no file"),
    ],
)
def test_what_the_model_does_not_take_is_refused(
    predict: Predict, model: Model, words: list[str], told: str
) -> None:
    done = predict(*words)
    assert done.exit_code == 4
    assert told in done.stderr
    assert done.stdout == ""
    assert not model.requests

"""Training jobs that cannot end well."""

import json
import math
from typing import Any

from google.protobuf.message import Message

from lepton.training.v1 import training_pb2 as training
from lepton_common.errors import InvalidField, InvalidModel, NotFound, TooLarge, UnsafeModel

from .refusal import PAGE_RULE, Refusals, refusal


def keras(*layers: dict[str, Any], **facts: Any) -> training.KerasConfig:
    """A model of these layers behind an input of three numbers."""
    first = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 3]}}
    config = {"name": "net", "layers": [first, *layers]}
    document = {"module": "keras", "class_name": "Sequential", "config": config} | facts
    return training.KerasConfig(json=json.dumps(document))


def layer(class_name: str, *, module: str = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": class_name, "config": config}


def train(**spec: Any) -> Message:
    facts: dict[str, Any] = {"dataset_version": "datasets/flowers/versions/1", "model": "models/net"} | spec
    if not spec.keys() & {"mlp", "cnn", "resnet", "wide_and_deep", "two_tower", "tcn", "keras_config"}:
        facts["mlp"] = training.Mlp()
    return training.CreateTrainingJobRequest(
        training_job_id="bad", training_job=training.TrainingJob(spec=training.TrainingSpec(**facts))
    )


TRAINING: Refusals = {
    "a Lambda layer": refusal(
        train(keras_config=keras(layer("Lambda", name="evil", function="os.system"))),
        UnsafeModel,
        "'evil'",
        "Lambda",
        "Keras's own parts that hold no code",
    ),
    "a Lambda inside of a model inside of a model": refusal(
        train(keras_config=keras(json.loads(keras(layer("Lambda", name="deep")).json))),
        UnsafeModel,
        "'deep'",
        "Lambda",
    ),
    "a layer from another module": refusal(
        train(keras_config=keras(layer("Popen", module="subprocess", args="id"))),
        UnsafeModel,
        "subprocess.Popen",
    ),
    "a layer that reads a file": refusal(
        train(keras_config=keras(layer("TFSMLayer", filepath="/etc"))), UnsafeModel, "keras.layers.TFSMLayer"
    ),
    "a Keras config that is not JSON": refusal(
        train(keras_config=training.KerasConfig(json="{'a': 1")), InvalidModel, "not JSON"
    ),
    "a Keras config that is no model": refusal(
        train(keras_config=training.KerasConfig(json="[1]")), InvalidModel, "to_json"
    ),
    "a Keras config nested without end": refusal(
        train(keras_config=training.KerasConfig(json="[" * 100000)), TooLarge, "deeper than 64"
    ),
    "a Keras config of 2 MB": refusal(
        train(keras_config=training.KerasConfig(json=" " * (2 << 20))), InvalidField, "json", "1048576"
    ),
    "no architecture": refusal(
        training.CreateTrainingJobRequest(
            training_job_id="bad",
            training_job=training.TrainingJob(
                spec=training.TrainingSpec(dataset_version="datasets/flowers/versions/1", model="models/net")
            ),
        ),
        InvalidField,
        "training_job.spec.architecture",
        "required",
    ),
    "slices by a number": refusal(
        train(slice_columns=["length"]), InvalidField, "slice_columns[0]", "integer or category"
    ),
    "slices by no column": refusal(train(slice_columns=["nope"]), InvalidField, "slice_columns[0]", "'nope'"),
    "slices by one column twice": refusal(train(slice_columns=["a", "a"]), InvalidField, "slice_columns"),
    "a convolution over a table": refusal(
        train(cnn=training.Cnn()), InvalidField, "spec.cnn", "'length' (number)", "train an mlp"
    ),
    "a forecast of what is no series": refusal(
        train(tcn=training.Tcn()), InvalidField, "spec.tcn", "its schema needs a `series`"
    ),
    "a residual network over a table": refusal(
        train(resnet=training.ResNet()), InvalidField, "spec.resnet", "'length' (number)", "train an mlp"
    ),
    "a cross with a number": refusal(
        train(wide_and_deep=training.WideAndDeep(crosses=[training.Cross(columns=["length", "width"])])),
        InvalidField,
        "spec.wide_and_deep.crosses[0].columns",
        "'length' is not",
    ),
    "a cross of one column": refusal(
        train(wide_and_deep=training.WideAndDeep(crosses=[training.Cross(columns=["length"])])),
        InvalidField,
        "spec.wide_and_deep.crosses[0].columns",
    ),
    "a base model that is not there": refusal(
        train(base_model=training.BaseModel(model_version="models/nope/versions/1")),
        NotFound,
        "'models/nope/versions/1'",
    ),
    "a base model that climbs": refusal(
        train(base_model=training.BaseModel(model_version="models/../x")),
        InvalidField,
        "spec.base_model.model_version",
    ),
    "an unknown dataset": refusal(
        train(dataset_version="datasets/nope/versions/1"), NotFound, "'datasets/nope/versions/1'"
    ),
    "the latest version of a dataset without one": refusal(
        train(dataset_version="datasets/files/versions/latest"), NotFound, "'datasets/files'"
    ),
    "a dataset that climbs": refusal(
        train(dataset_version="datasets/../versions/1"), InvalidField, "spec.dataset_version"
    ),
    "a model that climbs": refusal(train(model="models/../x"), InvalidField, "spec.model"),
    "a batch of too many records": refusal(
        train(batch_size=1 << 30), InvalidField, "spec.batch_size", "65536"
    ),
    "a layer of too many units": refusal(
        train(mlp=training.Mlp(hidden_units=[1 << 30])), InvalidField, "spec.mlp.hidden_units[0]", "65536"
    ),
    "a negative number of epochs": refusal(train(max_epochs=-1), InvalidField, "spec.max_epochs", "0"),
    "a step size of NaN": refusal(
        train(optimizer=training.Optimizer(learning_rate=math.nan)), InvalidField, "optimizer.learning_rate"
    ),
    "more workers than there are": refusal(train(workers=7), InvalidField, "spec.workers", "at most"),
    "an unknown job": refusal(
        training.GetTrainingJobRequest(name="trainingJobs/nope"), NotFound, "'trainingJobs/nope'"
    ),
    "a watch of an unknown job": refusal(
        training.WatchTrainingJobRequest(name="trainingJobs/nope"), NotFound, "'trainingJobs/nope'"
    ),
    "a page token of no list": refusal(
        training.ListTrainingJobsRequest(page_token="AAAA"), InvalidField, "page_token", PAGE_RULE
    ),
}

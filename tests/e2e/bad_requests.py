"""Requests that must be refused by services in which `test_bad_input` has put a few things, and what the
caller must be told of each."""

import json
import math
from typing import Any, TypeAlias

from google.protobuf.message import Message

from inference import grpc_service_pb2 as inference
from lepton.agent.v1 import agent_pb2 as agent
from lepton.compression.v1 import compression_pb2 as compression
from lepton.dataset.v1 import dataset_pb2 as dataset
from lepton.endpoint.v1 import endpoint_pb2 as endpoint
from lepton.model.v1 import model_pb2 as model
from lepton.training.v1 import training_pb2 as training
from lepton_common.errors import (
    AlreadyExists,
    EtagMismatch,
    InUse,
    InvalidField,
    InvalidModel,
    LeptonError,
    NotFound,
    TensorMismatch,
    TooLarge,
    Unimplemented,
    UnsafeModel,
    WrongState,
)

Refusals: TypeAlias = dict[str, tuple[Message, type[LeptonError], tuple[str, ...]]]
"""By what is wrong: the request, the error, and what it must say, in its text or of a field."""

SHA = "0" * 64
ID_RULE = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
PAGE_RULE = "must come from the last response"


def column(name: str, **facts: Any) -> dataset.Column:
    return dataset.Column(name=name, **facts)


def create_dataset(dataset_id: str, *columns: dataset.Column, label: str = "label") -> Message:
    schema = dataset.Schema(columns=columns, label=label) if columns else None
    return dataset.CreateDatasetRequest(dataset_id=dataset_id, dataset=dataset.Dataset(schema=schema))


def create_upload(parent: str, **facts: Any) -> Message:
    upload = {"filename": "a.csv", "size_bytes": 9, "sha256": SHA} | facts
    return dataset.CreateUploadRequest(parent=parent, upload=dataset.Upload(**upload))


def create_version(*uploads: str, **spec: Any) -> Message:
    sources = [dataset.Source(upload=upload) for upload in uploads]
    version = dataset.DatasetVersion(spec=dataset.DatasetVersionSpec(sources=sources, **spec))
    return dataset.CreateDatasetVersionRequest(parent="datasets/flowers", dataset_version=version)


DATASETS: Refusals = {
    "an unknown dataset": (
        dataset.GetDatasetRequest(name="datasets/nope"), NotFound, ("'datasets/nope'",)
    ),
    "a name that climbs": (
        dataset.GetDatasetRequest(name="datasets/../etc/passwd"), InvalidField, ("name", "^datasets/[a-z0-9-]+$")
    ),
    "an id that climbs": (create_dataset("../etc"), InvalidField, ("dataset_id", ID_RULE)),
    "an id of 64 letters": (create_dataset("a" * 64), InvalidField, ("dataset_id", ID_RULE)),
    "an id that is taken": (create_dataset("flowers"), AlreadyExists, ("'datasets/flowers'",)),
    "two columns of one name": (
        create_dataset("twins", column("x"), column("x"), column("label")), InvalidField, ("'x'",)
    ),
    "a label that is no column": (
        create_dataset("blind", column("x"), label="kind"), InvalidField, ("'kind'",)
    ),
    "a transform that does not fit": (
        create_dataset("odd", column("x", type=dataset.COLUMN_TYPE_IMAGE, transform=dataset.TRANSFORM_ONE_HOT),
                       column("label")),
        InvalidField, ("x", "one_hot"),
    ),
    "a bound that is NaN": (
        create_dataset("nan", column("x", type=dataset.COLUMN_TYPE_NUMBER, minimum=math.nan), column("label")),
        InvalidField, ("minimum", "finite"),
    ),
    "bounds without a value between them": (
        create_dataset("none", column("x", type=dataset.COLUMN_TYPE_NUMBER, minimum=2, maximum=1), column("label")),
        InvalidField, ("x", "minimum"),
    ),
    "a shape of more elements than memory": (
        create_dataset("vast", column("x", type=dataset.COLUMN_TYPE_TENSOR, shape=[1 << 20] * 8), column("label")),
        TooLarge, ("x",),
    ),
    "an upload to an unknown dataset": (create_upload("datasets/nope"), NotFound, ("'datasets/nope'",)),
    "a file name that climbs": (
        create_upload("datasets/flowers", filename="../../etc/passwd"), InvalidField, ("upload.filename",)
    ),
    "an empty file": (create_upload("datasets/flowers", size_bytes=0), InvalidField, ("upload.size_bytes", "0")),
    "a file of a negative length": (
        create_upload("datasets/flowers", size_bytes=-1), InvalidField, ("upload.size_bytes", "0")
    ),
    "a file of 2 TB": (
        create_upload("datasets/flowers", size_bytes=2 << 40), InvalidField, ("upload.size_bytes", "1099511627776")
    ),
    "a checksum that is none": (
        create_upload("datasets/flowers", sha256="abc"), InvalidField, ("upload.sha256", "^[0-9a-f]{64}$")
    ),
    "a version of nothing": (create_version(), InvalidField, ("spec.sources", "1")),
    "a version of an unknown upload": (
        create_version("datasets/flowers/uploads/99"), NotFound, ("'datasets/flowers/uploads/99'",)
    ),
    "a version of an unfinished upload": (
        create_version("datasets/flowers/uploads/2"), WrongState, ("'datasets/flowers/uploads/2'", "0 of 9 bytes")
    ),
    "a version of another dataset's upload": (
        create_version("datasets/pictures/uploads/1"), InvalidField, ("sources[0].upload", "'datasets/flowers'")
    ),
    "a version of a path": (
        create_version("/etc/passwd"), InvalidField, ("sources[0].upload", "'datasets/flowers'")
    ),
    "splits that leave nothing for training": (
        create_version("datasets/flowers/uploads/1",
                       fractions=dataset.SplitFractions(validation=0.5, test=0.5)),
        InvalidField, ("spec.fractions", "below 1"),
    ),
    "a split of NaN": (
        create_version("datasets/flowers/uploads/1", fractions=dataset.SplitFractions(test=math.nan)),
        InvalidField, ("spec.fractions.test",),
    ),
    "an unknown version": (
        dataset.GetDatasetVersionRequest(name="datasets/flowers/versions/99"), NotFound,
        ("'datasets/flowers/versions/99'",),
    ),
    "an etag of yesterday": (
        dataset.DeleteDatasetRequest(name="datasets/flowers", etag="old"), EtagMismatch,
        ("'datasets/flowers'", "read it again"),
    ),
    "a watch of nothing": (
        dataset.WatchDatasetVersionRequest(name="datasets/flowers/versions/99"), NotFound,
        ("'datasets/flowers/versions/99'",),
    ),
}


def keras(*layers: dict[str, Any], **facts: Any) -> training.KerasConfig:
    """A model of these layers behind an input of three numbers."""
    first = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 3]}}
    config = {"name": "net", "layers": [first, *layers]}
    document = {"module": "keras", "class_name": "Sequential", "config": config} | facts
    return training.KerasConfig(json=json.dumps(document))


def layer(class_name: str, *, module: str = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": class_name, "config": config}


def train(**spec: Any) -> Message:
    facts = {"dataset_version": "datasets/flowers/versions/1", "model": "models/net"} | spec
    if not spec.keys() & {"cnn", "keras_config"}:
        facts["mlp"] = training.Mlp()
    return training.CreateTrainingJobRequest(
        training_job_id="bad", training_job=training.TrainingJob(spec=training.TrainingSpec(**facts))
    )


TRAINING: Refusals = {
    "a Lambda layer": (
        train(keras_config=keras(layer("Lambda", name="evil", function="os.system"))),
        UnsafeModel, ("'evil'", "Lambda", "Keras's own parts that hold no code"),
    ),
    "a Lambda inside of a model inside of a model": (
        train(keras_config=keras(json.loads(keras(layer("Lambda", name="deep")).json))),
        UnsafeModel, ("'deep'", "Lambda"),
    ),
    "a layer from another module": (
        train(keras_config=keras(layer("Popen", module="subprocess", args="id"))), UnsafeModel, ("subprocess.Popen",)
    ),
    "a layer that reads a file": (
        train(keras_config=keras(layer("TFSMLayer", filepath="/etc"))), UnsafeModel, ("keras.layers.TFSMLayer",)
    ),
    "a Keras config that is not JSON": (
        train(keras_config=training.KerasConfig(json="{'a': 1")), InvalidModel, ("not JSON",)
    ),
    "a Keras config that is no model": (
        train(keras_config=training.KerasConfig(json="[1]")), InvalidModel, ("to_json",)
    ),
    "a Keras config nested without end": (
        train(keras_config=training.KerasConfig(json="[" * 100_000)), TooLarge, ("deeper than 64",)
    ),
    "a Keras config of 2 MB": (
        train(keras_config=training.KerasConfig(json=" " * (2 << 20))), InvalidField, ("json", "1048576")
    ),
    "no architecture": (
        training.CreateTrainingJobRequest(
            training_job_id="bad",
            training_job=training.TrainingJob(
                spec=training.TrainingSpec(dataset_version="datasets/flowers/versions/1", model="models/net")
            ),
        ),
        InvalidField, ("training_job.spec.architecture", "required"),
    ),
    "a convolution over a table": (
        train(cnn=training.Cnn()), InvalidField, ("spec.cnn", "'length' (number)", "train an mlp")
    ),
    "an unknown dataset": (
        train(dataset_version="datasets/nope/versions/1"), NotFound, ("'datasets/nope/versions/1'",)
    ),
    "the latest version of a dataset without one": (
        train(dataset_version="datasets/files/versions/latest"), NotFound, ("'datasets/files'",)
    ),
    "a dataset that climbs": (
        train(dataset_version="datasets/../versions/1"), InvalidField, ("spec.dataset_version",)
    ),
    "a model that climbs": (train(model="models/../x"), InvalidField, ("spec.model",)),
    "a batch of too many records": (
        train(batch_size=1 << 30), InvalidField, ("spec.batch_size", "65536")
    ),
    "a layer of too many units": (
        train(mlp=training.Mlp(hidden_units=[1 << 30])), InvalidField, ("spec.mlp.hidden_units[0]", "65536")
    ),
    "a negative number of epochs": (train(max_epochs=-1), InvalidField, ("spec.max_epochs", "0")),
    "a step size of NaN": (
        train(optimizer=training.Optimizer(learning_rate=math.nan)), InvalidField, ("optimizer.learning_rate",)
    ),
    "more workers than there are": (train(workers=7), InvalidField, ("spec.workers", "at most")),
    "an unknown job": (
        training.GetTrainingJobRequest(name="trainingJobs/nope"), NotFound, ("'trainingJobs/nope'",)
    ),
    "a watch of an unknown job": (
        training.WatchTrainingJobRequest(name="trainingJobs/nope"), NotFound, ("'trainingJobs/nope'",)
    ),
}


def compress(version: str = "models/net/versions/1", **spec: Any) -> Message:
    return compression.CreateCompressionJobRequest(
        compression_job_id="bad",
        compression_job=compression.CompressionJob(
            spec=compression.CompressionSpec(model_version=version, **spec)
        ),
    )


COMPRESSION: Refusals = {
    "an unknown model": (compress("models/nope/versions/1"), NotFound, ("'models/nope/versions/1'",)),
    "the latest version of an unknown model": (compress("models/nope/versions/latest"), NotFound, ("'models/nope'",)),
    "a model that is compressed already": (
        compress("models/double/versions/1"), WrongState, ("models/double/versions/1", "KERAS")
    ),
    "a model of unknown data": (compress(), WrongState, ("models/net/versions/1", "dataset version")),
    "a drop of more than everything": (compress(max_accuracy_drop=2), InvalidField, ("spec.max_accuracy_drop", "1")),
    "a drop of NaN": (compress(max_accuracy_drop=math.nan), InvalidField, ("spec.max_accuracy_drop",)),
    "a precision that is none": (compress(precisions=[77]), InvalidField, ("spec.precisions[0]",)),
    "a precision that is left open": (compress(precisions=[0]), InvalidField, ("FP32, FP16 or INT8",)),
    "an unknown job": (
        compression.GetCompressionJobRequest(name="compressionJobs/nope"), NotFound, ("'compressionJobs/nope'",)
    ),
}


def register(*paths: str, **facts: Any) -> Message:
    files = [model.ArtifactFile(path=path, sha256=SHA, size_bytes=1, key="models/blobs/x") for path in paths]
    version = {"format": model.MODEL_FORMAT_ONNX, "files": files} | facts
    return model.CreateModelVersionRequest(parent="models/bad", model_version=model.ModelVersion(**version))


def serve(targets: dict[str, int], endpoint_id: str = "bad") -> Message:
    named = [endpoint.TrafficTarget(model_version=name, weight=weight) for name, weight in targets.items()]
    return endpoint.CreateEndpointRequest(endpoint_id=endpoint_id, endpoint=endpoint.Endpoint(targets=named))


DOUBLE = "models/double/versions/1"

REGISTRY: Refusals = {
    "an unknown model": (model.GetModelRequest(name="models/nope"), NotFound, ("'models/nope'",)),
    "an unknown version": (
        model.GetLineageRequest(name="models/double/versions/99"), NotFound, ("'models/double/versions/99'",)
    ),
    "no files": (register(), InvalidField, ("model_version.files", "1")),
    "a file that climbs": (register("../model.onnx"), InvalidField, ("files[0].path",)),
    "a file of an absolute path": (register("/etc/passwd"), InvalidField, ("files[0].path",)),
    "a key that climbs": (
        register(files=[model.ArtifactFile(path="model.onnx", sha256=SHA, key="../../etc/passwd")]),
        InvalidField, ("model_version.files[0].key", "object key"),
    ),
    "no model among the files": (register("readme.txt"), InvalidField, ("'model.onnx'",)),
    "one file twice": (register("model.onnx", "model.onnx"), InvalidField, ("files[1].path", "there twice")),
    "no format": (register("model.onnx", format=0), InvalidField, ("KERAS or ONNX",)),
    "a format that is none": (register("model.onnx", format=9), InvalidField, ("model_version.format",)),
    "a metric that is NaN": (
        register("model.onnx", metrics={"accuracy": math.nan}), InvalidField, ("accuracy", "finite")
    ),
    "a model that is served": (
        model.DeleteModelRequest(name="models/double"), InUse, ("'endpoints/double'", "'models/double/versions/1'")
    ),
    "an endpoint to a Keras model": (serve({"models/net/versions/1": 1}), InvalidField, ("models/net/versions/1", "only ONNX is served")),
    "an endpoint to an unknown version": (serve({"models/double/versions/99": 1}), NotFound, ("'models/double/versions/99'",)),
    "an endpoint to nothing": (serve({}), InvalidField, ("endpoint.targets", "1")),
    "an endpoint without traffic": (serve({DOUBLE: 0}), InvalidField, ("a weight above 0",)),
    "an endpoint with a negative weight": (serve({DOUBLE: -1}), InvalidField, ("targets[0].weight", "0")),
    "an endpoint to two models": (
        serve({DOUBLE: 1, "models/no-bytes/versions/1": 1}), InvalidField, ("another model than models/double",)
    ),
    "an endpoint whose id climbs": (serve({DOUBLE: 1}, "../x"), InvalidField, ("endpoint_id", ID_RULE)),
    "an unknown endpoint": (endpoint.GetEndpointRequest(name="endpoints/nope"), NotFound, ("'endpoints/nope'",)),
}


def infer(**facts: Any) -> Message:
    """A good request of the model `double`, which takes FP32 `x` [-1, 2], less what is given."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2]} | facts.pop("x", {})
    fields: dict[str, Any] = {"model_name": "double", "raw_input_contents": [bytes(8)]} | facts
    fields.setdefault("inputs", [inference.ModelInferRequest.InferInputTensor(**tensor)])
    return inference.ModelInferRequest(**fields)


def tensors(*names: str) -> list[inference.ModelInferRequest.InferInputTensor]:
    return [
        inference.ModelInferRequest.InferInputTensor(name=name, datatype="FP32", shape=[1, 2]) for name in names
    ]


INFERENCE: Refusals = {
    "an unknown model": (infer(model_name="nope"), NotFound, ("'nope'",)),
    "a model that climbs": (infer(model_name="../x"), InvalidField, ("model_name", "must match")),
    "an unknown version": (infer(model_version="9"), NotFound, ("version 9 of 'double'", "served are 1")),
    "a version that is no number": (infer(model_version="../1"), InvalidField, ("model_version", "must be empty")),
    "a model that could not be loaded": (infer(model_name="bytes-that-are-no-model"), InvalidModel, ("model.onnx",)),
    "no input": (infer(inputs=[], raw_input_contents=[]), TensorMismatch, ("inputs must be 'x'", "got none")),
    "an input of another name": (infer(x={"name": "z"}), TensorMismatch, ("inputs must be 'x'", "got 'z'")),
    "an input too many": (
        infer(inputs=tensors("x", "z"), raw_input_contents=[bytes(8)] * 2), TensorMismatch,
        ("inputs must be 'x'", "'z'"),
    ),
    "an input twice": (
        infer(inputs=tensors("x", "x"), raw_input_contents=[bytes(8)] * 2), TensorMismatch, ("twice",)
    ),
    "the wrong dtype": (
        infer(x={"datatype": "INT32"}), TensorMismatch, ("must be FP32 of shape [-1, 2], got INT32 of shape [1, 2]",)
    ),
    "a dtype that is none": (infer(x={"datatype": "float32"}), TensorMismatch, ("'float32'", "known are", "FP32")),
    "the wrong shape": (
        infer(x={"shape": [2, 1]}), TensorMismatch, ("must be FP32 of shape [-1, 2], got FP32 of shape [2, 1]",)
    ),
    "a shape of another rank": (infer(x={"shape": [2]}), TensorMismatch, ("[-1, 2]", "got FP32 of shape [2]")),
    "a negative shape": (infer(x={"shape": [-1, -2]}), TensorMismatch, ("[-1, -2]", "must be positive")),
    "no records": (infer(x={"shape": [0, 2]}, raw_input_contents=[b""]), TensorMismatch, ("must be positive",)),
    "a shape of 10 GB": (
        infer(x={"shape": [1_250_000_000, 2]}), TensorMismatch, ("'x' has 8 bytes", "10000000000")
    ),
    "a shape beyond 64 bits": (
        infer(x={"shape": [2**62, 2**62, 2**62]}), TensorMismatch, ("'x' has 8 bytes",)
    ),
    "bytes that fill no element": (infer(raw_input_contents=[bytes(7)]), TensorMismatch, ("7 bytes", "has 8")),
    "raw bytes for some inputs": (
        infer(inputs=tensors("x", "z")), TensorMismatch, ("either every input is sent raw or none is",)
    ),
    "raw and typed elements": (
        infer(x={"contents": inference.InferTensorContents(fp32_contents=[1, 2])}), TensorMismatch,
        ("both raw and typed",),
    ),
    "typed elements of another type": (
        infer(x={"contents": inference.InferTensorContents(fp64_contents=[1, 2])}, raw_input_contents=[]),
        TensorMismatch, ("go into fp32_contents",),
    ),
    "text with a length of 4 GB": (
        infer(x={"datatype": "BYTES", "shape": [1]}, raw_input_contents=[b"\xff\xff\xff\xff"]), TensorMismatch,
        ("claims 4294967295 bytes",),
    ),
    "text that is not UTF-8": (
        infer(x={"datatype": "BYTES", "shape": [1]}, raw_input_contents=[b"\x01\0\0\0\xff"]), TensorMismatch,
        ("not UTF-8",),
    ),
    "an unknown output": (
        infer(outputs=[inference.ModelInferRequest.InferRequestedOutputTensor(name="z")]), TensorMismatch,
        ("outputs are 'y'", "'z'"),
    ),
    "shared memory": (
        infer(x={"parameters": {"shared_memory_region": inference.InferParameter(string_param="/dev/mem")}}),
        Unimplemented, ("send tensors in the request",),
    ),
    "a timeout that is text": (
        infer(parameters={"timeout": inference.InferParameter(string_param="soon")}), InvalidField,
        ("'timeout'", "microseconds"),
    ),
    "files from the caller": (
        inference.RepositoryModelLoadRequest(
            model_name="double",
            parameters={"file:1/model.onnx": inference.ModelRepositoryParameter(bytes_param=b"x")},
        ),
        InvalidField, ("parameters", "must be empty"),
    ),
    "metadata of an unknown model": (inference.ModelMetadataRequest(name="nope"), NotFound, ("'nope'",)),
}


def create_agent(**facts: Any) -> Message:
    fields = {"q_learning": agent.QLearning()} | facts
    if "dqn" in facts:
        del fields["q_learning"]
    return agent.CreateAgentRequest(agent_id="bad", agent=agent.Agent(**fields))


def act(name: str = "agents/pole", **observation: Any) -> Message:
    return agent.ActRequest(agent=name, observation=agent.Observation(**observation))


def box(*values: float) -> agent.Vector:
    return agent.Vector(values=values)


def learn(name: str, **spec: Any) -> Message:
    run = agent.LearningRun(spec=agent.LearningSpec(**spec))
    return agent.CreateLearningRunRequest(parent=name, learning_run_id="bad", learning_run=run)


AGENTS: Refusals = {
    "an unknown agent": (act("agents/nope", discrete=0), NotFound, ("'agents/nope'",)),
    "an unknown environment": (
        create_agent(environment="Nope-v0"), InvalidField, ("'Nope-v0'", "agent.environment", "CartPole-v1")
    ),
    "an environment from a module": (
        create_agent(environment="os:Env-v0"), InvalidField, ("agent.environment", "^[A-Za-z0-9_-]*$")
    ),
    "nothing to live in": (create_agent(), InvalidField, ("agent.spaces", "no environment")),
    "no algorithm": (
        agent.CreateAgentRequest(agent_id="bad", agent=agent.Agent(environment="CartPole-v1")),
        InvalidField, ("agent.algorithm", "required"),
    ),
    "a table for real numbers": (create_agent(environment="CartPole-v1"), InvalidField, ("q_learning", "use `dqn`")),
    "a table larger than memory": (
        create_agent(spaces=agent.Spaces(discrete=agent.DiscreteSpace(size=10**8), actions=10**5)),
        InvalidField, ("agent.spaces", "at most 20000000"),
    ),
    "a network larger than memory": (
        create_agent(environment="CartPole-v1", dqn=agent.Dqn(hidden_units=[65536, 65536])),
        InvalidField, ("agent.dqn.hidden_units", "at most 16000000"),
    ),
    "a discount of NaN": (
        create_agent(environment="CliffWalking-v1", discount=math.nan), InvalidField, ("agent.discount",)
    ),
    "an observation that is too short": (act(box=box(1, 2, 3)), InvalidField, ("observation", "must have 4 values")),
    "an observation that is too long": (act(box=box(*range(5))), InvalidField, ("observation", "must have 4 values")),
    "an observation of another kind": (act(discrete=1), InvalidField, ("observation", "must have 4 values")),
    "an observation of NaN": (act(box=box(1, 2, math.nan, 4)), InvalidField, ("observation", "must be finite")),
    "no observation": (act(), InvalidField, ("observation.value", "required")),
    "a state that does not exist": (
        act("agents/walker", discrete=48), InvalidField, ("observation", "from 0 to 47")
    ),
    "a negative state": (act("agents/walker", discrete=-1), InvalidField, ("observation", "from 0 to 47")),
    "feedback on an unknown decision": (
        agent.RecordFeedbackRequest(agent="agents/pole", decision_id="nope", feedback=agent.Feedback(reward=1)),
        NotFound, ("'nope'",),
    ),
    "a reward of NaN": (
        agent.RecordFeedbackRequest(agent="agents/pole", decision_id="nope", feedback=agent.Feedback(reward=math.nan)),
        InvalidField, ("feedback.reward", "finite"),
    ),
    "learning of an unknown agent": (
        learn("agents/nope", simulation=agent.Simulation(steps=1)), NotFound, ("'agents/nope'",)
    ),
    "simulation without an environment": (
        learn("agents/bandit", simulation=agent.Simulation(steps=1)), InvalidField, ("spec.simulation", "`logged_feedback`")
    ),
    "no steps": (
        learn("agents/pole", simulation=agent.Simulation()), InvalidField, ("simulation.steps", "1")
    ),
    "nothing to learn from": (learn("agents/pole"), InvalidField, ("spec.source", "required")),
    "a policy that no run has made": (
        agent.UpdateAgentRequest(
            agent=agent.Agent(
                name="agents/walker",
                environment="CliffWalking-v1",
                q_learning=agent.QLearning(),
                policy="models/double/versions/1",
            )
        ),
        InvalidField, ("agent.policy", "a learning run of this agent"),
    ),
    "another environment": (
        agent.UpdateAgentRequest(
            agent=agent.Agent(name="agents/pole", environment="CliffWalking-v1", dqn=agent.Dqn())
        ),
        InvalidField, ("agent.environment", "stays as it was made"),
    ),
}

PAGES: Refusals = {
    "datasets": (dataset.ListDatasetsRequest(page_token="x"), InvalidField, ("page_token", PAGE_RULE)),
    "uploads": (
        dataset.ListUploadsRequest(parent="datasets/flowers", page_token="%"), InvalidField, ("page_token", PAGE_RULE)
    ),
    "dataset versions": (
        dataset.ListDatasetVersionsRequest(parent="datasets/flowers", page_token="ÿ"), InvalidField,
        ("page_token", PAGE_RULE),
    ),
    "training jobs": (training.ListTrainingJobsRequest(page_token="AAAA"), InvalidField, ("page_token", PAGE_RULE)),
    "compression jobs": (
        compression.ListCompressionJobsRequest(page_token="1 OR 1=1"), InvalidField, ("page_token", PAGE_RULE)
    ),
    "models": (model.ListModelsRequest(page_token="'; --"), InvalidField, ("page_token", PAGE_RULE)),
    "endpoints": (endpoint.ListEndpointsRequest(page_token="\0"), InvalidField, ("page_token", PAGE_RULE)),
    "agents": (agent.ListAgentsRequest(page_token="a" * 9999), InvalidField, ("page_token", PAGE_RULE)),
    "decisions": (
        agent.ListDecisionsRequest(parent="agents/pole", page_token="-1"), InvalidField, ("page_token", PAGE_RULE)
    ),
    "a negative page": (dataset.ListDatasetsRequest(page_size=-1), InvalidField, ("page_size", "0")),
    "a page of millions": (model.ListModelsRequest(page_size=10**6), InvalidField, ("page_size", "1000")),
}

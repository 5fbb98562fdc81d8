"""Every method of the Open Inference Protocol, over a port, against a server process."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference import grpc_service_pb2 as pb
from inference import model_config_pb2 as config_pb
from lepton.endpoint.v1 import endpoint_pb2
from lepton.model.v1 import model_pb2
from lepton_common.errors import (
    InvalidField,
    Unimplemented,
    WrongState,
)
from lepton_common.status import named_errors

if TYPE_CHECKING:
    from inference.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub as Stub

    from .conftest import InferenceServer, Registry

Models = dict[str, Callable[..., bytes]]
Ask = Callable[..., pb.ModelInferRequest]


@pytest.fixture(scope="module", autouse=True)
def endpoints(registry: Registry, server: InferenceServer, models: Models) -> None:
    """`scaler` with versions 1 (all traffic, doubles) and 2 (none, triples); `records` and `classes`."""
    double = registry.publish("scaler", models["scaler"](2))
    triple = registry.publish("scaler", models["scaler"](3))
    registry.serve_and_wait("scaler", {double: 1, triple: 0}, max_batch_size=8)
    registry.serve_and_wait("records", {registry.publish("records", models["records"]()): 1})
    labelled = model_pb2.Signature(classes=["zero", "one"])
    classes = registry.publish("classes", models["mlp"](2, 4, 3), signature=labelled)
    registry.serve_and_wait("classes", {classes: 1})


def output(response: pb.ModelInferResponse, index: int = 0) -> list[float]:
    values: list[float] = np.frombuffer(response.raw_output_contents[index], np.float32).tolist()
    return values


async def test_the_server_lives_and_is_ready(stub: Stub, server: InferenceServer) -> None:
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    async with grpc.aio.insecure_channel(server.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_server_says_what_it_is(stub: Stub) -> None:
    metadata = await stub.ServerMetadata(pb.ServerMetadataRequest())
    assert metadata.name == "lepton-inference"
    assert metadata.version
    assert {"model_repository", "model_configuration", "statistics"} <= {*metadata.extensions}
    assert "system_shared_memory" not in metadata.extensions


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("scaler", "", True),
        ("scaler", "1", True),
        ("scaler", "2", True),
        ("scaler", "5", False),
        ("nothing", "", False),
        ("../etc/passwd", "", False),
    ],
)
async def test_models_are_ready_or_not(stub: Stub, name: str, version: str, ready: bool) -> None:
    assert (await stub.ModelReady(pb.ModelReadyRequest(name=name, version=version))).ready is ready


async def test_a_model_says_what_it_takes_and_gives(stub: Stub) -> None:
    metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="records"))
    tensors = {(t.name, t.datatype, *t.shape) for t in (*metadata.inputs, *metadata.outputs)}
    assert tensors == {
        ("image", "UINT8", -1, 2, 2),
        ("age", "FP32", -1, 1),
        ("count", "INT64", -1, 1),
        ("colour", "BYTES", -1, 1),
        ("score", "FP32", -1, 1),
        ("echo", "BYTES", -1, 1),
    }
    assert (metadata.name, metadata.platform, [*metadata.versions]) == ("records", "onnxruntime_onnx", ["1"])
    assert metadata.parameters["provider"].string_param == "CPUExecutionProvider"
    assert metadata.parameters["provider_share"].double_param == 1
    assert metadata.parameters["memory_bytes"].int64_param > 0


async def test_a_model_says_how_it_is_served(stub: Stub) -> None:
    config = (await stub.ModelConfig(pb.ModelConfigRequest(name="scaler"))).config
    assert (config.name, config.backend, config.max_batch_size) == ("scaler", "onnxruntime", 8)
    assert [*config.version_policy.specific.versions] == [1, 2]
    assert config.input[0] == config_pb.ModelInput(name="x", data_type=config_pb.TYPE_FP32, dims=[2])
    assert config.output[0] == config_pb.ModelOutput(name="y", data_type=config_pb.TYPE_FP32, dims=[2])
    assert config.instance_group[0].kind == config_pb.ModelInstanceGroup.KIND_CPU
    assert config.instance_group[0].count == 1
    assert {name: parameter.string_value for name, parameter in config.parameters.items()} == {
        "provider": "CPUExecutionProvider",
        "provider_share": "1.0",
        "threads": "1",
    }
    batching = config.dynamic_batching
    assert (batching.priority_levels, batching.default_priority_level) == (5, 3)


async def test_raw_tensors_are_answered_raw(stub: Stub, ask: Ask) -> None:
    response = await stub.ModelInfer(ask("scaler", 1, 5, id="mine"))
    assert (response.model_name, response.model_version, response.id) == ("scaler", "1", "mine")
    assert [(o.name, o.datatype, [*o.shape]) for o in response.outputs] == [("y", "FP32", [2, 2])]
    assert output(response) == [2, 2, 10, 10]


async def test_typed_tensors_are_answered_typed(stub: Stub) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="x",
        datatype="FP32",
        shape=[1, 2],
        contents=pb.InferTensorContents(fp32_contents=[1, 2]),
    )
    response = await stub.ModelInfer(pb.ModelInferRequest(model_name="scaler", inputs=[tensor]))
    assert [*response.outputs[0].contents.fp32_contents] == [2, 4]
    assert not response.raw_output_contents


async def test_raw_records_of_every_kind_are_taken(stub: Stub) -> None:
    def tensor(name: str, datatype: str, *shape: int) -> pb.ModelInferRequest.InferInputTensor:
        return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)

    response = await stub.ModelInfer(
        pb.ModelInferRequest(
            model_name="records",
            inputs=[
                tensor("colour", "BYTES", 1, 1),
                tensor("image", "UINT8", 1, 2, 2),
                tensor("age", "FP32", 1, 1),
                tensor("count", "INT64", 1, 1),
            ],
            raw_input_contents=[
                b"\x05\0\0\0gr\xc3\xbcn",
                bytes([1, 2, 3, 4]),
                struct.pack("<f", 0.5),
                struct.pack("<q", 100),
            ],
        )
    )
    assert {o.name: raw for o, raw in zip(response.outputs, response.raw_output_contents, strict=True)} == {
        "score": struct.pack("<f", 110.5),
        "echo": b"\x05\0\0\0gr\xc3\xbcn",
    }


async def test_the_answer_names_the_version_and_its_digest(stub: Stub, ask: Ask, registry: Registry) -> None:
    parameters = (await stub.ModelInfer(ask("scaler", 1))).parameters
    assert parameters["lepton_model_version"].string_param == "models/scaler/versions/1"
    digest = registry.versions["models/scaler/versions/1"].digest
    assert parameters["lepton_model_digest"].string_param == digest


async def test_a_version_can_be_named(stub: Stub, ask: Ask) -> None:
    response = await stub.ModelInfer(ask("scaler", 1, version="2"))
    assert (response.model_version, output(response)) == ("2", [3, 3])


async def test_only_the_outputs_asked_for_are_sent(stub: Stub) -> None:
    request = pb.ModelInferRequest(model_name="records")
    for name, datatype, shape, raw in (
        ("image", "UINT8", [1, 2, 2], bytes(4)),
        ("age", "FP32", [1, 1], bytes(4)),
        ("count", "INT64", [1, 1], bytes(8)),
        ("colour", "BYTES", [1, 1], bytes(4)),
    ):
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    request.outputs.add(name="echo")
    assert [o.name for o in (await stub.ModelInfer(request)).outputs] == ["echo"]


async def test_classes_are_ranked_with_their_labels(stub: Stub, ask: Ask) -> None:
    request = ask("classes", 1)
    request.outputs.add(name="probabilities").parameters["classification"].int64_param = 3
    response = await stub.ModelInfer(request)
    assert (response.outputs[0].datatype, [*response.outputs[0].shape]) == ("BYTES", [1, 3])
    texts = []
    raw = response.raw_output_contents[0]
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        texts.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    scores = [float(text.split(":")[0]) for text in texts]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert {tuple(text.split(":")[1:]) for text in texts} == {("0", "zero"), ("1", "one"), ("2",)}


async def test_requests_together_become_batches(
    stub: Stub, registry: Registry, models: Models, ask: Ask
) -> None:
    # A model this small is done before a slow machine has read the next request, unless it waits for more.
    version = registry.publish("patient", models["scaler"](3))
    registry.serve_and_wait(
        "patient", {version: 1}, max_batch_size=8, max_queue_delay_microseconds=10_000_000
    )

    responses = await asyncio.gather(*(stub.ModelInfer(ask("patient", n)) for n in range(64)))
    assert [output(response)[0] for response in responses] == [3 * n for n in range(64)]
    (after,) = (await stub.ModelStatistics(pb.ModelStatisticsRequest(name="patient"))).model_stats
    assert (after.inference_count, after.execution_count) == (64, 8)
    assert {batch.batch_size: batch.compute_infer.count for batch in after.batch_stats} == {8: 8}
    assert after.inference_stats.success.count == 64
    assert after.inference_stats.compute_infer.ns > 0


async def test_statistics_are_kept_of_everything(stub: Stub) -> None:
    everything = (await stub.ModelStatistics(pb.ModelStatisticsRequest())).model_stats
    assert {(s.name, s.version) for s in everything} >= {("scaler", "1"), ("scaler", "2"), ("records", "1")}
    of_one = (await stub.ModelStatistics(pb.ModelStatisticsRequest(name="scaler"))).model_stats
    assert {(s.name, s.version) for s in of_one} == {("scaler", "1"), ("scaler", "2")}


async def test_a_stream_is_answered_in_order_and_survives_bad_requests(stub: Stub, ask: Ask) -> None:
    requests = [ask("scaler" if n % 7 else "nothing", n, id=str(n)) for n in range(200)]
    answers = [answer async for answer in stub.ModelStreamInfer(iter(requests))]
    assert [answer.infer_response.id for answer in answers] == [str(n) for n in range(200)]
    for n, answer in enumerate(answers):
        if n % 7:
            assert output(answer.infer_response) == [2 * n, 2 * n]
            assert answer.infer_response.parameters["triton_final_response"].bool_param
        else:
            assert "no endpoint is named 'nothing'" in answer.error_message


async def test_a_stream_answers_before_it_ends(stub: Stub, ask: Ask) -> None:
    stream = stub.ModelStreamInfer()
    await stream.write(ask("scaler", 1))
    answer = await stream.read()
    assert isinstance(answer, pb.ModelStreamInferResponse)
    assert output(answer.infer_response) == [2, 2]
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF


async def test_the_index_lists_every_version(stub: Stub, registry: Registry) -> None:
    broken = registry.publish("broken", b"no model")
    registry.serve("broken", {broken: 1})
    status = registry.wait_for("broken", broken, endpoint_pb2.SERVING_STATE_FAILED)
    assert "cannot load model.onnx" in status.reason
    index = {
        (m.name, m.version): (m.state, m.reason)
        for m in (await stub.RepositoryIndex(pb.RepositoryIndexRequest())).models
    }
    assert index["scaler", "1"] == ("READY", "CPUExecutionProvider runs 100% of it")
    assert index["broken", "1"] == ("UNAVAILABLE", status.reason)
    ready = (await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))).models
    assert "broken" not in {m.name for m in ready}
    registry.remove("broken")


async def test_a_model_is_unloaded_and_loaded(
    stub: Stub, ask: Ask, registry: Registry, models: Models
) -> None:
    version = registry.publish("there", models["scaler"](2))
    registry.serve_and_wait("there", {version: 1})
    await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="there"))
    assert not (await stub.ModelReady(pb.ModelReadyRequest(name="there"))).ready
    with pytest.raises(WrongState, match="unloaded on this server by request"), named_errors():
        await stub.ModelInfer(ask("there", 1))
    registry.wait_for("there", version, endpoint_pb2.SERVING_STATE_FAILED)
    await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="there"))
    assert (await stub.ModelReady(pb.ModelReadyRequest(name="there"))).ready
    assert output(await stub.ModelInfer(ask("there", 1))) == [2, 2]
    registry.remove("there")


async def test_what_is_loaded_is_not_for_callers_to_say(stub: Stub) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="scaler")
    request.parameters["config"].string_param = "{}"
    with pytest.raises(InvalidField, match="come from endpoints"), named_errors():
        await stub.RepositoryModelLoad(request)


@pytest.mark.parametrize(
    ("method", "request_message", "says"),
    [
        (
            "SystemSharedMemoryStatus",
            pb.SystemSharedMemoryStatusRequest(),
            "shared memory is off",
        ),
        (
            "SystemSharedMemoryRegister",
            pb.SystemSharedMemoryRegisterRequest(name="r", key="/k", byte_size=1),
            "shared memory is off",
        ),
        (
            "SystemSharedMemoryUnregister",
            pb.SystemSharedMemoryUnregisterRequest(),
            "shared memory is off",
        ),
        ("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest(), "no handles of CUDA memory"),
        (
            "CudaSharedMemoryRegister",
            pb.CudaSharedMemoryRegisterRequest(name="r", byte_size=1),
            "no handles of CUDA memory",
        ),
        ("CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest(), "no handles of CUDA memory"),
        ("TraceSetting", pb.TraceSettingRequest(), "where the server is started"),
        ("LogSettings", pb.LogSettingsRequest(), "where the server is started"),
    ],
)
async def test_what_is_not_there_is_refused_in_words(
    stub: Stub, method: str, request_message: Any, says: str
) -> None:
    call: Callable[[Any], Awaitable[Any]] = getattr(stub, method)
    with pytest.raises(Unimplemented, match=says), named_errors():
        await call(request_message)

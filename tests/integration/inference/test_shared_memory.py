"""Tensors in shared memory, by Lepton's own stubs and by the published client, where it is on."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inference import grpc_service_pb2 as pb
from lepton_common.errors import (
    AlreadyExists,
    InvalidField,
    LeptonError,
    NotFound,
    TensorMismatch,
    TooLarge,
    WrongState,
)
from lepton_common.status import named_errors

from .conftest import TRANSPORTS, InferenceServer
from .test_interop import PROGRAMS, run

if TYPE_CHECKING:
    from inference.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub as Stub

    from .conftest import Registry

Models = dict[str, Callable[..., bytes]]
Ask = Callable[..., pb.ModelInferRequest]
SIZE = 1024


@pytest.fixture(scope="module")
def server(
    registry: Registry, transport: str, tmp_path_factory: pytest.TempPathFactory, models: Models
) -> Iterator[InferenceServer]:
    """A server with shared memory on, and the endpoints `scaler`, which doubles, and `records`."""
    server = InferenceServer(
        tmp_path_factory.mktemp("inference"),
        registry,
        replica="first",
        **TRANSPORTS[transport],
        SHARED_MEMORY="true",
        MAX_MESSAGE_BYTES="100000",
    )
    server.start()
    for name, content in (("scaler", models["scaler"](2)), ("records", models["records"]())):
        registry.serve_and_wait(name, {registry.publish(name, content): 1})
    yield server
    assert server.stop() == 0


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    """A shared memory object of 1024 bytes."""
    made = SharedMemory(create=True, size=SIZE)
    yield made
    made.close()
    made.unlink()


@pytest.fixture
async def region(stub: Stub, memory: SharedMemory) -> str:
    """The object as the only region, from its 24th byte on."""
    await stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())
    await stub.SystemSharedMemoryRegister(
        pb.SystemSharedMemoryRegisterRequest(name="region", key=memory.name, offset=24, byte_size=SIZE - 24)
    )
    return "region"


def octets(memory: SharedMemory) -> memoryview:
    """What is in the object, to be read and written."""
    assert memory.buf is not None
    return memory.buf


def lay(tensor: Any, region: str, *, offset: int | None = None, byte_size: int | None = None) -> None:
    """Says that a tensor is in shared memory."""
    tensor.parameters["shared_memory_region"].string_param = region
    if offset is not None:
        tensor.parameters["shared_memory_offset"].int64_param = offset
    if byte_size is not None:
        tensor.parameters["shared_memory_byte_size"].int64_param = byte_size


def request(region: str, *, offset: int | None = None, byte_size: int | None = 8) -> pb.ModelInferRequest:
    """One record for `scaler`, in shared memory."""
    made = pb.ModelInferRequest(model_name="scaler")
    lay(made.inputs.add(name="x", datatype="FP32", shape=[1, 2]), region, offset=offset, byte_size=byte_size)
    return made


def floats(data: bytes) -> list[float]:
    values: list[float] = np.frombuffer(data, np.float32).tolist()
    return values


async def test_the_server_says_that_it_is_on(stub: Stub) -> None:
    assert "system_shared_memory" in (await stub.ServerMetadata(pb.ServerMetadataRequest())).extensions


async def test_regions_come_and_go(stub: Stub, memory: SharedMemory, region: str) -> None:
    again = pb.SystemSharedMemoryRegisterRequest(name="other", key=memory.name, byte_size=SIZE)
    await stub.SystemSharedMemoryRegister(again)
    with pytest.raises(AlreadyExists), named_errors():
        await stub.SystemSharedMemoryRegister(again)
    found = await stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest())
    assert found.regions.keys() == {"region", "other"}
    assert found.regions["region"] == pb.SystemSharedMemoryStatusResponse.RegionStatus(
        name="region", key=memory.name, offset=24, byte_size=SIZE - 24
    )
    await stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(name="region"))
    one = await stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(name="other"))
    assert one.regions.keys() == {"other"}
    with pytest.raises(NotFound, match="no shared memory region is named 'region'"), named_errors():
        await stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(name="region"))
    await stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())
    assert not (await stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest())).regions


async def test_inputs_and_outputs_are_in_shared_memory(stub: Stub, memory: SharedMemory, region: str) -> None:
    octets(memory)[32:40] = struct.pack("<2f", 3, 4)
    asked = request(region, offset=8)
    lay(asked.outputs.add(name="y"), region, offset=100, byte_size=64)
    response = await stub.ModelInfer(asked)
    assert floats(bytes(octets(memory)[124:132])) == [6, 8]
    assert bytes(octets(memory)[132:]) == bytes(SIZE - 132)
    assert [*response.outputs[0].shape] == [1, 2]
    assert response.outputs[0].parameters["shared_memory_region"].string_param == region
    assert response.outputs[0].parameters["shared_memory_offset"].int64_param == 100
    assert response.outputs[0].parameters["shared_memory_byte_size"].int64_param == 8
    assert [*response.raw_output_contents] == [b""]


async def test_some_tensors_are_in_shared_memory_and_some_in_the_message(
    stub: Stub, memory: SharedMemory, region: str
) -> None:
    asked = pb.ModelInferRequest(model_name="records")
    colour = asked.inputs.add(name="colour", datatype="BYTES", shape=[1, 1])
    asked.inputs.add(name="image", datatype="UINT8", shape=[1, 2, 2])
    age = asked.inputs.add(name="age", datatype="FP32", shape=[1, 1])
    asked.inputs.add(name="count", datatype="INT64", shape=[1, 1])
    lay(colour, region, byte_size=7)
    lay(age, region, offset=40, byte_size=4)
    octets(memory)[24:31] = b"\x03\0\0\0red"
    octets(memory)[64:68] = struct.pack("<f", 0.5)
    asked.raw_input_contents.extend([bytes([1, 2, 3, 4]), struct.pack("<q", 100)])
    lay(asked.outputs.add(name="echo"), region, offset=200, byte_size=7)
    asked.outputs.add(name="score")
    response = await stub.ModelInfer(asked)
    assert [output.name for output in response.outputs] == ["echo", "score"]
    assert [*response.raw_output_contents] == [b"", struct.pack("<f", 110.5)]
    assert bytes(octets(memory)[224:231]) == b"\x03\0\0\0red"


async def test_a_typed_request_may_have_its_outputs_there(
    stub: Stub, memory: SharedMemory, region: str
) -> None:
    asked = pb.ModelInferRequest(model_name="scaler")
    asked.inputs.add(
        name="x", datatype="FP32", shape=[1, 2], contents=pb.InferTensorContents(fp32_contents=[1, 2])
    )
    lay(asked.outputs.add(name="y"), region, byte_size=8)
    response = await stub.ModelInfer(asked)
    assert floats(bytes(octets(memory)[24:32])) == [2, 4]
    assert not response.raw_output_contents
    assert not response.outputs[0].contents.fp32_contents


async def test_a_stream_takes_them_too(stub: Stub, memory: SharedMemory, region: str) -> None:
    requests = []
    for number in range(20):
        octets(memory)[24 + 8 * number : 32 + 8 * number] = struct.pack("<2f", number, number)
        asked = request(region if number != 7 else "nothing", offset=8 * number)
        lay(asked.outputs.add(name="y"), region, offset=400 + 8 * number, byte_size=8)
        requests.append(asked)
    answers = [answer async for answer in stub.ModelStreamInfer(iter(requests))]
    assert [bool(answer.error_message) for answer in answers] == [number == 7 for number in range(20)]
    written = floats(bytes(octets(memory)[424:584]))[::2]
    assert written == [2 * number if number != 7 else 0 for number in range(20)]


BAD_PLACES: dict[str, tuple[dict[str, Any], type[LeptonError], str]] = {
    "an unknown region": ({"region": "nothing"}, NotFound, "no shared memory region is named 'nothing'"),
    "behind the end": ({"offset": SIZE - 24}, InvalidField, "which has 1000"),
    "over the end": ({"offset": SIZE - 25}, InvalidField, "which has 1000"),
    "an offset that is negative": ({"offset": -1}, InvalidField, "which has 1000"),
    "the largest offset": ({"offset": 2**63 - 1}, InvalidField, "which has 1000"),
    "no size": ({"byte_size": None}, InvalidField, "'shared_memory_byte_size' must be a number of bytes"),
    "nothing": ({"byte_size": 0}, InvalidField, "which has 1000"),
    "less than the shape": ({"byte_size": 7}, TensorMismatch, "has 7 bytes"),
    "more than the shape": ({"byte_size": 12}, TensorMismatch, "has 12 bytes"),
}


@pytest.mark.parametrize("case", BAD_PLACES)
async def test_a_place_that_is_none_is_refused_in_words(stub: Stub, region: str, case: str) -> None:
    fields, error, says = BAD_PLACES[case]
    with pytest.raises(error) as caught, named_errors():
        await stub.ModelInfer(request(**{"region": region, **fields}))
    assert says in str(caught.value)


async def test_a_size_without_a_region_is_refused(stub: Stub, ask: Ask) -> None:
    asked = ask("scaler", 1)
    asked.inputs[0].parameters["shared_memory_byte_size"].int64_param = 8
    with pytest.raises(InvalidField, match="must be the name of a region"), named_errors():
        await stub.ModelInfer(asked)


async def test_an_output_needs_room(stub: Stub, ask: Ask, memory: SharedMemory, region: str) -> None:
    asked = ask("scaler", 1)
    lay(asked.outputs.add(name="y"), region, byte_size=7)
    with pytest.raises(InvalidField, match="do not hold an output of 8"), named_errors():
        await stub.ModelInfer(asked)
    assert bytes(octets(memory)[24:32]) == bytes(8)


async def test_tensors_are_there_or_in_the_message(stub: Stub, region: str) -> None:
    both = request(region)
    both.inputs[0].contents.fp32_contents.extend([1, 2])
    with pytest.raises(TensorMismatch, match="both shared memory and typed"), named_errors():
        await stub.ModelInfer(both)
    raw = request(region)
    raw.raw_input_contents.append(bytes(8))
    with pytest.raises(TensorMismatch, match="0 inputs come with 1 raw contents"), named_errors():
        await stub.ModelInfer(raw)


async def test_a_request_brings_in_no_more_than_a_message_has(stub: Stub, region: str) -> None:
    asked = pb.ModelInferRequest(model_name="scaler")
    for _ in range(101):
        lay(asked.inputs.add(name="x", datatype="BYTES", shape=[1, 1]), region, byte_size=1000)
    says = "101000 bytes together; a request may have 100000"
    with pytest.raises(TooLarge, match=says), named_errors():
        await stub.ModelInfer(asked)


@pytest.mark.parametrize("key", ["../../etc/passwd", "/../etc/passwd", "..", "a/b", ""])
async def test_a_key_is_no_path(stub: Stub, key: str) -> None:
    with pytest.raises(InvalidField) as caught, named_errors():
        await stub.SystemSharedMemoryRegister(
            pb.SystemSharedMemoryRegisterRequest(name="secret", key=key, byte_size=1)
        )
    assert [violation.field for violation in caught.value.violations] == ["key"]


async def test_an_object_that_shrinks_ends_no_server(
    stub: Stub, ask: Ask, memory: SharedMemory, region: str
) -> None:
    os.truncate(Path("/dev/shm") / memory.name, 26)
    asked = ask("scaler", 1)
    lay(asked.outputs.add(name="y"), region, byte_size=8)
    for shrunk in (request(region), asked):
        with pytest.raises(WrongState, match="shorter than when it was registered"), named_errors():
            await stub.ModelInfer(shrunk)
    assert floats((await stub.ModelInfer(ask("scaler", 1))).raw_output_contents[0]) == [2, 2]


def test_tritonclient(tritonclient_python: str, server: InferenceServer) -> None:
    program = PROGRAMS / "tritonclient_shared_memory.py"
    seen = json.loads(run(tritonclient_python, program, server.address, "scaler"))
    assert "system_shared_memory" in seen["extensions"]
    assert (seen["status"]["name"], seen["status"]["byte_size"]) == ("region", "32")
    assert seen["twice"][0] == "StatusCode.ALREADY_EXISTS"
    assert seen["shape"] == [2, 2]
    assert seen["y"] == seen["y_in_response"] == [[2, 4], [6, 8]]
    assert seen["y_by_stream"] == [[20, 40], [60, 80]]
    assert seen["regions"] == {}
    assert seen["gone"] == [
        "StatusCode.NOT_FOUND",
        "no shared memory region is named 'region': register it first",
    ]
    assert seen["no_object"][0] == "StatusCode.NOT_FOUND"
    assert seen["cuda"][0] == "StatusCode.UNIMPLEMENTED"

"""The quick way through ModelInfer says what the servicer says, or leaves the request to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from inference import grpc_service_pb2 as pb
from lepton_common.errors import LeptonError
from lepton_inference.api.layout import Layouts, read_layout
from lepton_inference.api.quick import QuickInfer
from lepton_inference.api.servicer import InferenceServicer
from lepton_inference.batcher import BatchLimits
from lepton_inference.catalogue import Catalogue, Endpoint, Version
from lepton_inference.model import Model, load_model
from lepton_inference.repository import Repository
from lepton_inference.routing import Route
from lepton_inference.sessions import RuntimeOptions
from lepton_inference.signature import Signature, Tensor

VERSION = "models/m/versions/1"
Request = pb.ModelInferRequest
Write = Callable[..., Path]


class Call:
    """A call that remembers how it was answered."""

    def __init__(self) -> None:
        self.on_cancel: Callable[[], None] | None = None
        self.deadline: float | None = None
        self.answer: bytes | BaseException | None = None

    def reply(self, message: bytes) -> None:
        self.answer = message

    def end(self, error: BaseException) -> None:
        self.answer = error


class Caller:
    """What the servicer asks of a call."""

    def time_remaining(self) -> float | None:
        return None


class Served:
    """A model, asked both ways, each in a repository of its own."""

    def __init__(self, repository: Repository, other: Repository) -> None:
        self.endpoint = repository.endpoint("m")
        self._quick = QuickInfer(repository)
        self._servicer = InferenceServicer(other)

    async def in_full(self, message: bytes) -> pb.ModelInferResponse | tuple[str, str]:
        """The servicer's response, or the error that it raises."""
        context: Any = Caller()
        try:
            return await self._servicer.ModelInfer(Request.FromString(message), context)
        except LeptonError as error:
            return error.reason, error.message

    async def quickly(self, message: bytes) -> pb.ModelInferResponse | tuple[str, str] | None:
        """The same the quick way; None for what it leaves to the servicer."""
        answers = await self.together(message)
        return answers[0]

    async def together(self, *messages: bytes) -> list[pb.ModelInferResponse | tuple[str, str] | None]:
        """The quick answers to requests that come in one turn of the loop."""
        calls = [Call() for _ in messages]
        taken = [self._quick(call, message) for call, message in zip(calls, messages, strict=True)]
        async with asyncio.timeout(30):
            while any(took and call.answer is None for took, call in zip(taken, calls, strict=True)):
                await asyncio.sleep(0)
        return [read(call.answer) if took else None for took, call in zip(taken, calls, strict=True)]


def read(answer: bytes | BaseException | None) -> pb.ModelInferResponse | tuple[str, str]:
    if isinstance(answer, LeptonError):
        return answer.reason, answer.message
    assert isinstance(answer, bytes), answer
    return pb.ModelInferResponse.FromString(answer)


@pytest.fixture
def two_inputs(write_graph: Write) -> Path:
    """A model of FP32 `x` [batch, 3] and INT64 `n` [batch, any] with outputs that are as wide as they are."""
    return write_graph(
        [
            helper.make_node("Cast", ["n"], ["m"], to=TensorProto.INT32),
            helper.make_node("Mul", ["x", "two"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ["batch", 3]), "n": (TensorProto.INT64, ["batch", "any"])},
        {"y": (TensorProto.FLOAT, ["batch", 3]), "m": (TensorProto.INT32, ["batch", "any"])},
        {"two": np.float32(2)},
    )


@pytest.fixture(params=[0, 100_000], ids=["nothing is kept", "answers are kept"])
async def served(two_inputs: Path, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """The model as the endpoint `m`; answers of the quick way may be kept, those of the servicer are not."""
    async with serving(two_inputs, cache_bytes=request.param) as served:
        yield served


@asynccontextmanager
async def serving(path: Path, *, cache_bytes: int) -> AsyncIterator[Served]:
    model = load_model(path, options=RuntimeOptions(threads=1), registered=Signature())

    async def load(version: Version, endpoint: Endpoint) -> Model:
        return model

    version = Version(VERSION, digest="d" * 64)
    repositories = [Repository(load, limits=BatchLimits()) for _ in range(2)]
    for repository, kept_bytes in zip(repositories, (cache_bytes, 0), strict=True):
        endpoint = Endpoint("m", (Route(VERSION, 1),), max_batch_size=4, response_cache_bytes=kept_bytes)
        repository.apply(Catalogue((endpoint,), {VERSION: version}))
        await repository.ready.wait()
    yield Served(*repositories)
    for repository in repositories:
        await repository.drain()


def good(records: int = 1, wide: int = 2, *, id: str = "", outputs: tuple[str, ...] = ()) -> Request:
    """A request that the model takes."""
    x = np.arange(3 * records, dtype=np.float32)
    n = np.arange(wide * records, dtype=np.int64)
    return Request(
        model_name="m",
        id=id,
        inputs=[
            Request.InferInputTensor(name="x", datatype="FP32", shape=[records, 3]),
            Request.InferInputTensor(name="n", datatype="INT64", shape=[records, wide]),
        ],
        outputs=[Request.InferRequestedOutputTensor(name=name) for name in outputs],
        raw_input_contents=[x.tobytes(), n.tobytes()],
    )


PLAIN = {
    "one record": good(),
    "more records": good(3),
    "more records than a batch": good(11),
    "an id": good(id="an id"),
    "another id of the same length": good(id="no id"),
    "an id that is not ASCII": good(id="ïd"),
    "one output": good(2, outputs=("m",)),
    "outputs in another order": good(2, outputs=("m", "y")),
    "an output twice": good(2, outputs=("m", "m")),
    "other widths": good(2, wide=5),
}


@pytest.mark.parametrize("case", PLAIN)
async def test_plain_requests_are_taken_and_answered_alike(served: Served, case: str) -> None:
    message = PLAIN[case].SerializeToString()
    assert await served.quickly(message) == await served.in_full(message)


@pytest.mark.parametrize("served", [100_000], indirect=True)
async def test_what_was_kept_answers_every_request_with_the_same_tensors(served: Served) -> None:
    other_outputs = good(2, outputs=("m",), id="other")
    version = good(2, id="another")
    version.model_version = "1"
    for request in (good(2), good(2), other_outputs, version):
        message = request.SerializeToString()
        assert await served.quickly(message) == await served.in_full(message)
    deployment = served.endpoint.find()
    statistics = deployment.statistics
    assert (
        statistics.counts().cache_hit.count,
        statistics.counts().cache_miss.count,
        statistics.counts().run_count,
    ) == (3, 1, 1)
    # The servicer finds what the quick way kept.
    x, n = (np.frombuffer(raw, dtype) for raw, dtype in zip(good(2).raw_input_contents, "fq", strict=True))
    tensors = [Tensor("x", "FP32", x.reshape(2, 3)), Tensor("n", "INT64", n.reshape(2, 2))]
    assert (await deployment.infer(tensors))["y"].tolist() == (2 * x.reshape(2, 3)).tolist()
    assert statistics.counts().cache_hit.count == 4


async def test_requests_of_one_turn_are_one_batch_and_answered_alike(served: Served) -> None:
    messages = [request.SerializeToString() for request in PLAIN.values()] * 3
    assert await served.together(*messages) == [await served.in_full(message) for message in messages]


@pytest.mark.parametrize("cache_bytes", [0, 100_000], ids=["nothing is kept", "answers are kept"])
async def test_answers_are_those_of_their_own_batch(write_graph: Write, cache_bytes: int) -> None:
    """The outputs lie where those of the last batch lay, and what was found out about them is kept."""
    shape = (TensorProto.FLOAT, ["batch", 3])
    path = write_graph([helper.make_node("Relu", ["x"], ["y"])], {"x": shape}, {"y": shape})
    async with serving(path, cache_bytes=cache_bytes) as served:
        for number in range(1, 9):
            requests = [
                Request(
                    model_name="m",
                    id=id,
                    inputs=[Request.InferInputTensor(name="x", datatype="FP32", shape=[1, 3])],
                    raw_input_contents=[np.full(3, 10 * number + place, np.float32).tobytes()],
                )
                for place, id in enumerate(["", "one", "", "another"][: 1 + number % 4])
            ]
            answers = await served.together(*(request.SerializeToString() for request in requests))
            for answer, request in zip(answers, requests, strict=True):
                assert isinstance(answer, pb.ModelInferResponse)
                assert answer.raw_output_contents == request.raw_input_contents


UNUSUAL: dict[str, dict[str, Any]] = {
    "parameters": {"parameters": {"timeout": pb.InferParameter(int64_param=1)}},
    "no raw contents": {"raw_input_contents": []},
    "an unknown model": {"model_name": "nothing"},
    "a version that is none": {"model_version": "latest"},
    "too few bytes": {"raw_input_contents": [bytes(12), bytes(15)]},
    "too few inputs": {"raw_input_contents": [bytes(12)]},
}


@pytest.mark.parametrize("case", UNUSUAL)
async def test_other_requests_are_left_to_the_servicer(served: Served, case: str) -> None:
    request = good()
    for name in UNUSUAL[case]:
        request.ClearField(name)  # type: ignore[arg-type]
    request.MergeFrom(Request(**UNUSUAL[case]))
    assert await served.quickly(request.SerializeToString()) is None


def test_a_layout_is_known_again_whatever_the_id_and_the_elements() -> None:
    layouts = Layouts()
    first = layouts.find(good(2, id="one").SerializeToString())
    other = good(2, id="two")
    other.raw_input_contents[0] = bytes(range(24))
    assert first is not None
    assert layouts.find(other.SerializeToString()) is first
    assert layouts.find(good(2, id="four").SerializeToString()) is not first
    # As long, and not the same.
    another = good(2, id="one")
    another.model_name = "n"
    found = layouts.find(another.SerializeToString())
    assert found is not None and found.model_name == "n"


def test_what_is_remembered_is_bounded() -> None:
    layouts = Layouts()
    for size in range(5000):
        layouts.find(good(id="x" * size).SerializeToString())
    assert sum(map(len, layouts._by_size.values())) <= 1024
    for number in range(100):
        layouts.find(good(outputs=(f"{number:03}",)).SerializeToString())
    assert max(map(len, layouts._by_size.values())) <= 8


# Requests of every kind: some right, many wrong, some of them no messages.

texts = st.one_of(
    st.sampled_from(["", "m", "x", "n", "y", "1", "FP32", "INT64", "BOOL"]), st.text(max_size=4)
)
tensors = st.builds(
    Request.InferInputTensor,
    name=texts,
    datatype=st.sampled_from(["FP32", "INT64", "BYTES", "BOOL", "none"]),
    shape=st.lists(st.integers(-1, 4) | st.just(2**62), max_size=3),
    contents=st.none()
    | st.builds(pb.InferTensorContents, fp32_contents=st.lists(st.floats(width=32), max_size=3)),
)
raws = st.binary(max_size=8) | st.sampled_from([bytes(12), bytes(16), bytes(24)])
requests = st.builds(
    Request,
    model_name=texts,
    model_version=texts,
    id=texts,
    inputs=st.lists(tensors, max_size=3),
    outputs=st.lists(st.builds(Request.InferRequestedOutputTensor, name=texts), max_size=2),
    raw_input_contents=st.lists(raws, max_size=3),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The bytes of a good request, or of any, changed here and there."""
    request = draw(st.sampled_from([*PLAIN.values()]) | requests)
    octets = bytearray(request.SerializeToString())
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(octets)))
        cut = draw(st.integers(0, 2))
        octets[place : place + cut] = draw(st.binary(max_size=3))
    return bytes(octets)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(message=good(id="x").SerializeToString() + b"\x1a\x01y")
@example(message=good().SerializeToString() + b"\x0a\x81\x00m")
@given(message=st.one_of(st.binary(max_size=64), requests.map(Request.SerializeToString), damaged()))
async def test_whatever_is_taken_is_answered_as_the_servicer_does(served: Served, message: bytes) -> None:
    for _ in range(2):
        quick = await served.quickly(message)
        if quick is not None:
            # It is a message then, too.
            assert quick == await served.in_full(message)


@settings(max_examples=300, deadline=None)
@given(message=st.one_of(st.binary(max_size=64), damaged()))
def test_a_layout_says_what_the_message_says(message: bytes) -> None:
    layout = read_layout(message)
    if layout is None:
        return
    parsed = Request.FromString(message)
    assert (layout.model_name, layout.model_version) == (parsed.model_name, parsed.model_version)
    assert message[layout.id_text : layout.id_stop].decode() == parsed.id
    assert [*layout.outputs] == [output.name for output in parsed.outputs]
    assert [message[raw.start : raw.stop] for raw in layout.inputs] == [*parsed.raw_input_contents]
    assert [(raw.name, raw.datatype, [*raw.shape]) for raw in layout.inputs] == [
        (tensor.name, tensor.datatype, [*tensor.shape]) for tensor in parsed.inputs
    ]
    assert not parsed.parameters
    assert not any(tensor.HasField("contents") or tensor.parameters for tensor in parsed.inputs)


def test_a_negative_size_is_no_layout() -> None:
    request = good()
    request.inputs[0].shape[0] = -1
    assert read_layout(request.SerializeToString()) is None

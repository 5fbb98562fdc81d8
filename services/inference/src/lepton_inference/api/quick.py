"""The quick way through ModelInfer: from the bytes of a request to the bytes of its response.

What a request says besides its tensors is worked out once for each layout, by the code that works it out for
every other request. After that, elements go from the request into the batch, and from the outputs into the
response. A request that is not of the plain form, or not right, is left to the servicer, which answers it in
full.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inference import grpc_service_pb2 as pb
from lepton_common.errors import LeptonError
from lepton_inference.api.layout import Layout, Layouts, Message
from lepton_inference.api.tensors import name_version
from lepton_inference.batch import Outputs, kind_of
from lepton_inference.cache import ResponseCache, begin_key
from lepton_inference.catalogue import Version
from lepton_inference.queued import DEFAULT_PRIORITY
from lepton_inference.signature import Tensor, TensorSpec, check_inputs, check_outputs
from lepton_inference.tensors import DATATYPES, Array, decode_raw

if TYPE_CHECKING:
    from _hashlib import HASH as Digest
    from collections.abc import Hashable

    from lepton_common.methods import QuickCall
    from lepton_inference.batch import Slots
    from lepton_inference.deployment import Deployment
    from lepton_inference.repository import Repository

# Their elements are checked one by one.
_CHECKED = {"BOOL", "BYTES"}
# Of field 6, `raw_output_contents`.
_RAW_TAG = b"\x32"
_CONTINUES = 0x80
# Of one plan: outputs may be of any shape.
_MOST_FRAMES = 64
# Stands for the plan of requests that only the servicer answers.
_NO_PLAN = object()
# Of one deployment.
_MOST_PLANS = 1024


class QuickInfer:
    """Takes the calls of ModelInfer that can be answered the quick way."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._layouts = Layouts()

    def __call__(self, call: QuickCall, message: Message) -> bool:
        """See `lepton_common.methods.Quick`."""
        layout = self._layouts.find(message)
        if layout is None:
            return False
        try:
            deployment = self._repository.endpoint(layout.model_name).find(layout.model_version)
            plan = deployment.worked_out.get(layout)
            if plan is None:
                plan = _work_out(deployment, layout, message)
        except LeptonError:
            # The servicer finds the same, and says it with all that belongs to it.
            return False
        if not isinstance(plan, _Plan):
            return False
        if deployment.cache is None:
            request = _QuickRequest(call, message, plan, deployment)
        else:
            request = kept = _KeptRequest(call, message, plan, deployment, deployment.cache)
            if kept.is_known():
                return True
        call.on_cancel = request.withdraw
        try:
            deployment.submit(request)
        except LeptonError as error:
            request.fail(error)
        return True


class _Place(NamedTuple):
    """Where an input is in a request, and what of."""

    name: str
    start: int
    stop: int
    row_bytes: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a deployment does with requests of one layout. It holds neither of them: they may go."""

    version: Version
    inputs: tuple[_Place, ...]
    """By name, in its order."""
    records: int
    size_bytes: int
    kind: Hashable
    outputs: tuple[TensorSpec, ...]
    raw_outputs: tuple[tuple[str, np.dtype[Any]], ...]
    """Names, and what elements are in a response."""
    id_start: int
    id_stop: int
    head: bytes
    """What stands in front of the id in a response."""
    key: Digest
    """Where keys of the cache begin."""
    frames: dict[tuple[tuple[int, ...], ...], list[bytes]] = field(default_factory=dict)
    """What stands in front of the elements of each output in a response, by the shapes of all outputs; with
    the head where requests have no id."""

    def response(self, message: Message, outputs: Outputs, index: int) -> bytes:
        """The response to a request, as the generated code would write it."""
        shares = outputs.worked_out.get(self)
        if shares is None:
            if len(outputs.worked_out) >= _MOST_PLANS:
                outputs.worked_out.clear()
            shares = outputs.worked_out[self] = self._shares(outputs)
        rows = outputs.rows
        first, last = rows[index], rows[index + 1]
        parts: list[bytes | memoryview] = []
        if self.id_stop:
            # The field of the id is the same in both.
            parts += (self.head, message[self.id_start : self.id_stop])
        for frame, data, row_bytes in shares:
            parts += (frame, data[first * row_bytes : last * row_bytes])
        return b"".join(parts)

    def key_of(self, message: Message) -> bytes:
        """What the outputs for a request are kept under."""
        digest = self.key.copy()
        octets = memoryview(message)
        for place in self.inputs:
            digest.update(octets[place.start : place.stop])
        return digest.digest()

    def _shares(self, outputs: Outputs) -> list[tuple[bytes, bytes | memoryview, int]]:
        """What requests of one batch get: what stands in front of the elements of each output, the elements
        for all of them, and the bytes of a row."""
        raws = [outputs.raw(name, dtype, self.records) for name, dtype in self.raw_outputs]
        shapes = tuple([raw[0] for raw in raws])
        frames = self.frames.get(shapes)
        if frames is None:
            if len(self.frames) >= _MOST_FRAMES:
                self.frames.clear()
            frames = self.frames[shapes] = self._make_frames(shapes)
        return [(frame, raw[1], raw[2]) for frame, raw in zip(frames, raws, strict=True)]

    def _make_frames(self, shapes: tuple[tuple[int, ...], ...]) -> list[bytes]:
        response = pb.ModelInferResponse()
        name_version(response, self.version)
        for spec, shape in zip(self.outputs, shapes, strict=True):
            response.outputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        frames = [
            _RAW_TAG + _varint(prod(shape) * dtype.itemsize)
            for shape, (_, dtype) in zip(shapes, self.raw_outputs, strict=True)
        ]
        start = response.SerializeToString() + frames[0]
        return [start if self.id_stop else self.head + start, *frames[1:]]


def _work_out(deployment: Deployment, layout: Layout, message: Message) -> object:
    """Finds out what a deployment does with requests of a layout, and keeps it.

    Raises:
        LeptonError: the request is not right, or there is no model.
    """
    worked_out = deployment.worked_out
    if len(worked_out) >= _MOST_PLANS:
        worked_out.clear()
    plan = worked_out[layout] = _make_plan(deployment, layout, message) or _NO_PLAN
    return plan


def _make_plan(deployment: Deployment, layout: Layout, message: Message) -> _Plan | None:
    """Works out a plan; None for what only the servicer does.

    Raises:
        LeptonError: the request is not right.
    """
    model = deployment.model
    signature = model.signature
    outputs = check_outputs(signature, layout.outputs)
    if _CHECKED & {spec.datatype for spec in (*signature.inputs, *outputs)} or not outputs:
        return None
    tensors = [
        Tensor(
            raw.name,
            raw.datatype,
            decode_raw(raw.name, raw.datatype, raw.shape, data=bytes(message[raw.start : raw.stop])),
        )
        for raw in layout.inputs
    ]
    records = check_inputs(signature, tensors, batched=model.batched)
    head = pb.ModelInferResponse(model_name=layout.model_name, model_version=deployment.version.number)
    return _Plan(
        version=deployment.version,
        inputs=tuple(
            _Place(
                raw.name,
                raw.start,
                raw.stop,
                (raw.stop - raw.start) // records,
                tensor.array.dtype,
                raw.shape,
            )
            for raw, tensor in sorted(zip(layout.inputs, tensors, strict=True), key=lambda pair: pair[0].name)
        ),
        records=records,
        size_bytes=sum(tensor.array.nbytes for tensor in tensors),
        kind=kind_of({raw.name: raw.shape for raw in layout.inputs}),
        outputs=outputs,
        raw_outputs=tuple((spec.name, DATATYPES[spec.datatype].dtype) for spec in outputs),
        id_start=layout.id_start,
        id_stop=layout.id_stop,
        head=head.SerializeToString(),
        key=begin_key((raw.name, raw.shape) for raw in layout.inputs),
    )


class _QuickRequest:
    """See `lepton_inference.queued.Queued`."""

    in_place = False
    priority = DEFAULT_PRIORITY

    __slots__ = (
        "_call",
        "_deployment",
        "_message",
        "_plan",
        "arrived",
        "deadline",
        "is_over",
        "kind",
        "records",
        "size_bytes",
    )

    def __init__(self, call: QuickCall, message: Message, plan: _Plan, deployment: Deployment) -> None:
        self._call = call
        self._message = message
        self._plan = plan
        self._deployment = deployment
        self.arrived = time.monotonic()
        self.deadline = call.deadline
        self.is_over = False
        self.kind = plan.kind
        self.records = plan.records
        self.size_bytes = plan.size_bytes

    def arrays(self) -> dict[str, Array]:
        return {
            place.name: np.frombuffer(
                self._message, place.dtype, count=prod(place.shape), offset=place.start
            ).reshape(place.shape)
            for place in self._plan.inputs
        }

    def fill(self, slots: Slots, row: int) -> None:
        message = memoryview(self._message)
        for name, start, stop, row_bytes, _, _ in self._plan.inputs:
            first = row * row_bytes
            slots.raw[name][first : first + stop - start] = message[start:stop]

    def answer(self, outputs: Outputs, index: int) -> None:
        response = self._plan.response(self._message, outputs, index)
        self.is_over = True
        # Nothing holds the message from here on: it may lie where the next one is to.
        self._call.on_cancel = None
        self._call.reply(response)

    def fail(self, error: BaseException) -> None:
        self.is_over = True
        self._call.on_cancel = None
        self._call.end(error)

    def withdraw(self) -> None:
        """Nobody waits for it any more."""
        if not self.is_over:
            self.is_over = True
            self._deployment.withdraw(self)


class _KeptRequest(_QuickRequest):
    """One whose outputs are kept for the next that is the same."""

    __slots__ = ("_cache", "_key")

    def __init__(
        self, call: QuickCall, message: Message, plan: _Plan, deployment: Deployment, cache: ResponseCache
    ) -> None:
        super().__init__(call, message, plan, deployment)
        self._cache = cache
        self._key = plan.key_of(message)

    def is_known(self) -> bool:
        """Whether the outputs are there; it is answered then."""
        found = self._cache.find(self._key)
        if found is None:
            self._deployment.statistics.missed(self.arrived)
            return False
        super().answer(Outputs(found, (0, 1), None), 0)
        self._deployment.statistics.found(self.arrived)
        return True

    def answer(self, outputs: Outputs, index: int) -> None:
        super().answer(outputs, index)
        self._cache.keep(self._key, outputs.of(index))


def _varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    octets = bytearray()
    while number >= _CONTINUES:
        octets.append(number & 0x7F | _CONTINUES)
        number >>= 7
    octets.append(number)
    return bytes(octets)

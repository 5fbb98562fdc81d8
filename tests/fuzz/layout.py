"""Any inference request: what its layout says is what the generated class says.

An input is three octets, a place and a value, then a message. A second message is the first with that octet
changed: it may have the first one's layout.
"""

from __future__ import annotations

from struct import Struct

from inference.grpc_service_pb2 import ModelInferRequest
from lepton_inference.api.layout import Layout, Layouts, read_layout

__all__ = ["pack", "run"]

_CHANGE = Struct(">HB")


def pack(message: bytes, place: int = 0, value: int = 0) -> bytes:
    """An input out of its parts."""
    return _CHANGE.pack(place, value) + message


def check(message: bytes, layout: Layout) -> None:
    """Holds a layout against protobuf's own parser, which takes the message."""
    parsed = ModelInferRequest.FromString(message)
    assert (layout.model_name, layout.model_version) == (parsed.model_name, parsed.model_version)
    assert message[layout.id_text : layout.id_stop].decode() == parsed.id
    assert [*layout.outputs] == [output.name for output in parsed.outputs]
    assert [message[raw.start : raw.stop] for raw in layout.inputs] == [*parsed.raw_input_contents]
    assert [(raw.name, raw.datatype, [*raw.shape]) for raw in layout.inputs] == [
        (tensor.name, tensor.datatype, [*tensor.shape]) for tensor in parsed.inputs
    ]
    assert not parsed.parameters
    assert not any(tensor.HasField("contents") or tensor.parameters for tensor in parsed.inputs)
    assert not any(output.parameters for output in parsed.outputs)
    # Without the id, it is the same but for that.
    without = message[: layout.id_start] + message[layout.id_stop :]
    parsed.ClearField("id")
    assert ModelInferRequest.FromString(without) == parsed


def run(data: bytes) -> None:
    """Runs an input.

    Raises:
        AssertionError: something does not hold.
    """
    if len(data) <= _CHANGE.size:
        return
    place, value = _CHANGE.unpack_from(data)
    message = data[_CHANGE.size :]
    changed = bytearray(message)
    changed[place % len(message)] = value
    layouts = Layouts()
    for each in (message, bytes(changed)):
        found = layouts.find(each)
        assert (found is None) == (read_layout(each) is None)
        assert layouts.find(memoryview(each)) is found
        if found is not None:
            check(each, found)

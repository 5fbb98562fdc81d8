"""Other forms of an ONNX model: 16-bit floats, calibrated 8-bit integers.

The transform in front of the network is left as it is: it works on raw records, whose range neither float16
nor a calibration should clip. So is the scale behind it that turns a network's answer into the label's unit.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import compose

from lepton_learn.transform_onnx import INPUTS

QUANTIZED_OPERATORS = (
    "Conv",
    "Gemm",
    "MatMul",
    "Add",
    "Relu",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
)
"""What has 8-bit kernels in ONNX Runtime. Softmax and reshaping stay in float."""

TRANSFORM_PREFIX = "transform/"
"""Of the names that `lepton_learn.transform_onnx` gives to its nodes."""

SCALING_OPERATORS = frozenset({"Add", "Div", "Mul", "Sub"})
CALIBRATION_BATCH = 32


def to_fp16(model: bytes) -> bytes:
    """Store weights and compute in float16, inputs and outputs unchanged."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    whole = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    inputs, outputs = ([value.name for value in side] for side in (whole.graph.input, whole.graph.output))
    end = _network_end(whole.graph)
    parts = onnx.utils.Extractor(whole)
    network = parts.extract_model([INPUTS], [end])
    count = len(network.graph.node)
    network = convert_float_to_float16(network, keep_io_types=True)
    _put_in_order(network.graph, count)
    converted = _join(parts.extract_model(inputs, [INPUTS]), network)
    if end not in outputs:
        converted = _join(converted, parts.extract_model([end], outputs))
    return _serialized(converted)


def to_int8(model: bytes, records: Mapping[str, NDArray[Any]]) -> bytes:
    """Store weights as int8 per channel and compute on uint8 activations, ranges calibrated on `records`.

    Unsigned activations with signed weights are what VNNI and its kin multiply natively; signed activations
    run slower than fp32 on x86 (onnxruntime#20052). Static quantisation of Jacob et al., 2018.

    Args:
        model: the fp32 model.
        records: raw columns, the first axis the records; ranges are the least and greatest value seen.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # The tools announce their progress at level INFO on the root logger.
    logging.getLogger("root").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        plain, prepared, quantized = (
            Path(scratch) / f"{name}.onnx" for name in ("plain", "prepared", "int8")
        )
        plain.write_bytes(model)
        # ONNX's own shape inference is enough, and the symbolic one fails on attention and on pooled features.
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        kept = _transform_nodes(onnx.load(prepared))
        quantize_static(
            prepared,
            quantized,
            _Reader(records),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*QUANTIZED_OPERATORS],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # Seven bits of weight: x86 without VNNI adds pairs of products in 16 bits, which eight overflow.
            # The answers would be right where they were measured and wrong where they are served.
            reduce_range=True,
            nodes_to_exclude=kept,
        )
        return _serialized(onnx.load(quantized))


def _transform_nodes(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.name.startswith(TRANSFORM_PREFIX)]


def _network_end(graph: onnx.GraphProto) -> str:
    """The tensor from which on the answer is only scaled: back from the output, node by node."""
    producers = {output: node for node in graph.node for output in node.output}
    constants = {constant.name for constant in graph.initializer}
    (end,) = (value.name for value in graph.output)
    while (node := producers[end]).op_type in SCALING_OPERATORS:
        scaled = [name for name in node.input if name not in constants]
        if len(scaled) != 1:
            break
        (end,) = scaled
    return end


def _put_in_order(graph: onnx.GraphProto, count: int) -> None:
    """Move the casts, which the converter appended to `count` nodes, right behind what they read."""
    nodes, casts = list(graph.node)[:count], list(graph.node)[count:]
    readers: dict[str, list[onnx.NodeProto]] = {}
    for cast in casts:
        readers.setdefault(cast.input[0], []).append(cast)
    produced = {output for node in graph.node for output in node.output}
    ordered: list[onnx.NodeProto] = []

    def place(node: onnx.NodeProto) -> None:
        ordered.append(node)
        for output in node.output:
            for cast in readers.get(output, ()):
                place(cast)

    for cast in casts:
        if cast.input[0] not in produced:
            place(cast)
    for node in nodes:
        place(node)
    del graph.node[:]
    graph.node.extend(ordered)


def _join(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    """Let the second model take what the first one gives, under the same name."""
    (name,) = (value.name for value in second.graph.input)
    # What is said of a tensor's shape would take its name along when the others are changed.
    del second.graph.value_info[:]
    # The parts may hold constants of the same name, once in float32 and once in float16.
    second = compose.add_prefix(second, "next/", rename_inputs=False, rename_outputs=False)
    return compose.merge_models(
        first, second, io_map=[(name, name)], name="lepton", doc_string="", producer_name="lepton"
    )


def _serialized(model: onnx.ModelProto) -> bytes:
    # Whoever needs the shapes in between infers them; in small models they outweigh what was saved.
    del model.graph.value_info[:]
    serialized: bytes = model.SerializeToString()
    return serialized


class _Reader:
    """Hands the records to the calibration in batches."""

    def __init__(self, records: Mapping[str, NDArray[Any]]) -> None:
        self._batches = self._split(records)

    @staticmethod
    def _split(
        records: Mapping[str, NDArray[Any]],
    ) -> Iterator[dict[str, NDArray[Any]]]:
        count = len(next(iter(records.values())))
        for start in range(0, count, CALIBRATION_BATCH):
            yield {name: values[start : start + CALIBRATION_BATCH] for name, values in records.items()}

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next batch; None after the last."""
        return next(self._batches, None)

"""Other forms of an ONNX model: 16-bit floats, calibrated 8-bit integers."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from lepton_compressor.worker.network import convert_network, nodes_around

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

CALIBRATION_BATCH = 32


def to_fp16(model: bytes) -> bytes:
    """Store the network's weights and compute in float16, inputs and outputs unchanged."""
    return convert_network(onnx.load_from_string(model), _network_to_fp16).SerializeToString()


def _network_to_fp16(network: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    count = len(network.graph.node)
    converted: onnx.ModelProto = convert_float_to_float16(
        network, keep_io_types=True, disable_shape_infer=True
    )
    _put_casts_in_order(converted.graph, count)
    return converted


def _put_casts_in_order(graph: onnx.GraphProto, count: int) -> None:
    """Move the casts that were appended behind `count` nodes to right behind what they read."""
    nodes, casts = list(graph.node)[:count], list(graph.node)[count:]
    readers: dict[str, list[onnx.NodeProto]] = {}
    for cast in casts:
        readers.setdefault(cast.input[0], []).append(cast)
    produced = {output for node in graph.node for output in node.output}
    pending = [*reversed(nodes), *(cast for cast in casts if cast.input[0] not in produced)]
    ordered = []
    while pending:
        ordered.append(pending.pop())
        pending += [cast for output in ordered[-1].output for cast in readers.get(output, ())]
    del graph.node[:]
    graph.node.extend(ordered)


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
        # The symbolic shape inference fails on attention and on pooled features; ONNX's own is enough.
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        kept = [node.name for node in nodes_around(onnx.load(prepared).graph)]
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
        smaller = onnx.load(quantized)
    # Whoever needs the shapes in between infers them; of a small model they would be half.
    del smaller.graph.value_info[:]
    return smaller.SerializeToString()


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

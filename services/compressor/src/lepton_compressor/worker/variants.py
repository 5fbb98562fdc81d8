"""Other forms of an ONNX model: 16-bit floats, calibrated 8-bit integers.

The transform in front of the network is left as it is: it works on raw records, whose range no calibration
should clip.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

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

CALIBRATION_BATCH = 32


def to_fp16(model: bytes) -> bytes:
    """Store weights and compute in float16, inputs and outputs unchanged."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph = onnx.load_from_string(model)
    converted = convert_float_to_float16(
        graph,
        keep_io_types=True,
        disable_shape_infer=False,
        node_block_list=_transform_nodes(graph),
    )
    serialized: bytes = converted.SerializeToString()
    return serialized


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
        quant_pre_process(plain, prepared)
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
            nodes_to_exclude=kept,
        )
        return quantized.read_bytes()


def _transform_nodes(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.name.startswith(TRANSFORM_PREFIX)]


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

"""A trained model as one ONNX graph that takes raw records: transform, model and softmax.

onnx and tf2onnx are imported where they are used: only what exports needs them, and tf2onnx takes seconds.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lepton_common.errors import InvalidModel
from lepton_learn.signature import output_name
from lepton_learn.task import task_of
from lepton_learn.transform import FittedTransform


def export_onnx(model: keras.Model, transform: FittedTransform) -> bytes:
    """Export a trained model.

    Inputs are named as the feature columns and take raw values (`lepton_learn.signature`); the output is
    `probabilities` [batch, classes], or in the label's own unit `prediction` [batch, 1] or `forecast`
    [batch, horizon, quantiles]. The batch is dynamic.

    Raises:
        InvalidModel: the model holds an operation that ONNX has no form for.
    """
    import onnx
    from onnx import compose

    from lepton_learn.transform_onnx import INPUTS, transform_graph

    # The prefix keeps the model's names apart from those of the columns.
    core = compose.add_prefix(_model_graph(model, transform), "model/", rename_outputs=False)
    front = transform_graph(transform)
    front.ir_version = core.ir_version
    try:
        whole = compose.merge_models(
            front, core, io_map=[(INPUTS, core.graph.input[0].name)], name="lepton", producer_name="lepton"
        )
        _tidy(whole)
        onnx.checker.check_model(whole, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidModel(f"the model cannot be exported to ONNX: {_first_line(error)}") from error
    return bytes(whole.SerializeToString())


def _model_graph(model: keras.Model, transform: FittedTransform) -> Any:
    """The model with its answers, fed transformed features."""
    import tf2onnx

    from lepton_learn.transform_onnx import OPSET

    task = task_of(model, transform, label_scale=None)
    output = output_name(transform)
    specification = tf.TensorSpec((None, *transform.input_shape), tf.float32, name="inputs")

    def answers(inputs: Any) -> Any:
        return {output: tf.identity(task.answers(model(inputs, training=False)), name=output)}

    try:
        graph, _ = tf2onnx.convert.from_function(
            tf.function(answers, input_signature=[specification]),
            input_signature=[specification],
            opset=OPSET,
            custom_op_handlers={"Erfc": (_convert_erfc, [])},
        )
    except (ValueError, RuntimeError, NotImplementedError, KeyError) as error:
        raise InvalidModel(f"the model cannot be exported to ONNX: {_first_line(error)}") from error
    return graph


def _convert_erfc(graph: Any, node: Any, name: str, arguments: Any) -> None:
    """Write TensorFlow's erfc(x), which GELU uses and tf2onnx does not know, as 1 - erf(x)."""
    node.type = "Erf"
    one = graph.make_const(f"{name}/one", np.ones((), np.float32))
    difference = graph.make_node("Sub", [one.output[0], node.output[0]])
    readers = [reader for reader in graph.find_output_consumers(node.output[0]) if reader is not difference]
    graph.replace_all_inputs(node.output[0], difference.output[0], ops=readers)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:500]


def _tidy(model: Any) -> None:
    """Call the free dimension `batch` at inputs and outputs, and name each set of operators in use once."""
    import onnx

    # Shapes in between hold other names for the batch; whoever needs them infers them.
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    used = {node.domain for node in model.graph.node}
    versions = {opset.domain: opset.version for opset in model.opset_import if opset.domain in used}
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*one) for one in sorted(versions.items()))

"""Keras models given as JSON: checked without TensorFlow before anything of them is built.

Keras's own safe mode refuses lambdas, but its deserialiser still imports any module a config names, and some
built-in layers read files or run saved programs. So the JSON is walked first: every object it would construct
must come from Keras itself and from an allow list.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lepton_common.errors import InvalidModel, TooLarge, UnsafeModel

MAX_BYTES = 1 << 20
"""Length of the JSON text."""
MAX_DEPTH = 64
"""Nesting of the JSON."""
MAX_LAYERS = 1000
"""Layers in all, nested models included."""

_MODELS = "Functional Model Sequential"
_LAYERS = """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average
    AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CenterCrop
    Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D
    ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Dot
    Dropout ELU EinsumDense Embedding Flatten GRU GRUCell GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention Identity InputLayer LSTM
    LSTMCell LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum
    MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization RNN RandomBrightness
    RandomContrast RandomFlip RandomRotation RandomTranslation RandomZoom ReLU RepeatVector Rescaling
    Reshape Resizing SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax SpatialDropout1D
    SpatialDropout2D SpatialDropout3D StackedRNNCells Subtract TimeDistributed UnitNormalization
    UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
_OPERATIONS = """
    Absolute Add Clip Concatenate Cumsum Divide Elu Exp ExpandDims Gelu GetItem LeakyRelu Log LogSoftmax
    Matmul Max Maximum Mean Min Minimum Multiply Negative Power Relu Relu6 Reshape Selu Sigmoid Silu Softmax
    Softplus Sqrt Square Squeeze Stack Subtract Sum Tanh Transpose TrueDivide
"""
_INITIALIZERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones
    Orthogonal OrthogonalInitializer RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
"""

# By pattern of the module, the classes that may be made from it: all compute from their weights and
# arguments alone. What could hold code, read a file or run a saved program (Lambda, the lookups, TFSMLayer,
# JaxLayer, map and while operations) is in none of the lists, nor is what a later Keras adds before somebody
# has looked at it.
_ALLOWED = [
    (re.compile(module), frozenset(names.split()))
    for module, names in (
        (r"keras(\.models|\.src\.models(\.\w+)*)?", _MODELS),
        (r"keras(\.src)?\.layers(\.\w+)*", _LAYERS),
        (r"keras\.src\.ops\.(numpy|nn)", _OPERATIONS),
        (r"keras(\.src)?\.initializers(\.\w+)*", _INITIALIZERS),
        (r"keras(\.src)?\.regularizers(\.\w+)*", "L1 L2 L1L2 OrthogonalRegularizer"),
        (r"keras(\.src)?\.constraints(\.\w+)*", "MaxNorm MinMaxNorm NonNeg UnitNorm"),
        (r"keras(\.random|\.src\.random(\.\w+)*)", "SeedGenerator"),
        (r"keras(\.dtype_policies|\.src\.dtype_policies(\.\w+)*)?", "DTypePolicy"),
    )
]
_FUNCTION_MODULES = re.compile(r"builtins|keras(\.src)?\.activations(\.\w+)*")
_FUNCTIONS = """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
    linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
    softsign squareplus swish tanh tanh_shrink
"""
# Values, not objects: a symbolic tensor between two layers, a constant, a slice.
_VALUES = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__"})


def check_config(text: str) -> dict[str, Any]:
    """Check a model that Keras 3's `to_json` wrote, without building anything.

    Returns:
        The config, parsed, without what it says about compilation: the optimizer and the loss are the job's.

    Raises:
        UnsafeModel: something in it could carry code or is not one of Keras's own; the message names where.
        TooLarge: its text, its nesting or its number of layers is over the limit.
        InvalidModel: it is not the JSON of a Keras 3 model.
    """
    if len(text.encode()) > MAX_BYTES:
        raise TooLarge(f"the Keras config is longer than {MAX_BYTES} bytes")
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise TooLarge(f"the Keras config is nested deeper than {MAX_DEPTH}") from error
    except ValueError as error:
        raise InvalidModel(f"the Keras config is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("class_name") not in _MODELS.split():
        raise InvalidModel("the Keras config is not a model that Keras 3's to_json wrote")
    layers = 0
    for path, value in _dicts(document, "model", depth=0):
        value.pop("compile_config", None)
        if "class_name" in value:
            _check_object(path, value)
            layers += isinstance(value.get("module"), str) and ".layers" in value["module"]
    if layers > MAX_LAYERS:
        raise TooLarge(f"the Keras config has {layers} layers; at most {MAX_LAYERS} are allowed")
    return document


def _dicts(value: Any, path: str, *, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a JSON value with a path a person can follow, outer ones first."""
    if depth > MAX_DEPTH:
        raise TooLarge(f"the Keras config is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from _dicts(inner, f"{path}.{key}", depth=depth + 1)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _dicts(inner, f"{path}[{place}]", depth=depth + 1)


def _check_object(path: str, value: Mapping[str, Any]) -> None:
    name, module, config = value["class_name"], value.get("module"), value.get("config")
    where = f"{path} ({config['name']!r})" if isinstance(config, dict) and "name" in config else path
    if isinstance(name, str) and name in _VALUES:
        return
    if not isinstance(name, str) or name.startswith("__"):
        raise UnsafeModel(f"{where} is a {name!r}, which could carry code", metadata={"path": path})
    if not isinstance(module, str):
        raise UnsafeModel(
            f"{where}, a {name}, does not say which module of Keras it is from: models of Keras 3 do",
            metadata={"path": path},
        )
    if name == "function":
        name = registered = str(config)
        allowed = _FUNCTION_MODULES.fullmatch(module) is not None and name in _FUNCTIONS.split()
    else:
        allowed = any(pattern.fullmatch(module) and name in names for pattern, names in _ALLOWED)
        registered = name
    if not allowed or value.get("registered_name") not in (None, registered):
        raise UnsafeModel(
            f"{where} is {module}.{name}, which is not on the list of Keras's own parts that hold no code",
            metadata={"path": path, "class": f"{module}.{name}"[:256]},
        )
    if name == "DTypePolicy" and not (isinstance(config, dict) and config.get("name") == "float32"):
        raise InvalidModel(f"{where} asks for another precision than float32, which models are trained in")

"""A Keras config is let through if Keras wrote it of its own layers, and names the place of anything else.

The checker imports no TensorFlow, so the configs here are written out; `test_families` builds real ones.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

from lepton_common.errors import InvalidModel, LeptonError, TooLarge, UnsafeModel
from lepton_learn.keras_config import MAX_BYTES, check_config

FLOAT32 = {
    "module": "keras",
    "class_name": "DTypePolicy",
    "config": {"name": "float32"},
    "registered_name": None,
}


def part(name: str, module: str = "keras.layers", /, **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


def dense(**config: Any) -> dict[str, Any]:
    return part("Dense", **{"name": "dense", "units": 10, "activation": "relu", "dtype": FLOAT32, **config})


def sequential(*layers: object) -> dict[str, Any]:
    return part("Sequential", "keras", name="model", layers=list(layers))


def check(document: object) -> dict[str, Any]:
    return check_config(json.dumps(document))


def test_a_model_of_keras_layers_passes_unchanged() -> None:
    document = sequential(
        part("InputLayer", batch_shape=[None, 8, 8, 1], name="input"),
        part("Conv2D", filters=4, kernel_initializer=part("GlorotUniform", "keras.initializers", seed=None)),
        part("Bidirectional", layer=part("LSTM", units=3)),
        dense(kernel_regularizer=part("L2", "keras.regularizers", l2=0.1)),
    )
    assert check(document) == document


def test_a_model_from_inside_keras_passes() -> None:
    document = {
        **part(
            "Functional",
            "keras.src.models.functional",
            layers=[{**part("Add", "keras.src.ops.numpy"), "registered_name": "Add"}],
        ),
        "registered_name": "Functional",
    }
    assert check(document) == document


def test_what_a_compiled_model_says_about_its_training_is_dropped() -> None:
    document = {**sequential(dense()), "compile_config": {"loss": part("MyLoss", "my_module")}}
    assert check(document) == sequential(dense())


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        pytest.param(
            part("Lambda", name="evil", function={"class_name": "__lambda__"}),
            "model.config.layers[1] ('evil')",
            id="lambda layer",
        ),
        pytest.param(
            dense(activation={"class_name": "__lambda__", "config": {"code": "4wEA"}}),
            "model.config.layers[1].config.activation",
            id="lambda as activation",
        ),
        pytest.param(
            part("TimeDistributed", layer=part("Lambda")),
            "model.config.layers[1].config.layer",
            id="lambda in a wrapper",
        ),
        pytest.param(
            sequential(part("Lambda")),
            "model.config.layers[1].config.layers[0]",
            id="lambda in a nested model",
        ),
        pytest.param(part("TFSMLayer", filepath="/tmp/x"), "keras.layers.TFSMLayer", id="saved program"),
        pytest.param(
            part("TextVectorization", vocabulary="/etc/passwd"),
            "keras.layers.TextVectorization",
            id="layer that reads a file",
        ),
        pytest.param(
            part("StringLookup", vocabulary="/etc/passwd"),
            "keras.layers.StringLookup",
            id="lookup that reads a file",
        ),
        pytest.param(part("JaxLayer"), "keras.layers.JaxLayer", id="foreign function"),
        pytest.param(
            part("Popen", "subprocess", args=["true"]), "subprocess.Popen", id="class of the standard library"
        ),
        pytest.param(part("Dense", "my_layers"), "my_layers.Dense", id="own module"),
        pytest.param(
            part("Dense", "keras.layers.x; import os"), "keras.layers.x", id="module that is no name"
        ),
        pytest.param(part("Dense", "xkeras.layers"), "xkeras.layers.Dense", id="module that ends like Keras"),
        pytest.param(part("get_file", "keras.utils"), "keras.utils.get_file", id="download"),
        pytest.param(
            part("Map", "keras.src.ops.core"), "keras.src.ops.core.Map", id="operation that takes a function"
        ),
        pytest.param(
            {**part("Dense"), "registered_name": "mine>Dense"}, "keras.layers.Dense", id="registered name"
        ),
        pytest.param({**part("Dense"), "module": None}, "which module", id="no module"),
        pytest.param({"class_name": "Dense", "config": {}}, "which module", id="config of Keras 2"),
        pytest.param(part("__typespec__"), "__typespec__", id="type specification"),
        pytest.param(
            {**part("Dense"), "class_name": ["Dense"]}, "['Dense']", id="class name that is no text"
        ),
        pytest.param(
            dense(
                activation={
                    "module": "builtins",
                    "class_name": "function",
                    "config": "eval",
                    "registered_name": "eval",
                }
            ),
            "builtins.eval",
            id="built-in function",
        ),
        pytest.param(
            dense(
                activation={
                    "module": "os",
                    "class_name": "function",
                    "config": "relu",
                    "registered_name": "system",
                }
            ),
            "os.relu",
            id="function of another module",
        ),
    ],
)
def test_a_part_that_could_carry_code_is_refused_with_its_place(layer: object, place: str) -> None:
    with pytest.raises(UnsafeModel) as caught:
        check(sequential(dense(), layer))
    assert place in caught.value.message


def test_a_function_of_keras_passes() -> None:
    function = {"module": "builtins", "class_name": "function", "config": "gelu", "registered_name": "gelu"}
    check(sequential(dense(activation=function)))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("", InvalidModel, id="empty"),
        pytest.param("{", InvalidModel, id="no JSON"),
        pytest.param("[]", InvalidModel, id="list"),
        pytest.param('{"class_name": "Dense"}', InvalidModel, id="layer alone"),
        pytest.param('{"class_name": ["Model"]}', InvalidModel, id="class name that is no text"),
        pytest.param('{"x": ' + "9" * 5000 + "}", InvalidModel, id="endless number"),
        pytest.param("[" * 100_000, TooLarge, id="endless nesting"),
        pytest.param(" " * (MAX_BYTES + 1), TooLarge, id="endless text"),
        pytest.param(json.dumps(sequential(*[{}] * 1000, *[dense()] * 1001)), TooLarge, id="endless layers"),
        pytest.param(
            json.dumps(sequential({"x": json.loads("[" * 70 + "]" * 70)})), TooLarge, id="deep nesting"
        ),
        pytest.param(
            json.dumps(sequential(dense(bias=part("DTypePolicy", "keras", name="mixed_float16")))),
            InvalidModel,
            id="half precision",
        ),
    ],
)
def test_what_is_no_model_of_a_sane_size_is_refused(text: str, error: type[LeptonError]) -> None:
    with pytest.raises(error):
        check_config(text)


def test_the_numpy_parts_load_no_tensorflow() -> None:
    modules = "schema transform transform_onnx shards manifest reading keras_config examples recipe signature"
    program = f"import sys; import lepton_learn.{', lepton_learn.'.join(modules.split())}; " + (
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

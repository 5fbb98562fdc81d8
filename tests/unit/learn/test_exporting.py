"""An exported graph takes raw records and answers as the Keras model does, within 1e-4."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from lepton_common.errors import InvalidModel, UnsafeModel
from lepton_learn.artifact import MODEL, artifact_files, load_artifact
from lepton_learn.evaluation import report
from lepton_learn.examples import Examples
from lepton_learn.exporting import export_onnx
from lepton_learn.families import build_model
from lepton_learn.loop import seed_everything, train
from lepton_learn.manifest import Split
from lepton_learn.recipe import Architecture, Cnn, KerasConfig, Mlp, Recipe, ResNet, TwoTower, WideAndDeep
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.signature import signature
from lepton_learn.task import task_of
from lepton_learn.transform import FittedTransform

layers = keras.layers

# Keras 3.15 asks TensorFlow's variables for their values in a way that numpy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


@pytest.fixture(scope="module")
def trained_digits(digits: Any) -> keras.Model:
    """The default cnn after one epoch: batch-norm statistics that are not the initial ones."""
    return trained(digits, Cnn())


class Silent:
    stop_requested = False

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None: ...

    def metric(self, name: str, step: int, value: float) -> None: ...

    def flush(self) -> None: ...


def trained(data: Any, architecture: Architecture) -> keras.Model:
    seed_everything(0)
    scale = data[Split.TRAIN].label_scale
    model = build_model(architecture, data.transform, label_scale=scale)
    train(
        model,
        task_of(model, data.transform, label_scale=scale),
        recipe=Recipe(architecture=architecture, max_epochs=1),
        training=data[Split.TRAIN],
        validation=data[Split.VALIDATION],
        observer=Silent(),
    )
    return model


def ask_onnx(exported: bytes, transform: FittedTransform, raw: Batch) -> np.ndarray:
    """Ask by the signature, as a client does."""
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    told = signature(transform)
    element = {
        "FP32": "tensor(float)",
        "INT64": "tensor(int64)",
        "BYTES": "tensor(string)",
        "UINT8": "tensor(uint8)",
    }
    assert [(one.name, one.type, one.shape) for one in session.get_inputs()] == [
        (one["name"], element[one["datatype"]], ["batch", *one["shape"][1:]]) for one in told["inputs"]
    ]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [
        (one["name"], ["batch", *one["shape"][1:]]) for one in told["outputs"]
    ]
    feeds = {one["name"]: raw[one["name"]].reshape(-1, *one["shape"][1:]) for one in told["inputs"]}
    answer: np.ndarray = session.run(None, feeds)[0]
    return answer


def ask_keras(model: keras.Model, transform: FittedTransform, raw: Batch) -> np.ndarray:
    task = task_of(model, transform, label_scale=None)
    return np.asarray(task.answers(model(transform.inputs(raw), training=False)))


@pytest.mark.parametrize("records", [1, 2, 179])
def test_a_trained_cnn_answers_alike_in_onnx(digits: Any, trained_digits: keras.Model, records: int) -> None:
    raw = digits.first(records).raw[Split.TEST]
    answers = ask_onnx(export_onnx(trained_digits, digits.transform), digits.transform, raw)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, ask_keras(trained_digits, digits.transform, raw), rtol=0, atol=1e-4)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "architecture",
    [ResNet(depth=8, filters=4), ResNet(images="large", depth=50, filters=2)],
    ids=["a resnet for small images", "a resnet for large images"],
)
def test_a_family_for_images_answers_alike_in_onnx_and_from_its_file(
    digits: Any, architecture: Architecture, tmp_path: Path
) -> None:
    data = digits.first(120)
    model = trained(data, architecture)
    raw = data.raw[Split.TEST]
    expected = ask_keras(model, data.transform, raw)
    for path, content in artifact_files(model, data.transform, history=()).items():
        (tmp_path / path).write_bytes(content)
    again, transform = load_artifact(tmp_path)
    np.testing.assert_array_equal(ask_keras(again, transform, raw), expected)
    answers = ask_onnx(export_onnx(again, transform), transform, raw)
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-4)


def test_an_exported_graph_is_clean(digits: Any, trained_digits: keras.Model) -> None:
    exported = onnx.load_from_string(export_onnx(trained_digits, digits.transform))
    onnx.checker.check_model(exported, full_check=True)
    assert [(opset.domain, opset.version) for opset in exported.opset_import] == [("", 18)]
    assert not exported.graph.value_info


def test_a_model_that_onnx_has_no_form_for_is_refused(digits: Any) -> None:
    inputs = keras.Input((8, 8, 1))
    outputs = layers.Dense(10)(keras.ops.erfinv(layers.Flatten()(inputs)))
    with pytest.raises(InvalidModel, match="cannot be exported to ONNX"):
        export_onnx(keras.Model(inputs, outputs), digits.transform)


CONFIGS = [
    pytest.param(lambda: [layers.Flatten(), layers.Dense(10)], id="logits"),
    pytest.param(lambda: [layers.Flatten(), layers.Dense(10, "softmax")], id="softmax"),
    pytest.param(lambda: [layers.Flatten(), layers.Dense(10), layers.Softmax()], id="softmax layer"),
    pytest.param(
        lambda: [
            layers.Conv2D(6, 3, padding="same", strides=2, activation="gelu"),
            layers.DepthwiseConv2D(3),
            layers.LayerNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(10, "softmax"),
        ],
        id="convolutions",
    ),
    pytest.param(
        lambda: [layers.Reshape((8, 8)), layers.LSTM(5), layers.Dense(10, "softmax")], id="recurrent"
    ),
]


@pytest.mark.parametrize("parts", CONFIGS)
def test_a_keras_config_answers_alike_in_onnx(digits: Any, parts: Callable[[], list[Any]]) -> None:
    recipe = KerasConfig(keras.Sequential([keras.Input((8, 8, 1)), *parts()]).to_json())
    model = build_model(recipe, digits.transform, label_scale=None)
    raw = digits.first(20).raw[Split.TEST]
    answers = ask_onnx(export_onnx(model, digits.transform), digits.transform, raw)
    np.testing.assert_allclose(answers, ask_keras(model, digits.transform, raw), rtol=0, atol=1e-4)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("transform", [Transform.IDENTITY, Transform.STANDARDIZE, Transform.NORMALIZE])
def test_a_regression_answers_in_the_unit_of_its_label(
    diabetes: Callable[[Transform], Any], transform: Transform
) -> None:
    data = diabetes(transform)
    model = trained(data, Mlp())
    raw = data.raw[Split.TEST]
    answers = ask_onnx(export_onnx(model, data.transform), data.transform, raw)
    expected = ask_keras(model, data.transform, raw)
    assert answers.shape == (len(raw["progression"]), 1)
    np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-4)
    # One epoch is enough to tell the magnitude: patients have 25 to 346, 152 on average.
    assert 50 < answers.mean() < 250


@pytest.fixture(scope="module")
def mixed() -> tuple[FittedTransform, Batch]:
    """A column of every type with names that could collide with those of a graph."""
    random, count = np.random.default_rng(0), 64
    columns = (
        Column(name="inputs", type=ColumnType.NUMBER, transform=Transform.STANDARDIZE),
        Column(name="features", type=ColumnType.INTEGER, transform=Transform.ONE_HOT),
        Column(name="transform", type=ColumnType.CATEGORY, transform=Transform.ONE_HOT),
        Column(name="x.y-z", type=ColumnType.CATEGORY, transform=Transform.INDEX),
        Column(name="model", type=ColumnType.IMAGE, transform=Transform.STANDARDIZE, shape=(4, 4, 3)),
        Column(name="sound", type=ColumnType.TENSOR, transform=Transform.NORMALIZE, shape=(2, 3)),
        Column(name="label", type=ColumnType.CATEGORY, transform=Transform.INDEX),
    )
    texts = np.array(["a", "bé", "c d"], object)
    records: Batch = {
        "inputs": random.normal(size=count).astype(np.float32),
        "features": random.integers(0, 4, count),
        "transform": texts[random.integers(0, 3, count)],
        "x.y-z": texts[random.integers(0, 3, count)],
        "model": random.integers(0, 256, (count, 4, 4, 3)).astype(np.uint8),
        "sound": random.normal(size=(count, 2, 3)).astype(np.float32),
        "label": texts[random.integers(0, 3, count)],
    }
    return FittedTransform.fit(Schema(columns, "label"), [records]), records


CROSSES = (("features", "transform"), ("x.y-z", "transform"), ("transform", "x.y-z"), ("features", "x.y-z"))


@pytest.mark.parametrize(
    "architecture",
    [Mlp(hidden_units=(8,), activation="tanh"), WideAndDeep(crosses=CROSSES, hidden_units=(8,)), TwoTower()],
    ids=lambda architecture: architecture.family,
)
def test_a_table_of_every_column_type_answers_alike_in_onnx_and_from_its_file(
    mixed: tuple[FittedTransform, Batch], architecture: Architecture, tmp_path: Path
) -> None:
    transform, raw = mixed
    model = build_model(architecture, transform, label_scale=None)
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=weight.shape) for weight in model.weights])
    expected = ask_keras(model, transform, raw)
    for path, content in artifact_files(model, transform, history=()).items():
        (tmp_path / path).write_bytes(content)
    again, transform = load_artifact(tmp_path)
    np.testing.assert_array_equal(ask_keras(again, transform, raw), expected)
    foreign = {**raw, "transform": np.array(["new"] * 64, object), "x.y-z": np.array(["new"] * 64, object)}
    exported = export_onnx(again, transform)
    for records in (raw, foreign):
        answers = ask_onnx(exported, transform, records)
        np.testing.assert_allclose(answers, ask_keras(model, transform, records), rtol=0, atol=1e-4)


def test_the_files_of_a_model_give_it_back(digits: Any, trained_digits: keras.Model, tmp_path: Path) -> None:
    history = ({"loss": 1.0, "validation_loss": 2.0},)
    files = artifact_files(trained_digits, digits.transform, history=history)
    assert set(files) == {"model.keras", "transform.json", "history.json"}
    assert json.loads(files["history.json"]) == list(history)
    for path, data in files.items():
        (tmp_path / path).write_bytes(data)
    model, transform = load_artifact(tmp_path)
    assert transform == digits.transform
    raw = digits.raw[Split.TEST]
    np.testing.assert_array_equal(ask_keras(model, transform, raw), ask_keras(trained_digits, transform, raw))
    task = task_of(model, transform, label_scale=None)
    document = report(model, task, Examples(transform, raw), classes=transform.classes, slices={})
    assert [each["name"] for each in document["classes"]] == [str(digit) for digit in range(10)]


def test_a_regression_is_given_back_too(diabetes: Callable[[Transform], Any], tmp_path: Path) -> None:
    data = diabetes(Transform.IDENTITY)
    model = trained(data, Mlp())
    for path, content in artifact_files(model, data.transform, history=()).items():
        (tmp_path / path).write_bytes(content)
    again, transform = load_artifact(tmp_path)
    raw = data.raw[Split.TEST]
    np.testing.assert_array_equal(ask_keras(again, transform, raw), ask_keras(model, data.transform, raw))


def test_a_model_file_with_a_lambda_is_refused(digits: Any, tmp_path: Path) -> None:
    evil = keras.Sequential([keras.Input((8, 8, 1)), layers.Lambda(lambda x: x), layers.Flatten()])
    evil.save(tmp_path / MODEL)
    (tmp_path / "transform.json").write_bytes(digits.transform.to_json())
    with pytest.raises(UnsafeModel, match="Lambda"):
        load_artifact(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:-200], id="truncated"),
        pytest.param(lambda data: b"pickle", id="something else"),
    ],
)
def test_a_damaged_model_file_is_refused(
    digits: Any, trained_digits: keras.Model, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    for path, data in artifact_files(trained_digits, digits.transform, history=()).items():
        (tmp_path / path).write_bytes(damage(data) if path == MODEL else data)
    with pytest.raises(InvalidModel):
        load_artifact(tmp_path)


def test_weights_of_another_model_are_refused(
    digits: Any, trained_digits: keras.Model, tmp_path: Path
) -> None:
    other = build_model(Cnn(filters=(3,)), digits.transform, label_scale=None)
    ours = artifact_files(trained_digits, digits.transform, history=())
    theirs = artifact_files(other, digits.transform, history=())
    for path, data in {**ours, "their.keras": theirs[MODEL]}.items():
        (tmp_path / path).write_bytes(data)
    with zipfile.ZipFile(tmp_path / "their.keras") as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(tmp_path / MODEL) as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile(tmp_path / MODEL, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
    with pytest.raises(InvalidModel):
        load_artifact(tmp_path)

"""A transform is fitted once, exactly, and computes the same in numpy and in ONNX Runtime."""

import json
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest

from lepton_common.errors import SchemaViolation
from lepton_learn.moments import Affine
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.signature import signature
from lepton_learn.transform import FittedTransform
from lepton_learn.transform_onnx import transform_graph

LABEL = Column(name="label", type=ColumnType.CATEGORY, transform=Transform.INDEX)
SHAPES = {ColumnType.IMAGE: (6, 5, 3), ColumnType.TENSOR: (4, 2)}
SCALED = [Transform.IDENTITY, Transform.NORMALIZE, Transform.STANDARDIZE]
CODED = [Transform.ONE_HOT, Transform.INDEX]
KINDS = [
    *(
        (kind, transform)
        for kind in (ColumnType.NUMBER, ColumnType.IMAGE, ColumnType.TENSOR)
        for transform in SCALED
    ),
    *((ColumnType.INTEGER, transform) for transform in SCALED + CODED),
    *((ColumnType.CATEGORY, transform) for transform in CODED),
]


def column(kind: ColumnType, transform: Transform, name: str = "x") -> Column:
    return Column(name=name, type=kind, transform=transform, shape=SHAPES.get(kind, ()))


def values(kind: ColumnType, count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    if kind is ColumnType.CATEGORY:
        return np.array(["", "Zürich", "日本", "a b"], object)[random.integers(0, 4, count)]
    if kind is ColumnType.INTEGER:
        return random.integers(-5, 20, count) + 10**12
    if kind is ColumnType.IMAGE:
        return random.integers(0, 256, (count, *SHAPES[kind])).astype(np.uint8)
    return (random.normal(size=(count, *SHAPES.get(kind, ()))) * 30 + 1000).astype(np.float32)


def records(schema: Schema, count: int, seed: int = 0) -> Batch:
    return {one.name: values(one.type, count, seed + place) for place, one in enumerate(schema.columns)}


def fitted(*columns: Column, count: int = 500) -> FittedTransform:
    schema = Schema((*columns, LABEL), "label")
    return FittedTransform.fit(schema, [records(schema, count)])


def in_onnx(transform: FittedTransform, batch: Batch) -> np.ndarray:
    model = transform_graph(transform)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    raw = {
        one.name: batch[one.name].reshape(len(batch[one.name]), *(one.shape or (1,)))
        for one in transform.schema.features
    }
    output: np.ndarray = session.run(None, raw)[0]
    return output


@pytest.mark.parametrize(("kind", "transform"), KINDS)
def test_onnx_computes_what_numpy_computes(kind: ColumnType, transform: Transform) -> None:
    trained = fitted(column(kind, transform))
    batch = records(trained.schema, 300, seed=7)
    expected = trained.inputs(batch)
    assert expected.dtype == np.float32
    assert expected.shape == (300, *trained.input_shape)
    np.testing.assert_allclose(in_onnx(trained, batch), expected, rtol=0, atol=1e-6)


def test_onnx_joins_all_columns_as_numpy_does() -> None:
    trained = fitted(*(column(kind, transform, f"{kind}_{transform}") for kind, transform in KINDS))
    batch = records(trained.schema, 50, seed=3)
    np.testing.assert_allclose(in_onnx(trained, batch), trained.inputs(batch), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "transform"), [one for one in KINDS if one[1] in CODED])
def test_an_unknown_value_is_all_zero_or_the_place_after_the_last(
    kind: ColumnType, transform: Transform
) -> None:
    trained = fitted(column(kind, transform))
    unknown = np.array([777]) if kind is ColumnType.INTEGER else np.array(["nowhere"], object)
    known = len(set(values(kind, 500).tolist()))
    expected = np.zeros((1, known)) if transform is Transform.ONE_HOT else np.array([[known]])
    np.testing.assert_array_equal(trained.inputs({"x": unknown}), expected)
    np.testing.assert_array_equal(in_onnx(trained, {"x": unknown}), expected)


@pytest.mark.parametrize("kind", [ColumnType.NUMBER, ColumnType.INTEGER, ColumnType.TENSOR])
def test_standardised_columns_have_mean_zero_and_deviation_one(kind: ColumnType) -> None:
    trained = fitted(column(kind, Transform.STANDARDIZE))
    scaled = trained.inputs(records(trained.schema, 500)).astype(np.float64)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize("kind", [ColumnType.NUMBER, ColumnType.INTEGER, ColumnType.TENSOR])
def test_normalised_columns_reach_from_zero_to_one(kind: ColumnType) -> None:
    trained = fitted(column(kind, Transform.NORMALIZE))
    scaled = trained.inputs(records(trained.schema, 500))
    np.testing.assert_allclose(scaled.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.max(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("kind", [ColumnType.NUMBER, ColumnType.INTEGER, ColumnType.IMAGE, ColumnType.TENSOR])
@pytest.mark.parametrize("transform", SCALED)
def test_a_column_that_does_not_vary_keeps_its_scale(kind: ColumnType, transform: Transform) -> None:
    schema = Schema((column(kind, transform), LABEL), "label")
    constant = np.repeat(values(kind, 1)[:, ...], 9, axis=0)
    constant[...] = constant.flat[0]
    trained = FittedTransform.fit(schema, [{"x": constant, "label": values(ColumnType.CATEGORY, 9)}])
    scaled = trained.inputs({"x": constant})
    assert np.isfinite(scaled).all()
    if transform is Transform.STANDARDIZE:
        assert not scaled.any()


def batches(whole: Batch, size: int) -> Iterator[Batch]:
    for start in range(0, len(whole["label"]), size):
        yield {name: column[start : start + size] for name, column in whole.items()}


@pytest.mark.parametrize("kind", [ColumnType.NUMBER, ColumnType.INTEGER, ColumnType.TENSOR])
def test_moments_do_not_lose_digits_in_batches(kind: ColumnType) -> None:
    schema = Schema((column(kind, Transform.STANDARDIZE), LABEL), "label")
    whole = records(schema, 5000)
    affine = FittedTransform.fit(schema, batches(whole, 7)).fitted["x"]
    assert isinstance(affine, Affine)
    first = whole["x"][0].astype(np.float64)
    exact = whole["x"].astype(np.float64) - first
    np.testing.assert_allclose(affine.offset, exact.mean(axis=0) + first, rtol=1e-15)
    np.testing.assert_allclose(1 / affine.scale, exact.std(axis=0), rtol=1e-12)


def test_the_moments_of_images_are_exact_by_channel_however_they_are_batched() -> None:
    schema = Schema((column(ColumnType.IMAGE, Transform.STANDARDIZE), LABEL), "label")
    whole = records(schema, 300)
    one, many = (FittedTransform.fit(schema, batches(whole, size)) for size in (300, 7))
    assert one == many
    affine = one.fitted["x"]
    assert isinstance(affine, Affine)
    pixels = whole["x"].reshape(-1, 3).astype(object)
    np.testing.assert_array_equal(affine.offset, [float(sum(channel) / len(channel)) for channel in pixels.T])


def test_images_are_divided_by_255() -> None:
    trained = fitted(column(ColumnType.IMAGE, Transform.NORMALIZE))
    batch = records(trained.schema, 4)
    np.testing.assert_allclose(trained.inputs(batch), batch["x"] / 255, atol=1e-7)


def test_a_transform_survives_json_to_the_last_bit() -> None:
    trained = fitted(*(column(kind, transform, f"{kind}_{transform}") for kind, transform in KINDS))
    again = FittedTransform.from_json(trained.to_json())
    assert again == trained
    assert again.to_json() == trained.to_json()
    batch = records(trained.schema, 20, seed=5)
    np.testing.assert_array_equal(again.inputs(batch), trained.inputs(batch))
    assert json.loads(trained.to_json())["schema"]["label"] == "label"


def label_only(kind: ColumnType, transform: Transform, **facts: tuple[str, ...]) -> Schema:
    label = Column(name="label", type=kind, transform=transform, **facts)  # type: ignore[arg-type]
    return Schema((column(ColumnType.NUMBER, Transform.IDENTITY), label), "label")


def with_labels(labels: np.ndarray) -> Batch:
    return {"x": np.zeros(len(labels), np.float32), "label": labels}


@pytest.mark.parametrize(
    ("schema", "labels", "classes", "places"),
    [
        pytest.param(
            label_only(ColumnType.INTEGER, Transform.INDEX),
            np.array([10, 9, 10, -1]),
            ("-1", "9", "10"),
            [2, 1, 2, 0],
            id="integers by size",
        ),
        pytest.param(
            label_only(ColumnType.CATEGORY, Transform.INDEX),
            np.array(["dog", "cat"], object),
            ("cat", "dog"),
            [1, 0],
            id="texts by letter",
        ),
        pytest.param(
            label_only(ColumnType.CATEGORY, Transform.INDEX, values=("dog", "ant", "cat")),
            np.array(["dog", "cat"], object),
            ("ant", "cat", "dog"),
            [2, 1],
            id="declared values",
        ),
    ],
)
def test_classes_are_the_sorted_labels(
    schema: Schema, labels: np.ndarray, classes: tuple[str, ...], places: list[int]
) -> None:
    trained = FittedTransform.fit(schema, [with_labels(labels)])
    assert trained.classes == classes
    np.testing.assert_array_equal(trained.labels(with_labels(labels)), places)


def test_an_unknown_label_is_refused() -> None:
    trained = FittedTransform.fit(
        label_only(ColumnType.CATEGORY, Transform.INDEX), [with_labels(np.array(["cat"], object))]
    )
    with pytest.raises(SchemaViolation, match="'dog' is not one of the labels"):
        trained.labels(with_labels(np.array(["cat", "dog"], object)))


@pytest.mark.parametrize("transform", SCALED)
def test_a_quantity_has_no_classes_and_its_transform_can_be_undone(transform: Transform) -> None:
    labels = np.array([100.0, 250.0, 175.0], np.float32)
    trained = FittedTransform.fit(label_only(ColumnType.NUMBER, transform), [with_labels(labels)])
    assert trained.classes == ()
    learnt = trained.labels(with_labels(labels))
    assert learnt.dtype == np.float32
    affine = trained.fitted["label"]
    assert isinstance(affine, Affine)
    np.testing.assert_allclose(affine.revert(learnt), labels, rtol=1e-6)


def test_no_records_are_refused() -> None:
    with pytest.raises(SchemaViolation):
        FittedTransform.fit(label_only(ColumnType.NUMBER, Transform.IDENTITY), [])


def test_the_signature_tells_raw_inputs() -> None:
    trained = fitted(
        column(ColumnType.NUMBER, Transform.STANDARDIZE, "age"),
        column(ColumnType.INTEGER, Transform.ONE_HOT, "rooms"),
        column(ColumnType.CATEGORY, Transform.ONE_HOT, "city"),
        column(ColumnType.IMAGE, Transform.NORMALIZE, "photo"),
        column(ColumnType.TENSOR, Transform.IDENTITY, "sound"),
    )
    told = signature(trained)
    assert [(one["name"], one["datatype"], one["shape"]) for one in told["inputs"]] == [
        ("age", "FP32", [-1, 1]),
        ("rooms", "INT64", [-1, 1]),
        ("city", "BYTES", [-1, 1]),
        ("photo", "UINT8", [-1, 6, 5, 3]),
        ("sound", "FP32", [-1, 4, 2]),
    ]
    assert told["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 4]}]
    assert told["classes"] == list(trained.classes)

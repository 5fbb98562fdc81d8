"""A wide and deep model looks at columns as the paper says, and learns from a real census."""

import itertools
from typing import Any

import keras
import numpy as np
import pytest

from lepton_common.errors import InvalidModel
from lepton_learn.evaluation import Evaluator, report
from lepton_learn.examples import LabelScale
from lepton_learn.families import build_model
from lepton_learn.loop import seed_everything, train
from lepton_learn.manifest import Split
from lepton_learn.recipe import Optimizer, Recipe, WideAndDeep
from lepton_learn.schema import Batch, Column, ColumnType, Schema, Transform
from lepton_learn.task import task_of
from lepton_learn.transform import FittedTransform

# Keras 3.15 asks TensorFlow's variables for their values in a way that numpy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

CITIES, PLANS = ("Bergen", "Oslo", "Tromsø"), ("basic", "family")
ONE_HOT, INDEX = Transform.ONE_HOT, Transform.INDEX


def customers(city: Transform, plan: Transform) -> tuple[FittedTransform, Batch]:
    """Every pair of a city and a plan, with a number, to learn a label of two classes from."""
    columns = (
        Column(name="age", type=ColumnType.NUMBER, transform=Transform.IDENTITY),
        Column(name="city", type=ColumnType.CATEGORY, transform=city),
        Column(name="plan/kind", type=ColumnType.CATEGORY, transform=plan),
        Column(name="label", type=ColumnType.CATEGORY, transform=INDEX),
    )
    pairs = list(itertools.product(CITIES, PLANS))
    records: Batch = {
        "age": np.arange(len(pairs), dtype=np.float32),
        "city": np.array([city for city, _ in pairs], object),
        "plan/kind": np.array([plan for _, plan in pairs], object),
        "label": np.array(["no", "yes"] * 3, object),
    }
    return FittedTransform.fit(Schema(columns, "label"), [records]), records


def silence(model: keras.Model, *, but: str) -> None:
    """Set all weights to zero, but those of the layers whose names begin so, which become 1, 2, 3 and on."""
    for layer in model.layers:
        for weight in layer.weights:
            numbers = np.arange(1, weight.numpy().size + 1).reshape(weight.shape)
            weight.assign(numbers if layer.name.startswith(but) else np.zeros(weight.shape))


@pytest.mark.parametrize(
    ("city", "plan"),
    list(itertools.product((ONE_HOT, INDEX), repeat=2)),
    ids=lambda transform: transform.value,
)
def test_a_cross_has_a_weight_of_its_own_for_each_pair_of_values(city: Transform, plan: Transform) -> None:
    transform, records = customers(city, plan)
    recipe = WideAndDeep(crosses=(("city", "plan/kind"),), hidden_units=(4,))
    model = build_model(recipe, transform, label_scale=None)
    silence(model, but="cross_0")
    told = model(transform.inputs(records)).numpy()
    assert len({tuple(logits) for logits in told}) == 6
    assert (told > 0).all()
    # The number counts for nothing here, and with it changed nothing else changes.
    again = {**records, "age": records["age"] + 100}
    np.testing.assert_array_equal(model(transform.inputs(again)).numpy(), told)


@pytest.mark.parametrize("coding", [ONE_HOT, INDEX], ids=lambda transform: transform.value)
def test_a_pair_that_nobody_has_seen_counts_nothing_in_the_linear_model(coding: Transform) -> None:
    transform, records = customers(coding, coding)
    recipe = WideAndDeep(crosses=(("city", "plan/kind"),))
    model = build_model(recipe, transform, label_scale=None)
    silence(model, but="nothing")
    model.get_layer("cross_0").set_weights([np.ones(w.shape) for w in model.get_layer("cross_0").weights])
    if coding is INDEX:
        # The rows of pairs with an unknown value, which training never reaches.
        table = np.ones((4, 3, 2))
        table[3] = table[:, 2] = 0
        model.get_layer("cross_0").set_weights([table.reshape(12, 2)])
    foreign = {**records, "city": np.array(["Paris"] * 6, object)}
    np.testing.assert_array_equal(model(transform.inputs(foreign)).numpy(), np.zeros((6, 2)))


def test_the_linear_model_sees_numbers_and_values_each_by_a_weight() -> None:
    transform, records = customers(ONE_HOT, INDEX)
    model = build_model(WideAndDeep(), transform, label_scale=None)
    silence(model, but="wide")
    columns, plan = model.get_layer("wide").get_weights()[0], model.get_layer("wide_2").get_weights()[0]
    for record, told in enumerate(model(transform.inputs(records)).numpy()):
        city, kind = divmod(record, 2)
        np.testing.assert_allclose(told, record * columns[0] + columns[1 + city] + plan[kind], rtol=1e-6)


def test_the_network_learns_an_embedding_for_each_value() -> None:
    transform, _ = customers(ONE_HOT, INDEX)
    model = build_model(WideAndDeep(embedding_size=5, hidden_units=(7,)), transform, label_scale=None)
    assert model.get_layer("embedding_1").get_weights()[0].shape == (3, 5)
    # One more for values that are not known.
    assert model.get_layer("embedding_2").get_weights()[0].shape == (3, 5)
    assert model.get_layer("dense_0").get_weights()[0].shape == (1 + 5 + 5, 7)


def test_large_places_are_told_apart_whatever_is_computed_in() -> None:
    values = tuple(range(1000))
    columns = (
        Column(name="item", type=ColumnType.INTEGER, transform=INDEX),
        Column(name="price", type=ColumnType.NUMBER, transform=Transform.IDENTITY),
    )
    records: Batch = {"item": np.array(values), "price": np.array(values, np.float32)}
    transform = FittedTransform.fit(Schema(columns, "price"), [records])
    model = build_model(WideAndDeep(), transform, label_scale=LabelScale(0.0, 1.0), precision="bfloat16")
    silence(model, but="nothing")
    # In bfloat16 there are no odd numbers from 256 on.
    model.get_layer("wide_0").set_weights([np.arange(1001)[:, np.newaxis] % 2])
    told = model(transform.inputs(records)).numpy().ravel()
    np.testing.assert_array_equal(told, records["item"] % 2)


@pytest.mark.parametrize(
    ("cross", "words"),
    [
        (("city", "age"), "'age' cannot be crossed: .* they are: city, plan/kind"),
        (("country", "city"), "'country' cannot be crossed"),
    ],
    ids=["a number", "no column"],
)
def test_what_cannot_be_crossed_is_told(cross: tuple[str, str], words: str) -> None:
    transform, _ = customers(ONE_HOT, INDEX)
    with pytest.raises(InvalidModel, match=words):
        build_model(WideAndDeep(crosses=(cross,)), transform, label_scale=None)


def test_a_cross_of_too_many_pairs_is_refused() -> None:
    columns = [Column(name=name, type=ColumnType.INTEGER, transform=INDEX) for name in ("a", "b", "label")]
    records: Batch = {name: np.arange(1001) for name in ("a", "b")} | {"label": np.arange(1001) % 2}
    transform = FittedTransform.fit(Schema(tuple(columns), "label"), [records])
    with pytest.raises(InvalidModel, match="'a' and 'b' have 1001 x 1001 pairs"):
        build_model(WideAndDeep(crosses=(("a", "b"),)), transform, label_scale=None)


def test_a_census_tells_who_earns_much(adult: Any, recorder: Any) -> None:
    recipe = Recipe(
        architecture=WideAndDeep(
            crosses=(("education", "occupation"), ("marital-status", "relationship")), hidden_units=(64, 32)
        ),
        optimizer=Optimizer(learning_rate=0.003),
        batch_size=128,
        max_epochs=4,
    )
    seed_everything(0)
    model = build_model(recipe.architecture, adult.transform, label_scale=None)
    task = task_of(model, adult.transform, label_scale=None)
    train(
        model,
        task,
        recipe=recipe,
        training=adult[Split.TRAIN],
        validation=adult[Split.VALIDATION],
        observer=recorder,
    )
    told = report(model, task, adult[Split.TEST], classes=adult.transform.classes, slices={})
    # Three of four earn less.
    assert told["figures"]["accuracy"] > 0.82
    assert told["figures"]["roc_auc"] > 0.87


def test_a_quantity_is_learned_in_its_own_unit(diabetes: Any, recorder: Any) -> None:
    data = diabetes(Transform.IDENTITY)
    recipe = Recipe(
        architecture=WideAndDeep(hidden_units=(16,)),
        optimizer=Optimizer(learning_rate=0.01),
        batch_size=32,
        max_epochs=10,
    )
    seed_everything(0)
    scale = data[Split.TRAIN].label_scale
    model = build_model(recipe.architecture, data.transform, label_scale=scale)
    task = task_of(model, data.transform, label_scale=scale)
    train(
        model,
        task,
        recipe=recipe,
        training=data[Split.TRAIN],
        validation=data[Split.VALIDATION],
        observer=recorder,
    )
    assert Evaluator(model, task).measure(data[Split.TEST])["r2"] > 0.3

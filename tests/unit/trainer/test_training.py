"""Which trainings are refused before a worker is started, and with which words."""

import json
from dataclasses import replace

import pytest

from lepton_common.errors import InvalidField, InvalidModel, LeptonError, UnsafeModel, WrongState
from lepton_learn.recipe import (
    Augmentation,
    Cnn,
    KerasConfig,
    Mlp,
    Optimizer,
    Recipe,
    ResNet,
    Tcn,
    TwoTower,
    WideAndDeep,
)
from lepton_trainer.training import Column, DatasetVersion, check

IMAGE = Column(name="image", type="image", shape=(8, 8, 1))
LABEL = Column(name="digit", type="integer")
AGE = Column(name="age", type="number")
WAVE = Column(name="wave", type="tensor", shape=(32,))
VOLUME = Column(name="volume", type="tensor", shape=(8, 8, 3))

DIGITS = DatasetVersion(
    name="datasets/digits/versions/1",
    state="SUCCEEDED",
    columns=(IMAGE, LABEL),
    label="digit",
    training_records=1437,
    manifest="datasets/digits/manifests/ab12",
    digest="ab12",
)
AGES = replace(DIGITS, columns=(WAVE, AGE), label="age")
DEMAND = replace(
    DIGITS,
    name="datasets/demand/versions/1",
    columns=(
        Column(name="history", type="tensor", shape=(48, 1)),
        Column(name="demand", type="tensor", shape=(24,)),
    ),
    label="demand",
    forecasts=True,
)
CUSTOMERS = replace(
    DIGITS,
    columns=(
        Column(name="city", type="category", transform="one_hot"),
        Column(name="plan", type="integer", transform="index"),
        Column(name="age", type="integer", transform="standardize"),
        Column(name="label", type="category", transform="index"),
    ),
    label="label",
)
PEOPLE = replace(
    AGES, columns=(AGE, Column(name="sex", type="category"), Column(name="year", type="integer"), WAVE)
)
MLP, CNN, TCN = (Recipe(architecture=architecture) for architecture in (Mlp(), Cnn(), Tcn()))


def keras(layer: str, module: str = "keras.layers") -> Recipe:
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": {"layers": [{"module": module, "class_name": layer, "config": {"name": "only"}}]},
    }
    return Recipe(architecture=KerasConfig(json.dumps(config)))


def crossed(*names: str) -> Recipe:
    return Recipe(architecture=WideAndDeep(crosses=(names,) if names else ()))


@pytest.mark.parametrize(
    ("recipe", "dataset"),
    [
        (MLP, DIGITS),
        (CNN, DIGITS),
        (keras("Dense"), DIGITS),
        (CNN, replace(DIGITS, columns=(VOLUME, LABEL))),
        (Recipe(architecture=ResNet(depth=50)), DIGITS),
        (Recipe(architecture=ResNet(images="large", depth=50)), DIGITS),
        (MLP, replace(DIGITS, columns=(IMAGE, AGE, WAVE, LABEL))),
        (crossed("city", "plan"), CUSTOMERS),
        (crossed(), DIGITS),
        (Recipe(architecture=TwoTower()), CUSTOMERS),
        (MLP, AGES),
        (Recipe(architecture=Mlp(), optimizer=Optimizer(kind="sgd", momentum=0.9)), DIGITS),
        (TCN, DEMAND),
        (keras("Dense"), DEMAND),
        (replace(MLP, slice_columns=("sex", "year")), PEOPLE),
    ],
    ids=[
        "mlp",
        "cnn",
        "keras config",
        "cnn on a tensor of an image's shape",
        "resnet",
        "large resnet",
        "many features",
        "wide and deep",
        "wide and deep on an image",
        "two towers",
        "number",
        "sgd",
        "tcn",
        "keras config on series",
        "slices",
    ],
)
def test_what_can_be_trained_is_accepted(recipe: Recipe, dataset: DatasetVersion) -> None:
    check(recipe, dataset, workers=1)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("QUEUED", "is still being built"),
        ("RUNNING", "is still being built"),
        ("CANCELLING", "is being cancelled"),
        ("CANCELLED", "was cancelled"),
        ("FAILED", "could not be built"),
    ],
)
def test_only_a_dataset_version_that_was_built_is_accepted(state: str, words: str) -> None:
    with pytest.raises(WrongState, match=f"datasets/digits/versions/1 {words}"):
        check(MLP, replace(DIGITS, state=state), workers=1)


def test_a_version_without_training_records_is_refused() -> None:
    with pytest.raises(WrongState, match="no records in its training split"):
        check(MLP, replace(DIGITS, training_records=0), workers=1)


@pytest.mark.parametrize(
    ("recipe", "dataset", "field", "words"),
    [
        (CNN, replace(DIGITS, columns=(IMAGE, AGE, LABEL)), "cnn", "has 'image' .* 'age'"),
        (CNN, replace(DIGITS, columns=(WAVE, LABEL)), "cnn", r"'wave' \(tensor \[32\]\)"),
        (Recipe(architecture=ResNet()), AGES, "resnet", r"'wave' \(tensor \[32\]\)"),
        (Recipe(architecture=ResNet(depth=21)), DIGITS, "resnet.depth", "8, 14, 20, 26"),
        (
            Recipe(architecture=ResNet(images="large", depth=20)),
            DIGITS,
            "resnet.depth",
            "18, 34, 50, 101 or 152 for large",
        ),
        (
            crossed("city", "age"),
            CUSTOMERS,
            "wide_and_deep.crosses[0].columns",
            "'age' is not: city, plan can",
        ),
        (crossed("city", "label"), CUSTOMERS, "wide_and_deep.crosses[0].columns", "'label' is not"),
        (Recipe(architecture=TwoTower()), AGES, "two_tower", r"coded index; 'age' \(number\) is not"),
        (MLP, replace(DIGITS, label=""), "dataset_version", "must have a label"),
        (
            MLP,
            replace(DIGITS, label="image"),
            "dataset_version",
            "one of number, integer, category",
        ),
        (MLP, replace(DIGITS, columns=(LABEL,)), "dataset_version", "a column besides the label"),
        (
            Recipe(architecture=Mlp(), optimizer=Optimizer(kind="adam", momentum=0.9)),
            DIGITS,
            "optimizer.momentum",
            "for SGD alone",
        ),
        (replace(MLP, accumulation=65), DIGITS, "accumulation", "at most the batch_size, 64"),
        (replace(keras("Dense"), precision="bfloat16"), DIGITS, "precision", "by the Keras config itself"),
        (
            replace(MLP, class_weights={"7": 2.0}, balance_classes=True),
            DIGITS,
            "balance_classes",
            "goes without class_weights",
        ),
        (replace(MLP, class_weights={"7": 2.0}), AGES, "class_weights", "'age' is a number"),
        (replace(MLP, balance_classes=True), AGES, "balance_classes", "'age' is a number"),
        (
            replace(MLP, augmentation=Augmentation(flip=True)),
            replace(DIGITS, columns=(WAVE, LABEL)),
            "augmentation",
            "an image",
        ),
        (
            replace(MLP, slice_columns=("sex", "town")),
            PEOPLE,
            "slice_columns[1]",
            "versions/1, which has no 'town'",
        ),
        (replace(MLP, slice_columns=("age",)), PEOPLE, "slice_columns[0]", "another column than the label"),
        (
            replace(MLP, slice_columns=("wave",)),
            PEOPLE,
            "slice_columns[0]",
            r"of integer or category, not 'wave' \(tensor \[32\]\)",
        ),
    ],
    ids=[
        "two features",
        "a row",
        "a resnet on a row",
        "a resnet of another depth",
        "a large resnet of another depth",
        "a cross with a number",
        "a cross with the label",
        "two towers with a number",
        "no label",
        "image as label",
        "nothing but a label",
        "Adam's momentum",
        "more parts than records",
        "precision beside a config",
        "weights and balance",
        "weights of a number",
        "balance of a number",
        "a mirrored row",
        "slices by no column",
        "slices by the label",
        "slices by a row",
    ],
)
def test_what_does_not_fit_is_refused_by_field(
    recipe: Recipe, dataset: DatasetVersion, field: str, words: str
) -> None:
    with pytest.raises(InvalidField, match=words) as refused:
        check(recipe, dataset, workers=1)
    assert [violation.field for violation in refused.value.violations] == [f"training_job.spec.{field}"]


def test_more_workers_than_can_train_together_are_refused() -> None:
    with pytest.raises(InvalidField, match="workers: must be at most 4"):
        check(MLP, DIGITS, workers=5)


@pytest.mark.parametrize(
    ("recipe", "error"),
    [
        (keras("Lambda"), UnsafeModel),
        (keras("Dense", "os.path"), UnsafeModel),
        (Recipe(architecture=KerasConfig("[]")), InvalidModel),
    ],
    ids=["a lambda", "a foreign module", "no model"],
)
def test_a_keras_config_that_may_not_be_built_is_refused(recipe: Recipe, error: type[LeptonError]) -> None:
    with pytest.raises(error) as refused:
        check(recipe, DIGITS, workers=1)
    (violation,) = refused.value.violations
    assert violation.field == "training_job.spec.keras_config.json"


@pytest.mark.parametrize(
    ("recipe", "dataset", "field", "words"),
    [
        (TCN, DIGITS, "tcn", "datasets/digits/versions/1 has none: its schema needs a `series`"),
        (MLP, DEMAND, "mlp", "cannot forecast the time series of datasets/demand/versions/1: train a tcn"),
        (CNN, DEMAND, "cnn", "train a tcn on them"),
        (replace(TCN, balance_classes=True), DEMAND, "balance_classes", "is for classes"),
    ],
    ids=["no series", "mlp on series", "cnn on series", "classes of series"],
)
def test_forecasters_are_for_series_and_series_for_forecasters(
    recipe: Recipe, dataset: DatasetVersion, field: str, words: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        check(recipe, dataset, workers=1)
    (violation,) = refused.value.violations
    assert violation.field == f"training_job.spec.{field}"
    assert words in violation.description

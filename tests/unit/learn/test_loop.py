"""Training is exact: the same seed gives the same weights, also for a run that was stopped and resumed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from lepton_common.errors import Cancelled, InvalidModel
from lepton_common.objects import ObjectStore
from lepton_learn import loop
from lepton_learn.batches import Batches
from lepton_learn.checkpoints import Checkpoints, Snapshot
from lepton_learn.evaluation import Evaluator, report
from lepton_learn.families import build_model
from lepton_learn.loop import Outcome, seed_everything, train
from lepton_learn.manifest import Split
from lepton_learn.recipe import Augmentation, Cnn, Convergence, KerasConfig, Mlp, Optimizer, Recipe
from lepton_learn.schema import Transform
from lepton_learn.task import task_of

ALL_EPOCHS = Convergence(patience=0)
SMALL_CNN = Recipe(
    architecture=Cnn(filters=(4,), dense_units=16), max_epochs=4, convergence=ALL_EPOCHS, seed=3
)


def run(
    data: Any, recipe: Recipe, observer: Any, *, checkpoints: Checkpoints | None = None
) -> tuple[keras.Model, Outcome]:
    seed_everything(recipe.seed)
    scale = data[Split.TRAIN].label_scale
    model = build_model(recipe.architecture, data.transform, label_scale=scale, precision=recipe.precision)
    outcome = train(
        model,
        task_of(model, data.transform, label_scale=scale),
        recipe=recipe,
        training=data[Split.TRAIN],
        validation=data[Split.VALIDATION],
        observer=observer,
        checkpoints=checkpoints,
        saved=checkpoints.read(key) if checkpoints and (key := checkpoints.latest()) else None,
        classes=data.transform.classes,
    )
    return model, outcome


def assert_same_weights(one: keras.Model, other: keras.Model) -> None:
    for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(ObjectStore(f"file://{tmp_path}"), "jobs/j/checkpoints")


@pytest.fixture
def step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one step, however fast it is."""
    monkeypatch.setattr(loop, "_MOST_STEPS", 1)


@pytest.fixture(scope="module")
def uninterrupted(digits: Any) -> tuple[Any, keras.Model, Outcome]:
    """A dataset, and a training on it that nothing disturbed: four epochs of four steps."""
    data = digits.first(200)
    return data, *run(data, SMALL_CNN, Silent())


class Silent:
    """Does not listen and never asks to stop."""

    stop_requested = False

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None: ...

    def metric(self, name: str, step: int, value: float) -> None: ...

    def flush(self) -> None: ...


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(
    uninterrupted: Any, recorder: Any
) -> None:
    data, whole, expected = uninterrupted
    same, outcome = run(data, SMALL_CNN, recorder)
    other, _ = run(data, replace(SMALL_CNN, seed=4, max_epochs=1), recorder)
    assert_same_weights(same, whole)
    assert outcome == expected
    assert not np.array_equal(other.get_weights()[0], whole.get_weights()[0])


@pytest.mark.parametrize("stopped_after", [1, 3, 4, 9, 15])
def test_a_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(
    uninterrupted: Any,
    recorder: Any,
    stopping_after: Callable[[int], Any],
    checkpoints: Checkpoints,
    stopped_after: int,
    step_by_step: None,
) -> None:
    data, whole, expected = uninterrupted
    with pytest.raises(Cancelled):
        run(data, SMALL_CNN, stopping_after(stopped_after), checkpoints=checkpoints)
    resumed, outcome = run(data, SMALL_CNN, recorder, checkpoints=checkpoints)
    assert_same_weights(whole, resumed)
    assert outcome == expected
    # The step that is asked for a stop is the last one.
    assert recorder.steps == [(step, 16) for step in range(stopped_after + 2, 17)]


def test_a_finished_training_is_not_trained_again(
    uninterrupted: Any, recorder: Any, checkpoints: Checkpoints
) -> None:
    data, whole, expected = uninterrupted
    run(data, SMALL_CNN, Silent(), checkpoints=checkpoints)
    again, outcome = run(data, SMALL_CNN, recorder, checkpoints=checkpoints)
    assert recorder.steps == []
    assert_same_weights(whole, again)
    assert outcome == expected


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    uninterrupted: Any,
    recorder: Any,
    stopping_after: Callable[[int], Any],
    tmp_path: Path,
    step_by_step: None,
) -> None:
    (data, whole, _), store = uninterrupted, ObjectStore(f"file://{tmp_path}")
    checkpoints = Checkpoints(store, "jobs/j/checkpoints")
    with pytest.raises(Cancelled):
        run(data, SMALL_CNN, stopping_after(13), checkpoints=checkpoints)
    kept = store.list("jobs/j/checkpoints")
    assert [info.key.split("/")[3:5] for info in kept] == [
        ["000001", "000000000012"],
        ["000001", "000000000014"],
    ]
    store.put(kept[-1].key, b"0" * kept[-1].size)
    resumed, _ = run(data, SMALL_CNN, recorder, checkpoints=checkpoints)
    assert recorder.steps[0] == (13, 16)
    assert_same_weights(whole, resumed)


def test_how_many_steps_are_one_call_changes_nothing(
    uninterrupted: Any, recorder: Any, step_by_step: None
) -> None:
    data, whole, expected = uninterrupted
    other, outcome = run(data, SMALL_CNN, recorder)
    assert_same_weights(whole, other)
    assert outcome == expected


def test_every_step_and_epoch_is_told(digits: Any, recorder: Any, step_by_step: None) -> None:
    run(digits.first(200), SMALL_CNN, recorder)
    assert recorder.steps == [(step, 16) for step in range(1, 17)]
    assert set(recorder.metrics) == {"loss", "validation_loss", "validation_accuracy"}
    assert [epoch for epoch, _ in recorder.metrics["loss"]] == [1, 2, 3, 4]


def test_the_figures_of_an_epoch_are_written_down_before_its_checkpoint(
    digits: Any, recorder: Any, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, flushed = checkpoints.save, []

    def watched(step: int, state: Snapshot) -> None:
        flushed.append([points[-1][0] for points in recorder.flushed.values()])
        save(step, state)

    monkeypatch.setattr(checkpoints, "save", watched)
    run(digits.first(200), SMALL_CNN, recorder, checkpoints=checkpoints)
    # A worker that is killed right after a checkpoint does not tell its epoch's figures again.
    assert flushed[-1] == [4, 4, 4]
    assert all(len(set(epochs)) == 1 for epochs in flushed)


def test_the_weights_of_the_best_epoch_are_kept_when_the_loss_no_longer_falls(
    breast_cancer: Any, recorder: Any
) -> None:
    recipe = Recipe(
        architecture=Mlp(hidden_units=(64,)),
        optimizer=Optimizer(learning_rate=0.03),
        max_epochs=200,
        convergence=Convergence(patience=4),
    )
    model, outcome = run(breast_cancer, recipe, recorder)
    losses = [figures["validation_loss"] for figures in outcome.history]
    assert outcome.converged
    assert outcome.best_epoch == int(np.argmin(losses)) + 1 == len(losses) - 4
    task = task_of(model, breast_cancer.transform, label_scale=None)
    figures = Evaluator(model, task).measure(breast_cancer[Split.VALIDATION])
    assert figures["loss"] == pytest.approx(min(losses), abs=1e-6)


def test_an_improvement_below_the_least_delta_is_none(digits: Any, recorder: Any) -> None:
    recipe = replace(SMALL_CNN, max_epochs=9, convergence=Convergence(patience=2, min_delta=1e6))
    _, outcome = run(digits.first(100), recipe, recorder)
    assert (outcome.best_epoch, len(outcome.history)) == (1, 3)


def test_without_a_validation_split_the_training_loss_decides(digits: Any, recorder: Any) -> None:
    data = digits.first(100)
    empty = {name: column[:0] for name, column in data.raw[Split.VALIDATION].items()}
    data = replace(data, raw={**data.raw, Split.VALIDATION: empty})
    _, outcome = run(data, replace(SMALL_CNN, convergence=Convergence(patience=1)), recorder)
    assert set(outcome.history[0]) == {"loss"}


def test_a_training_that_diverges_at_once_says_so(digits: Any, recorder: Any) -> None:
    recipe = Recipe(architecture=Mlp(), optimizer=Optimizer(kind="sgd", learning_rate=1e30))
    with pytest.raises(InvalidModel, match="smaller learning rate"):
        run(digits.first(200), recipe, recorder)


@pytest.mark.parametrize("momentum", [0.0, 0.9], ids=["plain", "momentum"])
def test_a_step_of_sgd_is_theta_minus_alpha_times_the_gradient(
    breast_cancer: Any, recorder: Any, momentum: float
) -> None:
    """Softmax regression, whose gradient is known: X^T (p - y) / n."""
    alpha, epochs, data = 0.5, 3, breast_cancer
    linear = keras.Sequential([keras.Input((30,)), keras.layers.Dense(2, kernel_initializer="zeros")])
    recipe = Recipe(
        architecture=KerasConfig(linear.to_json()),
        optimizer=Optimizer(kind="sgd", learning_rate=alpha, momentum=momentum),
        batch_size=len(data[Split.TRAIN]),
        max_epochs=epochs,
        convergence=ALL_EPOCHS,
    )
    model, _ = run(data, recipe, recorder)

    x, labels = data[Split.TRAIN].take(np.arange(len(data[Split.TRAIN])))
    x = np.hstack([x, np.ones((len(x), 1))])
    theta, velocity = np.zeros((31, 2)), np.zeros((31, 2))
    for _ in range(epochs):
        scores = np.exp(x @ theta)
        gradient = x.T @ (scores / scores.sum(axis=1, keepdims=True) - np.eye(2)[labels]) / len(x)
        velocity = momentum * velocity - alpha * gradient
        theta = theta + velocity
    np.testing.assert_allclose(np.vstack(model.get_weights()), theta, atol=1e-5)


def test_records_that_fill_up_a_batch_do_not_count(breast_cancer: Any, recorder: Any) -> None:
    """455 records in batches of 300: 300 and 155, not 300 and 300."""
    linear = keras.Sequential([keras.Input((30,)), keras.layers.Dense(2, kernel_initializer="zeros")])
    recipe = Recipe(
        architecture=KerasConfig(linear.to_json()),
        optimizer=Optimizer(kind="sgd", learning_rate=0.5),
        batch_size=300,
        max_epochs=1,
    )
    training = breast_cancer[Split.TRAIN]
    model, _ = run(breast_cancer, recipe, recorder)
    theta = np.zeros((31, 2))
    block = Batches(training, size=300, seed=0).block(0, range(2))
    for inputs, labels, count in zip(block.inputs, block.labels, block.counts, strict=True):
        x = np.hstack([inputs, np.ones((300, 1))])[:count]
        scores = np.exp(x @ theta)
        residuals = scores / scores.sum(axis=1, keepdims=True) - np.eye(2)[labels[:count]]
        theta = theta - 0.5 * x.T @ residuals / len(x)
    np.testing.assert_allclose(np.vstack(model.get_weights()), theta, atol=1e-5)


@pytest.mark.parametrize("transform", [Transform.IDENTITY, Transform.STANDARDIZE, Transform.NORMALIZE])
def test_a_regression_learns_whatever_the_unit_of_its_label(
    diabetes: Callable[[Transform], Any], recorder: Any, transform: Transform
) -> None:
    data = diabetes(transform)
    model, _ = run(data, Recipe(architecture=Mlp(hidden_units=(32,)), seed=1, max_epochs=30), recorder)
    task = task_of(model, data.transform, label_scale=data[Split.TRAIN].label_scale)
    figures = Evaluator(model, task).measure(data[Split.TEST])
    assert set(figures) == {"loss", "mse", "mae", "r2"}
    # Published linear models explain 0.4 to 0.5 of the variance, and miss by 43 to 46 on average.
    assert figures["r2"] > 0.35
    assert figures["mae"] < 55


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        pytest.param({"precision": "bfloat16"}, 0.1, id="bfloat16"),
        pytest.param({"precision": "float16"}, 0.02, id="float16"),
    ],
)
def test_how_numbers_are_computed_changes_little(
    digits: Any, recorder: Any, changes: dict[str, Any], tolerance: float
) -> None:
    data, plain = digits.first(400), replace(SMALL_CNN, architecture=Cnn(filters=(8,), dropout=0.0))
    _, expected = run(data, plain, recorder)
    model, outcome = run(data, replace(plain, **changes), recorder)
    for mine, theirs in zip(outcome.history, expected.history, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=tolerance)
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_a_step_computed_in_parts_is_the_same_step(breast_cancer: Any, recorder: Any, parts: int) -> None:
    recipe = Recipe(
        architecture=Mlp(), max_epochs=3, convergence=ALL_EPOCHS, optimizer=Optimizer(clip_norm=1)
    )
    whole, _ = run(breast_cancer, recipe, recorder)
    model, _ = run(breast_cancer, replace(recipe, accumulation=parts), recorder)
    for mine, theirs in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_a_class_that_weighs_nothing_much_is_not_learnt(breast_cancer: Any, recorder: Any) -> None:
    recipe = Recipe(architecture=Mlp(), max_epochs=5, class_weights={"malignant": 1e-6})
    model, _ = run(breast_cancer, recipe, recorder)
    task = task_of(model, breast_cancer.transform, label_scale=None)
    names = breast_cancer.transform.classes
    document = report(model, task, breast_cancer[Split.TEST], classes=names, slices={})
    recalls = {each["name"]: each["recall"] for each in document["classes"]}
    assert recalls["benign"] > 0.9
    assert recalls["malignant"] < 0.5


def test_changed_images_are_resumed_alike_too(
    digits: Any,
    recorder: Any,
    stopping_after: Callable[[int], Any],
    checkpoints: Checkpoints,
    step_by_step: None,
) -> None:
    data, recipe = digits.first(200), replace(SMALL_CNN, augmentation=Augmentation(flip=True, shift=1))
    whole, _ = run(data, recipe, Silent())
    plain, _ = run(data, SMALL_CNN, Silent())
    assert any(
        (one != other).any() for one, other in zip(whole.get_weights(), plain.get_weights(), strict=True)
    )
    with pytest.raises(Cancelled):
        run(data, recipe, stopping_after(6), checkpoints=checkpoints)
    resumed, _ = run(data, recipe, recorder, checkpoints=checkpoints)
    assert_same_weights(whole, resumed)

"""Private gradients: each record's clipped, and noise of the right size in their sum."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lepton_common.errors import Cancelled, InvalidModel
from lepton_common.objects import ObjectStore
from lepton_learn import loop, secret
from lepton_learn.checkpoints import Checkpoints
from lepton_learn.evaluation import Evaluator
from lepton_learn.families import build_model
from lepton_learn.loop import seed_everything, train
from lepton_learn.manifest import Split
from lepton_learn.poisson import PoissonBatches
from lepton_learn.privacy import Mechanism, clipped_sum
from lepton_learn.recipe import Architecture, Cnn, KerasConfig, Mlp, Optimizer, Privacy, Recipe
from lepton_learn.task import Classification, task_of

SECRET = b"s" * 32
LOSSES = Classification(from_logits=True).losses
SMALL = Recipe(
    architecture=Mlp(hidden_units=(16,), dropout=0.2),
    max_epochs=3,
    privacy=Privacy(noise_multiplier=1.0),
    seed=3,
)


def run(
    data: Any,
    recipe: Recipe,
    observer: Any,
    *,
    checkpoints: Checkpoints | None = None,
    key: bytes | None = SECRET,
) -> keras.Model:
    seed_everything(recipe.seed)
    scale = data[Split.TRAIN].label_scale
    model = build_model(recipe.architecture, data.transform, label_scale=scale, precision=recipe.precision)
    train(
        model,
        task_of(model, data.transform, label_scale=scale),
        recipe=recipe,
        training=data[Split.TRAIN],
        validation=data[Split.VALIDATION],
        observer=observer,
        checkpoints=checkpoints,
        saved=checkpoints.read(saved) if checkpoints and (saved := checkpoints.latest()) else None,
        classes=data.transform.classes,
        secret=key,
    )
    return model


def records(data: Any, count: int, *, filled: int = 0) -> tuple[Any, ...]:
    """The first training records, followed by some that count nothing."""
    inputs, labels = data[Split.TRAIN].take(np.arange(count + filled))
    weights = (np.arange(count + filled) < count).astype(np.float32)
    return inputs, labels, weights, np.arange(count + filled, dtype=np.int32)


def fresh(data: Any, architecture: Architecture) -> keras.Model:
    seed_everything(1)
    return build_model(architecture, data.transform, label_scale=None)


def summed(model: keras.Model, batch: tuple[Any, ...], *, clip_norm: float) -> list[Any]:
    """The sum as a step has it: compiled."""

    def step() -> Any:
        return clipped_sum(
            model,
            LOSSES,
            [tf.constant(part) for part in batch],
            step=tf.zeros((), tf.int64),
            clip_norm=clip_norm,
        )

    return [gradient.numpy() for gradient in tf.function(step)()]


def norm(gradients: list[Any]) -> float:
    return float(np.sqrt(sum(np.sum(np.square(gradient, dtype=np.float64)) for gradient in gradients)))


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(Mlp(hidden_units=(16,)), id="mlp"),
        pytest.param(Cnn(filters=(4,), dense_units=8, dropout=0.0, normalization="group"), id="cnn"),
    ],
)
def test_the_sum_of_clipped_gradients_is_that_of_each_record_by_itself(
    digits: Any, architecture: Architecture
) -> None:
    model = fresh(digits, architecture)
    inputs, labels, weights, _ = batch = records(digits, 12, filled=4)
    alone = []
    for place in np.flatnonzero(weights):
        with tf.GradientTape() as tape:
            outputs = model(inputs[place : place + 1], training=True)
            loss = LOSSES(labels[place : place + 1], outputs)[0]
        alone.append([gradient.numpy() for gradient in tape.gradient(loss, model.trainable_variables)])
    # So that half of them are clipped.
    limit = float(np.median([norm(gradients) for gradients in alone]))
    clipped = [
        [gradient * min(1.0, limit / norm(gradients)) for gradient in gradients] for gradients in alone
    ]
    found = summed(model, batch, clip_norm=limit)
    for gradient, *parts in zip(found, *clipped, strict=True):
        np.testing.assert_allclose(gradient, sum(parts), atol=1e-4)


def test_one_record_changes_the_sum_by_the_clip_norm_at_most(digits: Any) -> None:
    model = fresh(digits, Mlp(hidden_units=(16,)))
    inputs, labels, weights, places = records(digits, 8)
    # Whatever the record is: also one a thousand times as bright, and one that counts a thousand times.
    inputs[3] *= 1000
    weights[4] = 1000
    whole = summed(model, (inputs, labels, weights, places), clip_norm=0.5)
    for left_out in (0, 3, 4):
        without = weights.copy()
        without[left_out] = 0
        rest = summed(model, (inputs, labels, without, places), clip_norm=0.5)
        change = norm([one - other for one, other in zip(whole, rest, strict=True)])
        assert 0.1 < change <= 0.5 * (1 + 1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_record_without_a_gradient_spoils_nothing(digits: Any, bad: float) -> None:
    model = fresh(digits, Mlp(hidden_units=(16,)))
    inputs, labels, weights, places = records(digits, 4)
    without = np.array([1, 0, 1, 1], np.float32)
    expected = summed(model, (inputs, labels, without, places), clip_norm=1.0)
    inputs[1] = bad
    for gradient, other in zip(
        summed(model, (inputs, labels, weights, places), clip_norm=1.0), expected, strict=True
    ):
        assert np.isfinite(gradient).all()
        if not np.isfinite(bad):
            np.testing.assert_array_equal(gradient, other)


def test_the_noise_has_the_deviation_that_is_asked_for_and_is_another_at_every_step() -> None:
    mechanism = Mechanism(clip_norm=2.0, noise_multiplier=1.5, expected=1, secret=SECRET)
    shapes = [tf.zeros((300, 100)), tf.zeros(20_000)]
    first, second = (
        np.concatenate([part.numpy().ravel() for part in mechanism.noise(tf.constant(step), like=shapes)])
        for step in (0, 1)
    )
    # Of 50,000 draws the deviation is known to 1 percent at three standard errors.
    assert first.std() == pytest.approx(3.0, rel=0.01)
    assert abs(first.mean()) < 5 * 3.0 / np.sqrt(50_000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(50_000)
    assert abs(np.corrcoef(first[:20_000], first[30_000:])[0, 1]) < 5 / np.sqrt(20_000)
    other = replace(mechanism, secret=b"t" * 32).noise(tf.constant(0), like=shapes)
    assert not np.array_equal(other[0], first[:30_000].reshape(300, 100))


def test_every_record_is_drawn_for_itself(digits: Any) -> None:
    examples, epochs = digits[Split.TRAIN], 40
    batches = PoissonBatches(examples, size=64, secret=SECRET, epochs=epochs, multiple=3)
    steps = len(batches)
    blocks = [batches.block(epoch, range(steps)) for epoch in range(epochs)]
    counts = np.concatenate([block.counts for block in blocks])
    assert batches.expected == 64
    assert batches.size % 3 == 0
    assert counts.max() <= batches.size
    # A binomial of n draws with chance q: its mean, and its variance, with their standard errors.
    chance = 64 / len(examples)
    variance = len(examples) * chance * (1 - chance)
    assert counts.mean() == pytest.approx(64, abs=4 * np.sqrt(variance / len(counts)))
    assert counts.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / len(counts)))
    for block in blocks[:2]:
        np.testing.assert_array_equal(block.weights.sum(axis=1), block.counts)


def test_no_record_is_drawn_twice_into_a_batch_and_all_as_often(digits: Any) -> None:
    data = digits.first(50)
    batches = PoissonBatches(data[Split.TRAIN], size=10, secret=SECRET, epochs=400)
    drawn = np.zeros(50, np.int64)
    for epoch in range(400):
        for step in range(len(batches)):
            counts = batches._counts(epoch, range(step, step + 1))
            chosen = batches._choose(epoch, range(step, step + 1), counts)[0, : counts[0]]
            assert len(np.unique(chosen)) == counts[0]
            drawn[chosen] += 1
    # Each of 2,000 batches has a record with chance 1/5.
    assert np.abs(drawn - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


def test_parts_of_a_batch_are_the_batch(digits: Any) -> None:
    def batches() -> PoissonBatches:
        return PoissonBatches(digits[Split.TRAIN], size=32, secret=SECRET, epochs=2, multiple=2)

    whole = batches().block(1, range(3, 6))
    half = batches().size // 2
    left = batches().block(1, range(3, 6), share=slice(0, half))
    right = batches().block(1, range(3, 6), share=slice(half, 2 * half))
    np.testing.assert_array_equal(np.concatenate([left.inputs, right.inputs], axis=1), whole.inputs)
    np.testing.assert_array_equal(np.concatenate([left.weights, right.weights], axis=1), whole.weights)


def test_without_noise_and_clipping_it_is_plain_stochastic_gradient_descent(
    digits: Any, recorder: Any
) -> None:
    data = digits.first(100)
    # A batch of all records: each is drawn with certainty.
    plain = Recipe(
        architecture=Mlp(hidden_units=(16,)),
        optimizer=Optimizer(kind="sgd", learning_rate=0.1, momentum=0.9),
        batch_size=100,
        max_epochs=5,
    )
    private = replace(plain, privacy=Privacy(noise_multiplier=0.0, clip_norm=1e6))
    expected, found = run(data, plain, recorder), run(data, private, recorder)
    for one, other in zip(expected.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_batches_in_parts_learn_the_same(digits: Any, recorder: Any) -> None:
    data = digits.first(200)
    whole = run(data, replace(SMALL, precision="float32"), recorder)
    # Batches of another size are drawn alike: what fills them up counts nothing.
    parts = run(data, replace(SMALL, accumulation=4), recorder)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("stopped_after", [1, 4, 7])
def test_a_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(
    digits: Any,
    recorder: Any,
    stopping_after: Callable[[int], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stopped_after: int,
) -> None:
    monkeypatch.setattr(loop, "_MOST_STEPS", 1)
    data = digits.first(200)
    checkpoints = Checkpoints(ObjectStore(f"file://{tmp_path}"), "jobs/j/checkpoints")
    expected = run(data, SMALL, recorder)
    with pytest.raises(Cancelled):
        run(data, SMALL, stopping_after(stopped_after), checkpoints=checkpoints)
    resumed = run(data, SMALL, recorder, checkpoints=checkpoints)
    for one, other in zip(expected.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_secret_gives_other_weights_and_nobody_knows_the_default(digits: Any, recorder: Any) -> None:
    data, recipe = digits.first(100), replace(SMALL, max_epochs=1)
    models = [run(data, recipe, recorder, key=key) for key in (b"1" * 32, None, None)]
    kernels = [model.get_weights()[0] for model in models]
    assert not np.allclose(kernels[0], kernels[1])
    assert not np.allclose(kernels[1], kernels[2])


def test_all_epochs_are_run_and_no_training_loss_is_told(digits: Any, recorder: Any) -> None:
    run(digits.first(100), replace(SMALL, max_epochs=6), recorder)
    assert len(recorder.metrics["validation_loss"]) == 6
    assert [name for name in recorder.metrics if not name.startswith("validation_")] == []


def test_digits_are_learnt_privately(digits: Any, recorder: Any) -> None:
    # Epsilon 6.8 at delta 1/14390: 1,439 records, 360 steps.
    recipe = Recipe(
        architecture=Mlp(hidden_units=(64,)),
        optimizer=Optimizer(learning_rate=0.005),
        batch_size=128,
        max_epochs=30,
        privacy=Privacy(noise_multiplier=1.3, clip_norm=1.0),
    )
    model = run(digits, recipe, recorder)
    evaluator = Evaluator(model, task_of(model, digits.transform, label_scale=None))
    assert evaluator.measure(digits[Split.TEST])["accuracy"] > 0.85


def test_batch_normalisation_is_refused_wherever_it_hides(digits: Any, recorder: Any) -> None:
    with pytest.raises(InvalidModel, match="'normalization_0' is a batch normalisation"):
        run(digits.first(20), replace(SMALL, architecture=Cnn(filters=(4,), dense_units=8)), recorder)
    inner = keras.Sequential([keras.layers.Dense(4), keras.layers.BatchNormalization(name="hidden")])
    outer = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), inner, keras.layers.Dense(10)])
    architecture = KerasConfig(json.dumps(json.loads(outer.to_json())))
    with pytest.raises(InvalidModel, match="'hidden' is a batch normalisation"):
        run(digits.first(20), replace(SMALL, architecture=architecture), recorder)


def test_the_secret_of_a_job_is_made_once(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path}")
    made = secret.kept(store, "jobs/j/secret")
    assert len(made) == 32
    assert secret.kept(store, "jobs/j/secret") == made
    assert secret.kept(store, "jobs/k/secret") != made
    assert secret.derive(made, "one") != secret.derive(made, "other")

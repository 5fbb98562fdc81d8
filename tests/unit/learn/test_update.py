"""The update rules, held against Keras's own and against the papers' formulas."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lepton_learn.recipe import Optimizer, Schedule
from lepton_learn.schedule import step_size
from lepton_learn.update import Update

STEPS = 12


def gradients(seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    return [tf.constant(random.normal(size=shape).astype(np.float32)) for shape in ((4, 3), (3,))]


def variables() -> list[keras.Variable]:
    random = np.random.default_rng(99)
    return [keras.Variable(random.normal(size=shape).astype(np.float32)) for shape in ((4, 3), (3,))]


def updated(recipe: Optimizer, *, steps: int = STEPS) -> list[Any]:
    weights = variables()
    update = Update(recipe, weights, steps=STEPS, scaled=False)
    for step in range(steps):
        update.apply(gradients(step))
    return [weight.numpy() for weight in weights]


@pytest.mark.parametrize(
    ("recipe", "oracle"),
    [
        pytest.param(Optimizer(learning_rate=0.01), keras.optimizers.Adam(0.01), id="adam"),
        pytest.param(
            Optimizer(kind="sgd", learning_rate=0.1), keras.optimizers.SGD(0.1), id="gradient descent"
        ),
        pytest.param(
            Optimizer(kind="sgd", learning_rate=0.1, momentum=0.9),
            keras.optimizers.SGD(0.1, momentum=0.9),
            id="momentum",
        ),
        pytest.param(
            Optimizer(learning_rate=0.01, clip_norm=0.5),
            keras.optimizers.Adam(0.01, global_clipnorm=0.5),
            id="clipped",
        ),
        pytest.param(
            Optimizer(learning_rate=0.01, schedule=Schedule(decay="linear", final_share=0.1)),
            keras.optimizers.Adam(keras.optimizers.schedules.PolynomialDecay(0.01, STEPS - 1, 0.001)),
            id="falling along a line",
        ),
        pytest.param(
            Optimizer(learning_rate=0.01, schedule=Schedule(decay="cosine", final_share=0.2)),
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, STEPS - 1, alpha=0.2)),
            id="falling along a cosine",
        ),
    ],
)
def test_a_rule_is_that_of_its_paper(recipe: Optimizer, oracle: Any) -> None:
    expected = variables()
    oracle.build(expected)
    for step in range(STEPS):
        oracle.apply(gradients(step))
    for mine, theirs in zip(updated(recipe), expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_weight_decay_pulls_at_kernels_alone() -> None:
    plain = Optimizer(kind="sgd", learning_rate=0.1)
    decayed = Optimizer(kind="sgd", learning_rate=0.1, weight_decay=0.5)
    kernel, _ = variables()
    gradient = gradients(0)[0].numpy()
    expected = kernel.numpy() * (1 - 0.1 * 0.5) - 0.1 * gradient
    np.testing.assert_allclose(updated(decayed, steps=1)[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(updated(decayed, steps=1)[1], updated(plain, steps=1)[1])


@pytest.mark.parametrize(
    ("schedule", "sizes"),
    [
        (Schedule(), [1.0, 1.0, 1.0, 1.0, 1.0]),
        (Schedule(warmup_steps=2), [0.5, 1.0, 1.0, 1.0, 1.0]),
        (Schedule(decay="linear"), [1.0, 0.75, 0.5, 0.25, 0.0]),
        (Schedule(decay="cosine"), [1.0, 0.853553, 0.5, 0.146447, 0.0]),
        (Schedule(decay="exponential", final_share=0.0001), [1.0, 0.1, 0.01, 0.001, 0.0001]),
        (Schedule(warmup_steps=2, decay="linear", final_share=0.5), [0.5, 1.0, 1.0, 0.75, 0.5]),
        (Schedule(warmup_steps=100), [0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
    ids=lambda value: f"{value.decay} after {value.warmup_steps}" if isinstance(value, Schedule) else "",
)
def test_a_step_size_changes_as_the_schedule_says(schedule: Schedule, sizes: list[float]) -> None:
    found = [float(step_size(schedule, 1.0, step=tf.constant(step, tf.int64), steps=5)) for step in range(5)]
    assert found == pytest.approx(sizes, abs=1e-6)


def test_a_weight_that_the_loss_does_not_depend_on_stays() -> None:
    weights = variables()
    Update(Optimizer(), weights, steps=1, scaled=False).apply([gradients(0)[0], None])
    np.testing.assert_array_equal(weights[1].numpy(), variables()[1].numpy())
    assert (weights[0].numpy() != variables()[0].numpy()).all()


def test_scaled_gradients_change_what_plain_ones_would() -> None:
    weights = variables()
    update = Update(Optimizer(), weights, steps=1, scaled=True)
    scale = float(update.scale(tf.ones(())))
    assert scale > 1
    update.apply([gradient * scale for gradient in gradients(0)])
    for mine, plain in zip(weights, updated(Optimizer(), steps=1), strict=True):
        np.testing.assert_allclose(mine.numpy(), plain, rtol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_an_overflow_changes_nothing_but_the_scale(kind: Any, value: float) -> None:
    weights = variables()
    recipe = Optimizer(kind=kind, momentum=0.9 if kind == "sgd" else 0, weight_decay=0.1, clip_norm=1.0)
    update = Update(recipe, weights, steps=3, scaled=True)
    scale = float(update.scale(tf.ones(())))
    slots = [slot.numpy() for slot in update.variables[3:]]
    broken = gradients(0)
    broken[1] = tf.fill([3], np.float32(value))
    update.apply(broken)
    for weight, before in zip(weights, variables(), strict=True):
        np.testing.assert_array_equal(weight.numpy(), before.numpy())
    for slot, before in zip(update.variables[3:], slots, strict=True):
        np.testing.assert_array_equal(slot.numpy(), before)
    assert float(update.scale(tf.ones(()))) == scale / 2
    assert int(update.step) == 1


def test_the_scale_grows_again_after_calm_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lepton_learn.update._CALM_STEPS", 3)
    update = Update(Optimizer(), variables(), steps=9, scaled=True)
    scales = []
    for step in range(7):
        update.apply(gradients(step))
        scales.append(float(update.scale(tf.ones(()))))
    assert [scale / scales[0] for scale in scales] == [1, 1, 2, 2, 2, 4, 4]

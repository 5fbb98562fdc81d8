"""Defaults of a training spec, as its contract's comments name them."""

from typing import Any

import pytest

from lepton.training.v1.training_pb2 import (
    ACTIVATION_RELU,
    ACTIVATION_SIGMOID,
    ACTIVATION_TANH,
    DECAY_COSINE,
    DECAY_EXPONENTIAL,
    NORMALIZATION_BATCH,
    NORMALIZATION_GROUP,
    OPTIMIZER_KIND_ADAM,
    OPTIMIZER_KIND_SGD,
    PRECISION_BFLOAT16,
    PRECISION_FLOAT32,
    RES_NET_IMAGES_LARGE,
    RES_NET_IMAGES_SMALL,
    Activation,
    Augmentation,
    Cnn,
    Convergence,
    Cross,
    KerasConfig,
    LearningRateSchedule,
    Mlp,
    Optimizer,
    Privacy,
    ResNet,
    Tcn,
    TrainingSpec,
    TwoTower,
    WideAndDeep,
)
from lepton_learn import recipe
from lepton_trainer.adapters.specs import fill_in, recipe_of

FILLED: dict[str, Any] = {
    "optimizer": Optimizer(kind=OPTIMIZER_KIND_ADAM, learning_rate=0.001),
    "batch_size": 64,
    "max_epochs": 20,
    "convergence": Convergence(patience=3),
    "workers": 1,
    "precision": PRECISION_FLOAT32,
    "accumulation": 1,
}
FULL = TrainingSpec(
    mlp=Mlp(hidden_units=[32, 16], activation=ACTIVATION_TANH, dropout=0.5),
    optimizer=Optimizer(
        kind=OPTIMIZER_KIND_SGD,
        learning_rate=0.1,
        momentum=0.9,
        clip_norm=1.5,
        weight_decay=1e-4,
        schedule=LearningRateSchedule(warmup_steps=10, decay=DECAY_COSINE, final_share=0.25),
    ),
    batch_size=8,
    max_epochs=2,
    convergence=Convergence(patience=0, min_delta=0.1),
    seed=-7,
    workers=3,
    precision=PRECISION_BFLOAT16,
    accumulation=4,
    class_weights={"cat": 2.5},
    balance_classes=True,
    augmentation=Augmentation(flip=True, shift=2),
    slice_columns=["sex", "age"],
    xla=True,
)


@pytest.mark.parametrize(
    ("spec", "filled"),
    [
        (
            TrainingSpec(mlp=Mlp()),
            TrainingSpec(mlp=Mlp(hidden_units=[128], activation=ACTIVATION_RELU), **FILLED),
        ),
        (
            TrainingSpec(cnn=Cnn()),
            TrainingSpec(
                cnn=Cnn(filters=[32, 64], dense_units=128, dropout=0.25, normalization=NORMALIZATION_BATCH),
                **FILLED,
            ),
        ),
        (
            TrainingSpec(cnn=Cnn(filters=[8]), privacy=Privacy(epsilon=3)),
            TrainingSpec(
                cnn=Cnn(filters=[8], dense_units=128, dropout=0.25, normalization=NORMALIZATION_GROUP),
                privacy=Privacy(epsilon=3, clip_norm=1),
                **FILLED | {"convergence": Convergence(patience=0)},
            ),
        ),
        (TrainingSpec(tcn=Tcn()), TrainingSpec(tcn=Tcn(filters=32, kernel_size=3, dropout=0.1), **FILLED)),
        (
            TrainingSpec(keras_config=KerasConfig(json="{}")),
            TrainingSpec(keras_config=KerasConfig(json="{}"), **FILLED),
        ),
        (
            TrainingSpec(resnet=ResNet()),
            TrainingSpec(resnet=ResNet(images=RES_NET_IMAGES_SMALL, depth=20, filters=16), **FILLED),
        ),
        (
            TrainingSpec(resnet=ResNet(images=RES_NET_IMAGES_LARGE, filters=8)),
            TrainingSpec(resnet=ResNet(images=RES_NET_IMAGES_LARGE, depth=50, filters=8), **FILLED),
        ),
        (
            TrainingSpec(wide_and_deep=WideAndDeep(crosses=[Cross(columns=["a", "b"])])),
            TrainingSpec(
                wide_and_deep=WideAndDeep(
                    crosses=[Cross(columns=["a", "b"])], embedding_size=8, hidden_units=[128, 64]
                ),
                **FILLED,
            ),
        ),
        (
            TrainingSpec(two_tower=TwoTower(hidden_units=[8])),
            TrainingSpec(two_tower=TwoTower(vector_size=32, embedding_size=16, hidden_units=[8]), **FILLED),
        ),
        (FULL, FULL),
    ],
    ids=[
        "mlp",
        "cnn",
        "private cnn",
        "tcn",
        "keras config",
        "resnet",
        "large resnet",
        "wide and deep",
        "two towers",
        "nothing left out",
    ],
)
def test_what_a_spec_leaves_out_is_filled_in(spec: TrainingSpec, filled: TrainingSpec) -> None:
    written = TrainingSpec()
    written.CopyFrom(spec)
    fill_in(written, recipe_of(spec))
    assert written == filled
    assert recipe_of(written) == recipe_of(spec)


def test_what_a_kind_asks_for_is_its_default() -> None:
    spec = TrainingSpec(
        mlp=Mlp(),
        optimizer=Optimizer(
            kind=OPTIMIZER_KIND_SGD, schedule=LearningRateSchedule(decay=DECAY_EXPONENTIAL, warmup_steps=3)
        ),
    )
    optimizer = recipe_of(spec).optimizer
    assert optimizer.learning_rate == 0.01
    assert optimizer.schedule == recipe.Schedule(warmup_steps=3, decay="exponential", final_share=0.01)
    fill_in(spec, recipe_of(spec))
    assert spec.optimizer.schedule.final_share == 0.01


def test_a_full_spec_is_its_recipe() -> None:
    assert recipe_of(FULL) == recipe.Recipe(
        architecture=recipe.Mlp(hidden_units=(32, 16), activation="tanh", dropout=0.5),
        optimizer=recipe.Optimizer(
            kind="sgd",
            learning_rate=0.1,
            momentum=0.9,
            clip_norm=1.5,
            weight_decay=1e-4,
            schedule=recipe.Schedule(warmup_steps=10, decay="cosine", final_share=0.25),
        ),
        batch_size=8,
        max_epochs=2,
        convergence=recipe.Convergence(patience=0, min_delta=0.1),
        seed=-7,
        precision="bfloat16",
        accumulation=4,
        class_weights={"cat": 2.5},
        balance_classes=True,
        augmentation=recipe.Augmentation(flip=True, shift=2),
        slice_columns=("sex", "age"),
        xla=True,
    )


@pytest.mark.parametrize("activation", [ACTIVATION_RELU, ACTIVATION_SIGMOID, ACTIVATION_TANH])
def test_every_activation_has_its_name(activation: Activation.ValueType) -> None:
    architecture = recipe_of(TrainingSpec(mlp=Mlp(activation=activation))).architecture
    assert isinstance(architecture, recipe.Mlp)
    assert f"ACTIVATION_{architecture.activation.upper()}" == Activation.Name(activation)


def test_patience_zero_is_not_the_default() -> None:
    spec = TrainingSpec(mlp=Mlp(), convergence=Convergence())
    filled = TrainingSpec()
    filled.CopyFrom(spec)
    fill_in(filled, recipe_of(spec))
    assert filled.HasField("convergence")
    assert recipe_of(filled).convergence.patience == 0

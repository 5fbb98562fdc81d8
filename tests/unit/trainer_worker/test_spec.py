"""A spec as the contract writes it becomes a recipe, with the defaults that the contract names."""

import pytest
from google.protobuf.json_format import MessageToDict

from lepton.training.v1 import training_pb2 as pb
from lepton_learn.recipe import Cnn, Convergence, KerasConfig, Mlp, Optimizer, Recipe
from lepton_trainer.worker.spec import decode_recipe


def decode(spec: pb.TrainingSpec) -> Recipe:
    return decode_recipe(MessageToDict(spec, preserving_proto_field_name=True))


@pytest.mark.parametrize(
    ("spec", "architecture"),
    [
        pytest.param(pb.TrainingSpec(mlp=pb.Mlp()), Mlp(hidden_units=(128,), activation="relu"), id="mlp"),
        pytest.param(
            pb.TrainingSpec(cnn=pb.Cnn()), Cnn(filters=(32, 64), dense_units=128, dropout=0.25), id="cnn"
        ),
    ],
)
def test_what_is_left_open_takes_the_default(spec: pb.TrainingSpec, architecture: Mlp | Cnn) -> None:
    assert decode(spec) == Recipe(
        architecture=architecture,
        optimizer=Optimizer(kind="adam", learning_rate=0.001),
        batch_size=64,
        max_epochs=20,
        convergence=Convergence(patience=3, min_delta=0.0),
        seed=0,
    )


def test_what_is_given_is_taken() -> None:
    spec = pb.TrainingSpec(
        mlp=pb.Mlp(hidden_units=[8, 4], activation=pb.ACTIVATION_SIGMOID, dropout=0.5),
        optimizer=pb.Optimizer(kind=pb.OPTIMIZER_KIND_SGD, learning_rate=0.1, momentum=0.9),
        batch_size=7,
        max_epochs=9,
        convergence=pb.Convergence(patience=2, min_delta=0.25),
        seed=-(2**63),
    )
    assert decode(spec) == Recipe(
        architecture=Mlp(hidden_units=(8, 4), activation="sigmoid", dropout=0.5),
        optimizer=Optimizer(kind="sgd", learning_rate=0.1, momentum=0.9),
        batch_size=7,
        max_epochs=9,
        convergence=Convergence(patience=2, min_delta=0.25),
        seed=-(2**63),
    )


def test_sgd_has_a_step_size_of_its_own() -> None:
    spec = pb.TrainingSpec(mlp=pb.Mlp(), optimizer=pb.Optimizer(kind=pb.OPTIMIZER_KIND_SGD))
    assert decode(spec).optimizer == Optimizer(kind="sgd", learning_rate=0.01)


def test_a_convergence_that_says_nothing_runs_all_epochs() -> None:
    spec = pb.TrainingSpec(mlp=pb.Mlp(), convergence=pb.Convergence())
    assert decode(spec).convergence == Convergence(patience=0)


@pytest.mark.parametrize("activation", [pb.ACTIVATION_RELU, pb.ACTIVATION_SIGMOID, pb.ACTIVATION_TANH])
def test_every_activation_has_its_name(activation: pb.Activation.ValueType) -> None:
    architecture = decode(pb.TrainingSpec(mlp=pb.Mlp(activation=activation))).architecture
    assert isinstance(architecture, Mlp)
    assert f"ACTIVATION_{architecture.activation.upper()}" == pb.Activation.Name(activation)


def test_a_cnn_is_taken_as_given() -> None:
    cnn = pb.Cnn(filters=[3], dense_units=5, dropout=0.75)
    assert decode(pb.TrainingSpec(cnn=cnn)).architecture == Cnn(filters=(3,), dense_units=5, dropout=0.75)


def test_a_keras_config_is_passed_on() -> None:
    spec = pb.TrainingSpec(keras_config=pb.KerasConfig(json='{"class_name": "Sequential"}'))
    assert decode(spec).architecture == KerasConfig('{"class_name": "Sequential"}')

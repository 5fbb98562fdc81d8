"""Parameters as fields of a training spec: which can be searched, and how their values get there."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from lepton.training.v1.study_pb2 import StudySpec
from lepton.training.v1.training_pb2 import ACTIVATION_TANH, OPTIMIZER_KIND_SGD, Cnn, Mlp, TrainingSpec
from lepton_common.errors import InvalidField
from lepton_trainer.adapters.parameters import apply, decode_space, decode_value, encode_value
from lepton_trainer.space import Choice, Integer, Real

MLP = {"dataset_version": "datasets/d/versions/1", "model": "models/m", "mlp": {}}


def spec(*parameters: dict[str, Any], training: dict[str, Any] = MLP) -> StudySpec:
    return ParseDict({"training": training, "parameters": list(parameters)}, StudySpec())


def choice(path: str, *values: Any) -> dict[str, Any]:
    return {"path": path, "choice": {"values": list(values)}}


def test_domains_are_read_by_path() -> None:
    space = decode_space(
        spec(
            {"path": "optimizer.learning_rate", "real": {"min": 1e-4, "max": 0.1, "log": True}},
            {"path": "batch_size", "integer": {"min": 16, "max": 100, "step": 16}},
            choice("mlp.activation", "relu", "ACTIVATION_TANH"),
            choice("mlp.hidden_units", [32], [64, 32]),
            choice("balance_classes", True, False),
        )
    )
    assert space == {
        "optimizer.learning_rate": Real(least=1e-4, greatest=0.1, log=True),
        "batch_size": Integer(least=16, greatest=96, step=16),
        "mlp.activation": Choice(("ACTIVATION_RELU", "ACTIVATION_TANH")),
        "mlp.hidden_units": Choice(([32], [64, 32])),
        "balance_classes": Choice((True, False)),
    }


REFUSED = [
    (
        choice("optimizer.step", 1),
        "there is no 'optimizer.step' to be searched; there is kind, learning_rate",
    ),
    (choice("optimiser.learning_rate", 1), "there is no 'optimiser'"),
    (choice("optimizer", 1), "there is no 'optimizer' to be searched"),
    (choice("class_weights", 1), "there is no 'class_weights'"),
    (choice("class_weights.key", "a"), "there is no 'class_weights'"),
    (choice("batch_size.value", 1), "there is no 'batch_size'"),
    (choice("", 1), "there is no ''"),
    (choice("model", "models/a"), "the same for all trials"),
    (choice("dataset_version", "datasets/d/versions/2"), "the same for all trials"),
    (choice("slice_columns", ["sex"]), "the same for all trials"),
    (choice("cnn.filters", [8]), "cnn.filters is of 'cnn', and what is trained is 'mlp'"),
    ({"path": "batch_size", "real": {"min": 1, "max": 2}}, "batch_size takes a whole number"),
    ({"path": "mlp.hidden_units", "integer": {"min": 1, "max": 2}}, "takes a list, each a whole number"),
    ({"path": "mlp.activation", "integer": {"min": 1, "max": 2}}, "takes one of ACTIVATION_RELU"),
    ({"path": "balance_classes", "real": {"min": 0, "max": 1}}, "takes true or false"),
    ({"path": "batch_size", "integer": {"min": 5, "max": 4}}, "5 is above 4"),
    (choice("batch_size", 8, 8), "there twice"),
]


@pytest.mark.parametrize(
    ("parameter", "words"), REFUSED, ids=[f"{each['path']}: {words}" for each, words in REFUSED]
)
def test_what_cannot_be_searched_is_refused(parameter: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidField) as refused:
        decode_space(spec(choice("seed", 1), parameter))
    assert words in refused.value.message
    assert refused.value.violations[0].field == "study.spec.parameters[1]"


def test_a_path_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InvalidField, match="twice"):
        decode_space(spec(choice("batch_size", 8), choice("batch_size", 16)))


def test_values_get_into_a_copy_of_the_spec() -> None:
    base = TrainingSpec(mlp=Mlp(hidden_units=[8, 8], dropout=0.5), max_epochs=3)
    changed = apply(
        base,
        {
            "optimizer.learning_rate": 0.25,
            "optimizer.kind": "OPTIMIZER_KIND_SGD",
            "optimizer.schedule.warmup_steps": 7,
            "mlp.hidden_units": [64, 32],
            "mlp.activation": "ACTIVATION_TANH",
            "batch_size": 32,
        },
    )
    assert (changed.optimizer.learning_rate, changed.optimizer.kind) == (0.25, OPTIMIZER_KIND_SGD)
    assert changed.optimizer.schedule.warmup_steps == 7
    assert list(changed.mlp.hidden_units) == [64, 32]
    assert (changed.mlp.activation, changed.mlp.dropout) == (ACTIVATION_TANH, 0.5)
    assert (changed.batch_size, changed.max_epochs) == (32, 3)
    assert base == TrainingSpec(mlp=Mlp(hidden_units=[8, 8], dropout=0.5), max_epochs=3)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("batch_size", "many"),
        ("batch_size", 1.5),
        ("cnn.filters", 8),
        ("balance_classes", 1),
        ("precision", "double"),
    ],
    ids=str,
)
def test_a_value_that_is_none_of_its_field_is_refused(path: str, value: Any) -> None:
    with pytest.raises(InvalidField, match=path):
        apply(TrainingSpec(cnn=Cnn()), {path: value})


@pytest.mark.parametrize("value", [1, 0.1, 1e-300, "relu", True, [64, 32], [0.5, "a"], -(2**53)], ids=repr)
def test_values_survive_being_written_down(value: Any) -> None:
    read = decode_value(encode_value(value))
    assert read == value
    assert type(read) is type(value)

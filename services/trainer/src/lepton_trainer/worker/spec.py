"""The spec of a training job, decoded: JSON of `lepton.training.v1.TrainingSpec`, defaults filled in."""

from collections.abc import Mapping
from typing import Any

from lepton_learn.recipe import (
    Activation,
    Architecture,
    Cnn,
    Convergence,
    KerasConfig,
    Mlp,
    Optimizer,
    Recipe,
)

_ACTIVATIONS: Mapping[str, Activation] = {
    "ACTIVATION_UNSPECIFIED": "relu",
    "ACTIVATION_RELU": "relu",
    "ACTIVATION_SIGMOID": "sigmoid",
    "ACTIVATION_TANH": "tanh",
}
_SGD_LEARNING_RATE = 0.01


def decode_recipe(spec: Mapping[str, Any]) -> Recipe:
    """The recipe that a spec asks for.

    Args:
        spec: a TrainingSpec in protobuf's JSON with the field names of the proto. Fields at zero are absent,
            and int64 is text.
    """
    default = Recipe(architecture=Mlp())
    return Recipe(
        architecture=_architecture(spec),
        optimizer=_optimizer(spec.get("optimizer", {})),
        batch_size=spec.get("batch_size") or default.batch_size,
        max_epochs=spec.get("max_epochs") or default.max_epochs,
        convergence=_convergence(spec.get("convergence")),
        seed=int(spec.get("seed", 0)),
    )


def _architecture(spec: Mapping[str, Any]) -> Architecture:
    if "keras_config" in spec:
        return KerasConfig(spec["keras_config"]["json"])
    if "cnn" in spec:
        cnn, default = spec["cnn"], Cnn()
        return Cnn(
            filters=tuple(cnn.get("filters", ())) or default.filters,
            dense_units=cnn.get("dense_units") or default.dense_units,
            dropout=cnn.get("dropout") or default.dropout,
        )
    mlp = spec["mlp"]
    return Mlp(
        hidden_units=tuple(mlp.get("hidden_units", ())) or Mlp().hidden_units,
        activation=_ACTIVATIONS[mlp.get("activation", "ACTIVATION_UNSPECIFIED")],
        dropout=mlp.get("dropout", 0.0),
    )


def _optimizer(optimizer: Mapping[str, Any]) -> Optimizer:
    if optimizer.get("kind") == "OPTIMIZER_KIND_SGD":
        return Optimizer(
            kind="sgd",
            learning_rate=optimizer.get("learning_rate") or _SGD_LEARNING_RATE,
            momentum=optimizer.get("momentum", 0.0),
        )
    return Optimizer(learning_rate=optimizer.get("learning_rate") or Optimizer().learning_rate)


def _convergence(convergence: Mapping[str, Any] | None) -> Convergence:
    # Absent is the default; present with patience 0 asks for all epochs.
    if convergence is None:
        return Convergence()
    return Convergence(patience=convergence.get("patience", 0), min_delta=convergence.get("min_delta", 0.0))

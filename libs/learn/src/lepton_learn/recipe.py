"""What to train and how: plain values, filled in by whoever reads a job's spec."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Activation: TypeAlias = Literal["relu", "sigmoid", "tanh"]


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """A multilayer perceptron over all features, flattened and in a row."""

    hidden_units: tuple[int, ...] = (128,)
    """Width of each hidden layer."""
    activation: Activation = "relu"
    """What every hidden layer applies to W x + b."""
    dropout: float = 0.0
    """Share of the hidden units that a training step leaves out."""


@dataclass(frozen=True, kw_only=True)
class Cnn:
    """A convolutional network over one image."""

    filters: tuple[int, ...] = (32, 64)
    """Filters of each block; each block halves height and width."""
    dense_units: int = 128
    """Width of the dense layer before the output."""
    dropout: float = 0.25
    """Share of the dense units that a training step leaves out."""


@dataclass(frozen=True)
class KerasConfig:
    """Any model of Keras's own layers."""

    json: str
    """As Keras's `to_json` writes it."""


Architecture: TypeAlias = Mlp | Cnn | KerasConfig


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How the weights are updated."""

    kind: Literal["adam", "sgd"] = "adam"
    """The rule."""
    learning_rate: float = 0.001
    """Step size alpha."""
    momentum: float = 0.0
    """Momentum of SGD."""


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """When the loss no longer falls."""

    patience: int = 3
    """Epochs without improvement before the end; 0 runs all epochs."""
    min_delta: float = 0.0
    """A fall of the loss by less than this is no improvement."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training, but for the records."""

    architecture: Architecture
    """What is trained."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """How the weights are updated."""
    batch_size: int = 64
    """Records a step."""
    max_epochs: int = 20
    """Passes over the training split at most."""
    convergence: Convergence = field(default_factory=Convergence)
    """When to stop before that."""
    seed: int = 0
    """Seed of the weights, of the order of the records and of dropout."""

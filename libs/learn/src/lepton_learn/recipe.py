"""What to train and how: plain values, which a job's spec holds as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter

Activation: TypeAlias = Literal["relu", "sigmoid", "tanh"]
Normalization: TypeAlias = Literal["batch", "group"]
Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]

# He et al., 2015, table 1.
_LARGE_STAGES: Mapping[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """A multilayer perceptron over all features, flattened and in a row."""

    family: Literal["mlp"] = "mlp"
    """Tells the architectures apart."""
    hidden_units: tuple[int, ...] = (128,)
    """Width of each hidden layer."""
    activation: Activation = "relu"
    """What every hidden layer applies to W x + b."""
    dropout: float = 0.0
    """Share of the hidden units that a training step leaves out."""


@dataclass(frozen=True, kw_only=True)
class Cnn:
    """A convolutional network over one image."""

    family: Literal["cnn"] = "cnn"
    """Tells the architectures apart."""
    filters: tuple[int, ...] = (32, 64)
    """Filters of each block; each block halves height and width."""
    dense_units: int = 128
    """Width of the dense layer before the output."""
    dropout: float = 0.25
    """Share of the dense units that a training step leaves out."""
    normalization: Normalization = "batch"
    """What follows each convolution: over the batch, or within each record."""


@dataclass(frozen=True, kw_only=True)
class ResNet:
    """A residual network over one image."""

    family: Literal["resnet"] = "resnet"
    """Tells the architectures apart."""
    images: Literal["small", "large"] = "small"
    """What it is made for: images of some dozens of pixels, or of some hundreds."""
    depth: int = 20
    """Layers with weights: 6n + 2 for small images; 18, 34, 50, 101 or 152 for large ones."""
    filters: int = 16
    """Filters of the first stage; each stage after it has twice as many."""

    @property
    def stages(self) -> tuple[int, ...]:
        """Blocks of each stage; none where the paper has no network of this depth."""
        if self.images == "large":
            return _LARGE_STAGES.get(self.depth, ())
        blocks, rest = divmod(self.depth - 2, 6)
        return (blocks,) * 3 if blocks > 0 and rest == 0 else ()


@dataclass(frozen=True, kw_only=True)
class WideAndDeep:
    """A linear model and a network over the columns of a table, added up."""

    family: Literal["wide_and_deep"] = "wide_and_deep"
    """Tells the architectures apart."""
    crosses: tuple[tuple[str, ...], ...] = ()
    """Pairs of coded columns whose values the linear model looks at together."""
    embedding_size: int = 8
    """Numbers that stand for one value of a coded column in the network."""
    hidden_units: tuple[int, ...] = (128, 64)
    """Width of each hidden layer of the network."""
    dropout: float = 0.0
    """Share of the hidden units that a training step leaves out."""


@dataclass(frozen=True, kw_only=True)
class TwoTower:
    """A recommendation of items, which are the values of the label, to whoever the features describe."""

    family: Literal["two_tower"] = "two_tower"
    """Tells the architectures apart."""
    vector_size: int = 32
    """Numbers of the vector of an item, and of whoever asks."""
    embedding_size: int = 16
    """Numbers that stand for one value of a coded column."""
    hidden_units: tuple[int, ...] = (64,)
    """Width of each hidden layer of the network that turns features into a vector."""
    dropout: float = 0.0
    """Share of the hidden units that a training step leaves out."""


@dataclass(frozen=True)
class KerasConfig:
    """Any model of Keras's own layers."""

    json: str
    """As Keras's `to_json` writes it."""
    family: Literal["keras_config"] = "keras_config"
    """Tells the architectures apart."""


@dataclass(frozen=True, kw_only=True)
class Tcn:
    """A temporal convolutional network over one window."""

    family: Literal["tcn"] = "tcn"
    """Tells the architectures apart."""
    filters: int = 32
    """Filters of each convolution."""
    kernel_size: int = 3
    """Rows that a convolution looks at."""
    blocks: int = 0
    """Residual blocks, of two convolutions each; 0: as many as it takes to see the whole window."""
    dropout: float = 0.1
    """Share of the filters that a training step leaves out."""


Architecture: TypeAlias = Annotated[
    Mlp | Cnn | ResNet | WideAndDeep | TwoTower | Tcn | KerasConfig, Field(discriminator="family")
]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The step size over the steps of a training."""

    warmup_steps: int = 0
    """Steps over which it rises from 0."""
    decay: Literal["constant", "cosine", "linear", "exponential"] = "constant"
    """How it falls from there to the last step of all epochs."""
    final_share: float = 0.0
    """What is left of it at the last step."""


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How the weights are updated."""

    kind: Literal["adam", "sgd"] = "adam"
    """The rule."""
    learning_rate: float = 0.001
    """Step size alpha."""
    momentum: float = 0.0
    """Momentum of SGD."""
    clip_norm: float = 0.0
    """Largest global norm of the gradients; 0: any."""
    weight_decay: float = 0.0
    """Share of each kernel that a step takes away, times the step size."""
    schedule: Schedule = field(default_factory=Schedule)
    """How the step size changes."""


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """When the loss no longer falls."""

    patience: int = 3
    """Epochs without improvement before the end; 0 runs all epochs."""
    min_delta: float = 0.0
    """A fall of the loss by less than this is no improvement."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes to the images of each step."""

    flip: bool = False
    """Mirror half of them left to right."""
    shift: int = 0
    """Move them by up to so many pixels in each direction."""


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Differentially private stochastic gradient descent."""

    noise_multiplier: float = 0.0
    """Standard deviation of the noise in a step's sum of gradients, as a multiple of `clip_norm`."""
    clip_norm: float = 1.0
    """Largest L2 norm of one record's gradient."""
    epsilon: float = 0.0
    """What the training spends, by the accountant; before it has said so, the most that it may spend."""
    delta: float = 0.0
    """Chance that the promise does not hold."""


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
    precision: Precision = "float32"
    """What activations and gradients are computed in."""
    accumulation: int = 1
    """Parts that a replica's share of a step is computed in, one after the other."""
    class_weights: Mapping[str, float] = field(default_factory=dict)
    """What a record counts in the loss, by its class; 1 for a class that is not named."""
    balance_classes: bool = False
    """Whether all classes count the same together."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random changes to images."""
    xla: bool = False
    """Whether steps are compiled by XLA."""
    slice_columns: tuple[str, ...] = ()
    """Columns by whose values the evaluation is told apart too."""
    privacy: Privacy | None = None
    """How each record of the training split is protected; None: it is not."""

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON."""
        document: dict[str, Any] = _RECIPE.dump_python(self, mode="json")
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Recipe":
        """The inverse of `to_dict`; what is absent takes its default."""
        return _RECIPE.validate_python(document)


_RECIPE = TypeAdapter(Recipe)

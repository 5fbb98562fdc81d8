"""What a training job asks for, and whether it can be had: checked before a worker is started."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lepton_common.errors import FieldViolation, InvalidField, LeptonError, WrongState
from lepton_learn.keras_config import check_config
from lepton_learn.recipe import (
    Architecture,
    Augmentation,
    Cnn,
    KerasConfig,
    Mlp,
    Recipe,
    ResNet,
    Tcn,
    TwoTower,
    WideAndDeep,
)
from lepton_trainer.accounting import LEAST_NOISE
from lepton_trainer.budget import Cost

LABEL_TYPES = ("number", "integer", "category")
"""Types of columns that a model can learn to predict."""

SLICE_TYPES = ("integer", "category")
"""Types of columns that an evaluation can be told apart by."""

CODED = ("one_hot", "index")
"""Transforms of columns that have one of several values."""

MAX_LOCAL_WORKERS = 4
"""Processes that can train together on one machine: each takes a gigabyte."""

MAX_CLUSTER_WORKERS = 1024
"""Processes that can train together on a cluster."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a dataset version.

    Attributes:
        name: Its name.
        type: number, integer, category, image or tensor.
        shape: Shape of one value, of images and tensors.
        transform: How it is transformed: identity, normalize, standardize, one_hot or index.
    """

    name: str
    type: str
    shape: tuple[int, ...] = ()
    transform: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file that went into a dataset version.

    Attributes:
        filename: Its name where it came from.
        sha256: Its digest.
    """

    filename: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DatasetVersion:
    """What a training needs to know of the records.

    Attributes:
        name: `datasets/{dataset}/versions/{version}`.
        state: State of the job that builds it, as `SUCCEEDED`.
        columns: All columns.
        label: Name of the column to predict; may be empty.
        forecasts: Whether its records are windows of time series, and its label what comes after them.
        training_records: Records in the training split.
        validation_records: Records in the validation split.
        manifest: Key of its manifest in the object store.
        digest: SHA-256 of the manifest.
        source_files: What it was made from.
        privacy_budget: The most that may be spent of the dataset's privacy; None: it has no budget.
    """

    name: str
    state: str
    columns: tuple[Column, ...] = ()
    label: str = ""
    forecasts: bool = False
    training_records: int = 0
    validation_records: int = 0
    manifest: str = ""
    digest: str = ""
    source_files: tuple[SourceFile, ...] = ()
    privacy_budget: Cost | None = None

    @property
    def dataset(self) -> str:
        """`datasets/{dataset}`."""
        return self.name.partition("/versions/")[0]


_STATES: Mapping[str, str] = {
    "QUEUED": "is still being built: wait until it has SUCCEEDED",
    "RUNNING": "is still being built: wait until it has SUCCEEDED",
    "CANCELLING": "is being cancelled: build another version",
    "CANCELLED": "was cancelled before it was built: build another version",
    "FAILED": "could not be built: its error says why",
}


def check(
    recipe: Recipe, dataset: DatasetVersion, *, workers: int, most_workers: int = MAX_LOCAL_WORKERS
) -> None:
    """Refuse a training that cannot end well.

    Args:
        recipe: What to train, and how.
        dataset: What on.
        workers: How many processes are to train together.
        most_workers: How many can.

    Raises:
        WrongState: The dataset version is not built, or has nothing to learn from.
        InvalidField: The recipe contradicts itself or does not fit the columns.
        UnsafeModel: The Keras config could carry code.
        InvalidModel: It is no Keras config.
        TooLarge: It is too long, too deep or has too many layers.
    """
    if dataset.state != "SUCCEEDED":
        why = _STATES.get(dataset.state, "is not built")
        raise WrongState(f"{dataset.name} {why}", metadata={"name": dataset.name, "state": dataset.state})
    _check_label(dataset)
    if not dataset.training_records:
        raise WrongState(f"{dataset.name} has no records in its training split")
    _check_recipe(recipe)
    if workers > most_workers:
        raise _violation("workers", f"must be at most {most_workers}")
    if recipe.xla and workers > 1:
        raise _violation("xla", f"is for one worker, not {workers}: it compiles what a worker does by itself")
    features = [column for column in dataset.columns if column.name != dataset.label]
    if not features:
        raise _violation("dataset_version", f"must have a column besides the label {dataset.label!r}")
    _check_series(recipe, dataset)
    _check_classes(recipe, dataset)
    _check_slices(recipe, dataset)
    _check_privacy(recipe, dataset)
    one_image = len(features) == 1 and len(features[0].shape) == 3
    if recipe.augmentation != Augmentation() and not one_image:
        raise _violation("augmentation", "is for datasets with one feature column, an image")
    _check_architecture(recipe.architecture, dataset, features)


def _check_architecture(
    architecture: Architecture, dataset: DatasetVersion, features: Sequence[Column]
) -> None:
    one_image = len(features) == 1 and len(features[0].shape) == 3
    label = next(column for column in dataset.columns if column.name == dataset.label)
    match architecture:
        case Cnn() | ResNet() if not one_image:
            found = ", ".join(_describe(column) for column in features)
            raise _violation(
                architecture.family,
                "takes one feature column, an image or a tensor of shape [height, width, channels]; "
                f"{dataset.name} has {found}: train an mlp on them",
            )
        case ResNet(stages=(), images=images):
            depths = "18, 34, 50, 101 or 152" if images == "large" else "8, 14, 20, 26 and so on"
            raise _violation("resnet.depth", f"must be {depths} for {images} images")
        case TwoTower() if label.transform != "index":
            raise _violation(
                "two_tower",
                f"recommends the values of its label, which must be coded index; {_describe(label)} is not",
            )
        case WideAndDeep(crosses=crosses):
            _check_crosses(crosses, features)
        case KerasConfig(json=text):
            _check_keras_config(text)


def _check_label(dataset: DatasetVersion) -> None:
    label = next((column for column in dataset.columns if column.name == dataset.label), None)
    if label is None:
        raise _violation(
            "dataset_version",
            f"must have a label to predict, and {dataset.name} has none: name one in its schema",
        )
    if label.type not in LABEL_TYPES and not dataset.forecasts:
        raise _violation(
            "dataset_version",
            f"must have a label that is one of {', '.join(LABEL_TYPES)}; its label is {_describe(label)}",
        )


def _check_series(recipe: Recipe, dataset: DatasetVersion) -> None:
    """Forecasters are for time series, and time series for forecasters."""
    if isinstance(recipe.architecture, Tcn) and not dataset.forecasts:
        raise _violation(
            "tcn", f"forecasts time series, and {dataset.name} has none: its schema needs a `series`"
        )
    if dataset.forecasts and not isinstance(recipe.architecture, Tcn | KerasConfig):
        family = recipe.architecture.family
        raise _violation(family, f"cannot forecast the time series of {dataset.name}: train a tcn on them")


def _check_recipe(recipe: Recipe) -> None:
    if recipe.optimizer.kind != "sgd" and recipe.optimizer.momentum:
        raise _violation("optimizer.momentum", "is for SGD alone")
    if isinstance(recipe.architecture, KerasConfig) and recipe.precision != "float32":
        raise _violation("precision", "is said by the Keras config itself, layer by layer")
    if recipe.accumulation > recipe.batch_size:
        raise _violation("accumulation", f"must be at most the batch_size, {recipe.batch_size}")


def _check_classes(recipe: Recipe, dataset: DatasetVersion) -> None:
    """What the classes weigh; their names are known to the workers alone."""
    weighted = "class_weights" if recipe.class_weights else "balance_classes"
    if recipe.class_weights and recipe.balance_classes:
        raise _violation("balance_classes", "goes without class_weights")
    quantities = ("number", "tensor")
    number = any(column.name == dataset.label and column.type in quantities for column in dataset.columns)
    if number and (recipe.class_weights or recipe.balance_classes):
        raise _violation(weighted, f"is for classes, and the label {dataset.label!r} is a number")


def _check_crosses(crosses: Sequence[Sequence[str]], features: Sequence[Column]) -> None:
    coded = [column.name for column in features if column.transform in CODED]
    for place, names in enumerate(crosses):
        for name in names:
            if name not in coded:
                raise _violation(
                    f"wide_and_deep.crosses[{place}].columns",
                    f"must be feature columns that are coded one_hot or index, and {name!r} is not: "
                    f"{', '.join(coded) or 'none'} can be crossed",
                )


def _check_slices(recipe: Recipe, dataset: DatasetVersion) -> None:
    columns = {column.name: column for column in dataset.columns}
    for place, name in enumerate(recipe.slice_columns):
        field = f"slice_columns[{place}]"
        if name not in columns:
            raise _violation(field, f"must be a column of {dataset.name}, which has no {name!r}")
        if name == dataset.label:
            raise _violation(field, f"must be another column than the label {name!r}")
        if columns[name].type not in SLICE_TYPES:
            raise _violation(field, f"must be of {' or '.join(SLICE_TYPES)}, not {_describe(columns[name])}")


def _check_privacy(recipe: Recipe, dataset: DatasetVersion) -> None:
    privacy = recipe.privacy
    if privacy is None:
        if dataset.privacy_budget is not None:
            raise _violation("privacy", f"is needed: {dataset.dataset} has a privacy budget")
        return
    if not privacy.epsilon and not privacy.noise_multiplier:
        raise _violation("privacy", "must say epsilon or noise_multiplier")
    if recipe.xla:
        raise _violation(
            "xla", "cannot compile gradients record by record: leave it out of a private training"
        )
    if 0 < privacy.noise_multiplier < LEAST_NOISE:
        raise _violation("privacy.noise_multiplier", f"must be at least {LEAST_NOISE}")
    if recipe.precision == "float16":
        raise _violation("precision", "must be float32 or bfloat16 in a private training")
    if recipe.balance_classes:
        raise _violation("balance_classes", "would tell how many records a class has: give class_weights")
    if recipe.convergence.patience:
        raise _violation("convergence.patience", "must be 0: a private training runs all its epochs")
    _check_private_architecture(recipe.architecture)


def _check_private_architecture(architecture: Architecture) -> None:
    """Only what is known to learn from each record by itself."""
    match architecture:
        case Mlp():
            pass
        case Cnn(normalization=normalization):
            if normalization == "batch":
                raise _violation("cnn.normalization", "must be group in a private training")
        case KerasConfig(json=text):
            if '"BatchNormalization"' in text:
                raise _violation(
                    "keras_config.json", "must not have batch normalisation in a private training"
                )
        case _:
            raise _violation("privacy", "is for an mlp, a cnn or a keras_config")


def _check_keras_config(text: str) -> None:
    try:
        check_config(text)
    except LeptonError as error:
        # The checker does not know which field the text comes from.
        raise type(error)(
            error.message,
            metadata=error.metadata,
            violations=[FieldViolation(f"{_SPEC}keras_config.json", error.message)],
        ) from error


def _describe(column: Column) -> str:
    shape = f" {list(column.shape)}" if column.shape else ""
    return f"{column.name!r} ({column.type}{shape})"


_SPEC = "training_job.spec."


def _violation(field: str, description: str) -> InvalidField:
    path = f"{_SPEC}{field}"
    return InvalidField(f"{path}: {description}", violations=[FieldViolation(path, description)])

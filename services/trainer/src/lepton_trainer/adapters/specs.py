"""Training specs, between the contract and the recipe that a training follows."""

from typing import Literal

from lepton.training.v1 import training_pb2
from lepton_learn.recipe import (
    Activation,
    Architecture,
    Augmentation,
    Cnn,
    Convergence,
    KerasConfig,
    Mlp,
    Optimizer,
    Precision,
    Privacy,
    Recipe,
    ResNet,
    Schedule,
    Tcn,
    TwoTower,
    WideAndDeep,
)

_ACTIVATIONS: dict[training_pb2.Activation.ValueType, Activation] = {
    training_pb2.ACTIVATION_UNSPECIFIED: "relu",
    training_pb2.ACTIVATION_RELU: "relu",
    training_pb2.ACTIVATION_SIGMOID: "sigmoid",
    training_pb2.ACTIVATION_TANH: "tanh",
}
_OPTIMIZERS: dict[training_pb2.OptimizerKind.ValueType, Literal["adam", "sgd"]] = {
    training_pb2.OPTIMIZER_KIND_UNSPECIFIED: "adam",
    training_pb2.OPTIMIZER_KIND_ADAM: "adam",
    training_pb2.OPTIMIZER_KIND_SGD: "sgd",
}
_DECAYS: dict[training_pb2.Decay.ValueType, Literal["constant", "cosine", "linear", "exponential"]] = {
    training_pb2.DECAY_UNSPECIFIED: "constant",
    training_pb2.DECAY_CONSTANT: "constant",
    training_pb2.DECAY_COSINE: "cosine",
    training_pb2.DECAY_LINEAR: "linear",
    training_pb2.DECAY_EXPONENTIAL: "exponential",
}
_PRECISIONS: dict[training_pb2.Precision.ValueType, Precision] = {
    training_pb2.PRECISION_UNSPECIFIED: "float32",
    training_pb2.PRECISION_FLOAT32: "float32",
    training_pb2.PRECISION_BFLOAT16: "bfloat16",
    training_pb2.PRECISION_FLOAT16: "float16",
}
_NORMALIZATIONS: dict[training_pb2.Normalization.ValueType, Literal["batch", "group"]] = {
    training_pb2.NORMALIZATION_BATCH: "batch",
    training_pb2.NORMALIZATION_GROUP: "group",
}
_RES_NETS: dict[training_pb2.ResNetImages.ValueType, ResNet] = {
    training_pb2.RES_NET_IMAGES_UNSPECIFIED: ResNet(),
    training_pb2.RES_NET_IMAGES_SMALL: ResNet(),
    training_pb2.RES_NET_IMAGES_LARGE: ResNet(images="large", depth=50, filters=64),
}
_LEARNING_RATES = {"adam": 0.001, "sgd": 0.01}
_EXPONENTIAL_SHARE = 0.01


def recipe_of(spec: training_pb2.TrainingSpec) -> Recipe:
    """Decode a spec; what it leaves at zero takes its default."""
    default = Recipe(architecture=Mlp())
    return Recipe(
        architecture=_architecture(spec),
        optimizer=_optimizer(spec.optimizer),
        batch_size=spec.batch_size or default.batch_size,
        max_epochs=spec.max_epochs or default.max_epochs,
        convergence=(
            Convergence(patience=spec.convergence.patience, min_delta=spec.convergence.min_delta)
            if spec.HasField("convergence")
            else Convergence(patience=0)
            if spec.HasField("privacy")
            else Convergence()
        ),
        seed=spec.seed,
        precision=_PRECISIONS[spec.precision],
        accumulation=spec.accumulation or default.accumulation,
        class_weights=dict(spec.class_weights),
        balance_classes=spec.balance_classes,
        augmentation=Augmentation(flip=spec.augmentation.flip, shift=spec.augmentation.shift),
        xla=spec.xla,
        slice_columns=tuple(spec.slice_columns),
        privacy=_privacy(spec.privacy) if spec.HasField("privacy") else None,
    )


def fill_in(spec: training_pb2.TrainingSpec, recipe: Recipe) -> None:
    """Write the values of a recipe into the spec that it was decoded from, so that defaults show."""
    match recipe.architecture:
        case Mlp(hidden_units=units, activation=activation):
            spec.mlp.hidden_units[:] = units
            spec.mlp.activation = training_pb2.Activation.Value(f"ACTIVATION_{activation.upper()}")
        case Cnn(filters=filters, dense_units=dense_units, dropout=dropout, normalization=normalization):
            spec.cnn.filters[:] = filters
            spec.cnn.dense_units = dense_units
            spec.cnn.dropout = dropout
            kind = f"NORMALIZATION_{normalization.upper()}"
            spec.cnn.normalization = training_pb2.Normalization.Value(kind)
        case ResNet(images=images, depth=depth, filters=first):
            spec.resnet.images = training_pb2.ResNetImages.Value(f"RES_NET_IMAGES_{images.upper()}")
            spec.resnet.depth = depth
            spec.resnet.filters = first
        case WideAndDeep(embedding_size=size, hidden_units=units):
            spec.wide_and_deep.embedding_size = size
            spec.wide_and_deep.hidden_units[:] = units
        case TwoTower(vector_size=vector, embedding_size=size, hidden_units=units):
            spec.two_tower.vector_size = vector
            spec.two_tower.embedding_size = size
            spec.two_tower.hidden_units[:] = units
        case Tcn(filters=filters, kernel_size=kernel_size, dropout=dropout):
            spec.tcn.filters = filters
            spec.tcn.kernel_size = kernel_size
            spec.tcn.dropout = dropout
    kind = f"OPTIMIZER_KIND_{recipe.optimizer.kind.upper()}"
    spec.optimizer.kind = training_pb2.OptimizerKind.Value(kind)
    spec.optimizer.learning_rate = recipe.optimizer.learning_rate
    if spec.optimizer.HasField("schedule"):
        schedule = recipe.optimizer.schedule
        spec.optimizer.schedule.decay = training_pb2.Decay.Value(f"DECAY_{schedule.decay.upper()}")
        spec.optimizer.schedule.final_share = schedule.final_share
    spec.batch_size = recipe.batch_size
    spec.max_epochs = recipe.max_epochs
    spec.convergence.patience = recipe.convergence.patience
    spec.convergence.min_delta = recipe.convergence.min_delta
    spec.workers = spec.workers or 1
    spec.precision = training_pb2.Precision.Value(f"PRECISION_{recipe.precision.upper()}")
    spec.accumulation = recipe.accumulation
    if recipe.privacy is not None:
        fill_in_privacy(spec, recipe.privacy)


def fill_in_privacy(spec: training_pb2.TrainingSpec, privacy: Privacy) -> None:
    """Write what a recipe says of privacy into the spec."""
    spec.privacy.noise_multiplier = privacy.noise_multiplier
    spec.privacy.clip_norm = privacy.clip_norm
    spec.privacy.epsilon = privacy.epsilon
    spec.privacy.delta = privacy.delta


def _architecture(spec: training_pb2.TrainingSpec) -> Architecture:
    if spec.HasField("keras_config"):
        return KerasConfig(spec.keras_config.json)
    if spec.HasField("cnn"):
        default = Cnn()
        return Cnn(
            filters=tuple(spec.cnn.filters) or default.filters,
            dense_units=spec.cnn.dense_units or default.dense_units,
            dropout=spec.cnn.dropout or default.dropout,
            normalization=_normalization(spec),
        )
    if spec.HasField("resnet"):
        usual = _RES_NETS[spec.resnet.images]
        return ResNet(
            images=usual.images,
            depth=spec.resnet.depth or usual.depth,
            filters=spec.resnet.filters or usual.filters,
        )
    if spec.HasField("wide_and_deep"):
        return _wide_and_deep(spec.wide_and_deep)
    if spec.HasField("two_tower"):
        return _two_tower(spec.two_tower)
    if spec.HasField("tcn"):
        return Tcn(
            filters=spec.tcn.filters or Tcn().filters,
            kernel_size=spec.tcn.kernel_size or Tcn().kernel_size,
            blocks=spec.tcn.blocks,
            dropout=spec.tcn.dropout or Tcn().dropout,
        )
    return Mlp(
        hidden_units=tuple(spec.mlp.hidden_units) or Mlp().hidden_units,
        activation=_ACTIVATIONS[spec.mlp.activation],
        dropout=spec.mlp.dropout,
    )


def _normalization(spec: training_pb2.TrainingSpec) -> Literal["batch", "group"]:
    private = spec.HasField("privacy")
    return _NORMALIZATIONS.get(spec.cnn.normalization, "group" if private else "batch")


def _privacy(privacy: training_pb2.Privacy) -> Privacy:
    return Privacy(
        noise_multiplier=privacy.noise_multiplier,
        clip_norm=privacy.clip_norm or Privacy().clip_norm,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
    )


def _wide_and_deep(given: training_pb2.WideAndDeep) -> WideAndDeep:
    default = WideAndDeep()
    return WideAndDeep(
        crosses=tuple(tuple(cross.columns) for cross in given.crosses),
        embedding_size=given.embedding_size or default.embedding_size,
        hidden_units=tuple(given.hidden_units) or default.hidden_units,
        dropout=given.dropout,
    )


def _two_tower(given: training_pb2.TwoTower) -> TwoTower:
    default = TwoTower()
    return TwoTower(
        vector_size=given.vector_size or default.vector_size,
        embedding_size=given.embedding_size or default.embedding_size,
        hidden_units=tuple(given.hidden_units) or default.hidden_units,
        dropout=given.dropout,
    )


def _optimizer(optimizer: training_pb2.Optimizer) -> Optimizer:
    kind = _OPTIMIZERS[optimizer.kind]
    return Optimizer(
        kind=kind,
        learning_rate=optimizer.learning_rate or _LEARNING_RATES[kind],
        momentum=optimizer.momentum,
        clip_norm=optimizer.clip_norm,
        weight_decay=optimizer.weight_decay,
        schedule=_schedule(optimizer.schedule),
    )


def _schedule(schedule: training_pb2.LearningRateSchedule) -> Schedule:
    decay = _DECAYS[schedule.decay]
    least = _EXPONENTIAL_SHARE if decay == "exponential" else 0.0
    return Schedule(
        warmup_steps=schedule.warmup_steps, decay=decay, final_share=schedule.final_share or least
    )

"""Transfer: a training that begins with weights of a model that was trained before.

Yosinski et al., How transferable are features in deep neural networks?, 2014.
"""

from collections.abc import Iterator

import keras

from lepton_common.errors import InvalidModel

_TOLD = 5
"""Layers that an error names."""


def transfer(model: keras.Model, base: keras.Model, *, freeze: bool) -> tuple[str, ...]:
    """Take over the weights of the layers that both models have, by name and with weights of the same shapes.

    Args:
        model: takes them, in place.
        base: gives them.
        freeze: do not train what was taken over, but for the head, the last layer with weights. A batch
            normalisation that is frozen goes by the statistics that it came with.

    Returns:
        The names of the layers that were taken over, in order; those of models within the model have the
        model's name before them.

    Raises:
        InvalidModel: no layer fits, or nothing would be left to train.
    """
    given = dict(_layers(base))
    own = dict(_layers(model))
    fitting = {name: layer for name, layer in own.items() if name in given and _fits(layer, given[name])}
    if not fitting:
        raise InvalidModel(
            f"no layer of the base model fits one of this model by name and shape: it has {_some(given)}; "
            f"this one has {_some(own)}"
        )
    for name, layer in fitting.items():
        layer.set_weights(given[name].get_weights())
    if freeze:
        *body, _ = own
        for name in body:
            own[name].trainable = own[name].trainable and name not in fitting
    if not model.trainable_variables:
        raise InvalidModel("with all layers of the base model frozen there are no weights left to train")
    return tuple(fitting)


def _layers(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layers with weights by name, those of models within the model too."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer, f"{prefix}{layer.name}/")
        elif layer.weights:
            yield prefix + layer.name, layer


def _fits(layer: keras.layers.Layer, other: keras.layers.Layer) -> bool:
    shapes, others = ([weight.shape for weight in one.weights] for one in (layer, other))
    return type(layer).__name__ == type(other).__name__ and shapes == others


def _some(layers: dict[str, keras.layers.Layer]) -> str:
    names = [f"{name!r}" for name in layers]
    return ", ".join(names[:_TOLD]) + (f" and {len(names) - _TOLD} more" if len(names) > _TOLD else "")

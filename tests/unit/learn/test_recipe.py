"""A recipe travels as JSON, from the service that accepts it to the worker that follows it."""

import json

import pytest
from pydantic import ValidationError

from lepton_learn.recipe import (
    Architecture,
    Augmentation,
    Cnn,
    KerasConfig,
    Mlp,
    Optimizer,
    Recipe,
    ResNet,
    Schedule,
    TwoTower,
    WideAndDeep,
)


@pytest.mark.parametrize(
    "architecture",
    [
        Mlp(hidden_units=(8, 4), activation="sigmoid", dropout=0.5),
        Cnn(filters=(3,), dense_units=5),
        ResNet(images="large", depth=18, filters=8),
        TwoTower(vector_size=4),
        WideAndDeep(crosses=(("a", "b"),), embedding_size=4, hidden_units=(8,)),
        KerasConfig('{"class_name": "Sequential"}'),
    ],
    ids=lambda architecture: architecture.family,
)
def test_a_recipe_comes_back_from_json_as_it_was(architecture: Architecture) -> None:
    recipe = Recipe(
        architecture=architecture,
        optimizer=Optimizer(kind="sgd", momentum=0.9, schedule=Schedule(decay="cosine")),
        seed=-(2**63),
        class_weights={"a": 0.1},
        augmentation=Augmentation(flip=True),
    )
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_what_is_absent_takes_its_default() -> None:
    assert Recipe.from_dict({"architecture": {"family": "mlp"}}) == Recipe(architecture=Mlp())


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ValidationError):
        Recipe.from_dict({"architecture": {"family": "oracle"}})

"""A recommendation is learned from the items of a batch, as the paper says, and from what people saw."""

from typing import Any

import numpy as np
import pytest

from lepton_common.errors import InvalidModel
from lepton_learn.evaluation import Evaluator, report
from lepton_learn.families import build_model, training_task
from lepton_learn.loop import seed_everything, train
from lepton_learn.manifest import Split
from lepton_learn.recipe import Convergence, Optimizer, Recipe, TwoTower
from lepton_learn.schema import Transform
from lepton_learn.two_tower import Retrieval

# Keras 3.15 asks TensorFlow's variables for their values in a way that numpy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


def test_the_loss_is_a_softmax_over_the_batch_corrected_for_how_often_items_come() -> None:
    labels = np.array([2, 0, 2, 3])
    scores = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    task = Retrieval.of(np.array([0, 0, 0, 2, 2, 3, 3, 3]), items=5)
    log_q = np.log(np.array([3, 1, 2, 3, 1]) / 8)

    expected = []
    for record, own in enumerate(labels):
        # The other record of item 2 is no negative of a record of item 2.
        candidates = [record, *(place for place, label in enumerate(labels) if label != own)]
        corrected = np.array([scores[record, labels[place]] - log_q[labels[place]] for place in candidates])
        expected.append(np.log(np.exp(corrected).sum()) - corrected[0])
    np.testing.assert_allclose(task.training_losses(labels, scores), expected, rtol=1e-5)

    # It is judged by all items, and without the correction.
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(task.answers(scores), softmax, rtol=1e-5)
    np.testing.assert_allclose(task.losses(labels, scores), -np.log(softmax[range(4), labels]), rtol=1e-5)


def test_the_other_items_of_a_batch_weigh_as_much_as_all_other_items_do() -> None:
    random = np.random.default_rng(0)
    labels = random.choice(3, 20_000, p=[0.6, 0.3, 0.1])
    probabilities = np.array([0.2, 0.3, 0.5], np.float32)
    batch = random.choice(labels, 4000)
    scores = np.tile(np.log(probabilities), (len(batch), 1))
    losses = np.asarray(Retrieval.of(labels, items=3).training_losses(batch, scores))
    for item, probability in enumerate(probabilities):
        own = probability / (labels == item).mean()
        others = (np.exp(losses[batch == item]) - 1) * own / len(batch)
        np.testing.assert_allclose(others, 1 - probability, rtol=0.1)


def test_a_score_is_the_product_of_two_vectors(movie_lens: Any) -> None:
    model = build_model(TwoTower(vector_size=6), movie_lens.transform, label_scale=None)
    items = model.get_layer("items").get_weights()[0]
    assert items.shape == (6, len(movie_lens.transform.classes))
    told = model(movie_lens[Split.TEST].take(np.arange(20))[0]).numpy()
    user = np.linalg.lstsq(items.T, told.T, rcond=None)[0]
    np.testing.assert_allclose(items.T @ user, told.T, atol=1e-4)


def test_a_quantity_cannot_be_recommended(diabetes: Any) -> None:
    data = diabetes(Transform.IDENTITY)
    with pytest.raises(InvalidModel, match="'progression' is a quantity"):
        build_model(TwoTower(), data.transform, label_scale=data[Split.TRAIN].label_scale)


def test_films_are_recommended_better_than_by_how_popular_they_are(movie_lens: Any, recorder: Any) -> None:
    recipe = Recipe(
        architecture=TwoTower(dropout=0.2),
        optimizer=Optimizer(learning_rate=0.003),
        batch_size=512,
        max_epochs=4,
        convergence=Convergence(patience=0),
    )
    seed_everything(0)
    training, test = movie_lens[Split.TRAIN], movie_lens[Split.TEST]
    model = build_model(recipe.architecture, movie_lens.transform, label_scale=None)
    task = training_task(recipe.architecture, model, movie_lens.transform, training=training)
    train(
        model,
        task,
        recipe=recipe,
        training=training,
        validation=movie_lens[Split.VALIDATION],
        observer=recorder,
    )
    popular = np.bincount(training.labels, minlength=len(movie_lens.transform.classes))
    baseline = np.isin(test.labels, np.argsort(-popular)[:50]).mean()
    figures = Evaluator(model, task).measure(test)
    assert figures["recall_at_50"] > 1.2 * baseline
    assert figures["recall_at_10"] > figures["accuracy"]
    told = report(model, task, test, classes=movie_lens.transform.classes, slices={})["figures"]
    assert told["recall_at_50"] == figures["recall_at_50"]
    assert {"validation_recall_at_10", "validation_recall_at_50"} < set(recorder.metrics)

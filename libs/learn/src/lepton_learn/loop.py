"""The training loop: seeded, over any number of replicas, and able to go on where it was killed.

The order of the records is a permutation of (seed, epoch), everything else that is random hangs on the seed
and the step, and a checkpoint between any two steps is whole. So a run that was killed and resumed ends with
the very weights of one that was not, and one of many processes follows the same curve as one of a single
process.

Steps are taken in blocks, one call for many, which grow until a block takes long enough for Python to cost
nothing. Between blocks the processes agree whether one of them was asked to stop, and how long blocks take,
so that they always take the same steps together.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from lepton_common.errors import Cancelled, InvalidModel
from lepton_learn.batches import Batches, Feed, class_weights
from lepton_learn.checkpoints import Checkpoints, Saver, State, restore, snapshot
from lepton_learn.evaluation import Evaluator
from lepton_learn.examples import Examples
from lepton_learn.poisson import PoissonBatches
from lepton_learn.privacy import Mechanism, check_private
from lepton_learn.recipe import Recipe
from lepton_learn.secret import new as new_secret
from lepton_learn.step import Steps, compile_steps
from lepton_learn.task import Task
from lepton_learn.team import Team
from lepton_learn.update import Update

_BLOCK_SECONDS = 0.2
"""A block that takes less is made longer, and one that takes three times as long shorter."""
_MOST_STEPS = 128
"""Longest block."""
_BLOCK_BYTES = 64 << 20
"""Largest inputs of a block."""
_CHECKPOINT_SECONDS = 15.0
"""Shortest time between two checkpoints within an epoch."""


class Observer(Protocol):
    """Who is told how a training goes."""

    @property
    def stop_requested(self) -> bool:
        """Whether to stop, soon."""

    def progress(self, phase: str, done: int, total: int = 0, unit: str = "") -> None:
        """So many steps are done."""

    def metric(self, name: str, step: int, value: float) -> None:
        """A figure of an epoch, counted from 1."""

    def flush(self) -> None:
        """Write down what was told: the checkpoint that is saved next does not tell it again."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training went. The model holds the weights of the best epoch."""

    history: tuple[dict[str, float], ...]
    """By epoch: `loss`, and the figures of the validation split, prefixed `validation_`."""
    best_epoch: int
    """The epoch with the lowest loss, counted from 1."""
    converged: bool
    """Whether it ended because the loss no longer fell."""


def seed_everything(seed: int, *, xla: bool = False) -> None:
    """Make what follows in this process depend on the seed alone.

    That goes for weights and dropout, and for the order in which parallel threads add up. TensorFlow promises
    the latter of its own operations alone, and with that promise it gives XLA no gradient of a maximum pool:
    a training that is compiled by XLA goes without. On a CPU its runs are the same to the last bit all the
    same, as a test checks; on a GPU they may differ there.
    """
    keras.utils.set_random_seed(seed % 2**32)
    if not xla:
        tf.config.experimental.enable_op_determinism()


def train(
    model: keras.Model,
    task: Task,
    *,
    recipe: Recipe,
    training: Examples,
    validation: Examples,
    observer: Observer,
    checkpoints: Checkpoints | None = None,
    saved: bytes | None = None,
    classes: tuple[str, ...] = (),
    team: Team | None = None,
    secret: bytes | None = None,
) -> Outcome:
    """Train a model in place.

    A private training takes all its steps and keeps the last weights, whatever the loss, and tells no
    training loss: what it does and tells hangs on the records by its weights alone.

    Args:
        model: built with fresh weights in the team's scope; at the end it holds those of the best epoch.
        task: judges its outputs.
        recipe: how to train; its architecture is not looked at.
        training: what to learn from, at least one record.
        validation: decides when to stop and what to keep; if it is empty, the training loss decides.
        observer: is told the steps and every epoch.
        checkpoints: where the team's leader keeps the state: every few seconds, and when it is asked to stop.
        saved: the checkpoint to go on from, the same for all of the team.
        classes: names of the label's classes, for the recipe's class weights.
        team: who trains together; None: this process alone.
        secret: of a private training, the same for all of the team and whenever it goes on; None: a new one.

    Raises:
        Cancelled: one of the team was asked to stop. The last step is in the checkpoints.
        InvalidModel: the loss stopped being a number before a single epoch ended well, or the model cannot be
            trained privately.
    """
    team = team or Team.alone()
    batches, mechanism = _batches(
        recipe,
        training,
        multiple=team.replicas * recipe.accumulation,
        class_weights=_weights_of(recipe, training, classes),
        secret=secret or new_secret(),
    )
    if mechanism is not None:
        check_private(model)
    with team.strategy.scope():
        update = Update(
            recipe.optimizer,
            model.trainable_variables,
            steps=recipe.max_epochs * len(batches),
            scaled=recipe.precision == "float16",
        )
    state = State() if saved is None else restore(saved, model, update)
    evaluator = Evaluator(model, task)
    share = team.share(batches.size)
    steps = compile_steps(
        model,
        task,
        update=update,
        recipe=recipe,
        team=team,
        batch_size=batches.size,
        like=batches.block(0, range(1), share=share),
        mechanism=mechanism,
    )
    saver = None
    if checkpoints is not None and team.leads:
        saver = Saver(checkpoints, before=observer.flush, seconds=_CHECKPOINT_SECONDS)
    with Feed(batches, share=share) as feed:
        run = _Run(model, update, steps, feed, batches, recipe=recipe, observer=observer, saver=saver)
        try:
            while not _is_over(state, recipe):
                state = run.epoch(state)
                figures = {} if recipe.privacy else {"loss": state.total / batches.records}
                if len(validation):
                    observed = _agree(team, evaluator.measure(validation))
                    figures |= {f"validation_{name}": value for name, value in observed.items()}
                state = (
                    _advance_private(state, figures, model)
                    if recipe.privacy
                    else _advance(state, figures, model, min_delta=recipe.convergence.min_delta)
                )
                for name, value in figures.items():
                    observer.metric(name, state.epoch, value)
                run.save(state)
        finally:
            if saver is not None:
                saver.close()

    model.set_weights(state.best_weights)
    return Outcome(
        history=state.history,
        best_epoch=state.best_epoch,
        converged=state.epoch < recipe.max_epochs and math.isfinite(_watched(state.history[-1])),
    )


class _Run:
    """The steps of a training, block by block."""

    def __init__(
        self,
        model: keras.Model,
        update: Update,
        steps: Steps,
        feed: Feed,
        batches: Batches,
        *,
        recipe: Recipe,
        observer: Observer,
        saver: Saver | None,
    ) -> None:
        self._model, self._update, self._steps = model, update, steps
        self._feed, self._batches, self._recipe = feed, batches, recipe
        self._observer, self._saver = observer, saver
        self._length = 1
        self._seconds = 0.0

    def epoch(self, state: State) -> State:
        """Take the steps that are left of an epoch."""
        while state.step < len(self._batches):
            state, stop = self._block(state)
            total = self._recipe.max_epochs * len(self._batches)
            self._observer.progress("training", self._done(state), total=total, unit="step")
            if stop or (self._saver is not None and self._saver.due):
                self.save(state)
            if stop:
                raise Cancelled("the training was asked to stop")
        return state

    def save(self, state: State) -> None:
        """Save a state soon."""
        if self._saver is not None:
            self._saver.save(self._done(state), snapshot(state, self._model, self._update))

    def _done(self, state: State) -> int:
        """Steps done of the whole training."""
        return state.epoch * len(self._batches) + state.step

    def _block(self, state: State) -> tuple[State, bool]:
        """Take some steps; say whether one of the team was asked to stop before them."""
        epoch, wanted = self._next(state.epoch, state.step)
        block = self._feed.take(epoch, wanted, then=self._next(epoch, wanted.stop))
        begun = time.monotonic()
        notes = np.array([self._observer.stop_requested, self._seconds, 1.0], np.float32)
        total, notes = self._steps(
            block.inputs, block.labels, block.weights, block.counts, np.array(state.total), notes
        )
        state = replace(state, step=wanted.stop, total=float(total))
        self._seconds = time.monotonic() - begun
        stops, seconds, replicas = notes.numpy().tolist()
        self._adapt(seconds / replicas, block.inputs.nbytes / len(block.counts))
        return state, stops > 0

    def _next(self, epoch: int, step: int) -> tuple[int, range]:
        """The steps after a step; an epoch's last block is as long as the rest."""
        if step == len(self._batches):
            epoch, step = epoch + 1, 0
        return epoch, range(step, min(step + self._length, len(self._batches)))

    def _adapt(self, seconds: float, step_bytes: float) -> None:
        """Choose the length of blocks to come by how long one took, which all of a team know alike."""
        most = max(1, min(_MOST_STEPS, int(_BLOCK_BYTES / step_bytes)))
        if seconds < _BLOCK_SECONDS:
            self._length = min(2 * self._length, most)
        elif seconds > 3 * _BLOCK_SECONDS:
            self._length = max(1, self._length // 2)


def _batches(
    recipe: Recipe, training: Examples, *, multiple: int, class_weights: Any, secret: bytes
) -> tuple[Batches, Mechanism | None]:
    """The batches of a training, and how its gradients are made private."""
    if recipe.privacy is None:
        batches = Batches(
            training,
            size=recipe.batch_size,
            seed=recipe.seed,
            multiple=multiple,
            class_weights=class_weights,
        )
        return batches, None
    drawn = PoissonBatches(
        training,
        size=recipe.batch_size,
        secret=secret,
        epochs=recipe.max_epochs,
        multiple=multiple,
        class_weights=class_weights,
    )
    return drawn, Mechanism(
        clip_norm=recipe.privacy.clip_norm,
        noise_multiplier=recipe.privacy.noise_multiplier,
        expected=drawn.expected,
        secret=secret,
    )


def _weights_of(recipe: Recipe, training: Examples, classes: tuple[str, ...]) -> Any:
    if not classes:
        return None
    return class_weights(
        training.labels, classes, given=recipe.class_weights, balanced=recipe.balance_classes
    )


def _agree(team: Team, figures: dict[str, float]) -> dict[str, float]:
    """The mean of what the replicas measured, so that all of a team decide the same to the last bit."""
    if team.replicas == 1:
        return figures
    sums = tf.function(team.sum)(tf.constant([*figures.values()], tf.float32))
    return dict(zip(figures, (sums / team.replicas).numpy().tolist(), strict=True))


def _is_over(state: State, recipe: Recipe) -> bool:
    if state.step:
        return False
    if recipe.privacy:
        return state.epoch >= recipe.max_epochs
    patience = recipe.convergence.patience
    if state.epoch >= recipe.max_epochs or (patience and state.epoch - state.best_epoch >= patience):
        return True
    # From weights that are no numbers no step leads back.
    return bool(state.history) and not math.isfinite(_watched(state.history[-1]))


def _watched(figures: dict[str, float]) -> float:
    return figures.get("validation_loss", figures["loss"])


def _advance(state: State, figures: dict[str, float], model: keras.Model, *, min_delta: float) -> State:
    """The state at the end of an epoch."""
    epoch, loss = state.epoch + 1, _watched(figures)
    state = replace(state, epoch=epoch, step=0, total=0.0, history=(*state.history, figures))
    if math.isfinite(loss) and loss < state.best_loss - min_delta:
        return replace(state, best_epoch=epoch, best_loss=loss, best_weights=tuple(model.get_weights()))
    if not math.isfinite(loss) and not state.best_weights:
        raise InvalidModel(
            f"the loss of epoch {epoch} is {loss}: the training diverges; a smaller learning rate may help"
        )
    return state


def _advance_private(state: State, figures: dict[str, float], model: keras.Model) -> State:
    """The state at the end of an epoch of a private training: the last weights are the best."""
    weights, epoch = tuple(model.get_weights()), state.epoch + 1
    if not all(np.isfinite(each).all() for each in weights):
        raise InvalidModel(f"the training diverges in epoch {epoch}: a smaller learning rate may help")
    return replace(
        state,
        epoch=epoch,
        step=0,
        history=(*state.history, figures),
        best_epoch=epoch,
        best_loss=figures.get("validation_loss", math.inf),
        best_weights=weights,
    )

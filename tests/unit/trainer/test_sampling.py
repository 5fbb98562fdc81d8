"""Parameters are chosen from the trials so far and from nothing else, and better than at random."""

import math
import pickle
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lepton_trainer.sampling import importances, suggest
from lepton_trainer.space import Choice, Integer, Real, Space
from lepton_trainer.study import Sampler, Search, Trial, TrialState, best

SPACE: Space = {
    "optimizer.learning_rate": Real(least=1e-5, greatest=1.0, log=True),
    "batch_size": Integer(least=16, greatest=256, step=16),
    "mlp.hidden_units": Choice(([16], [64], [64, 32])),
}
SEARCH = Search(space=SPACE, trials=40)


def cost(parameters: Mapping[str, Any]) -> float:
    """0 for a step size of 0.01, batches of 64 and the widest network; more for everything else."""
    step: float = math.log10(parameters["optimizer.learning_rate"]) + 2
    size: float = (parameters["batch_size"] - 64) / 256
    return step * step + size * size + 0.3 * (2 - SPACE_WIDTHS.index(parameters["mlp.hidden_units"]))


SPACE_WIDTHS = [[16], [64], [64, 32]]


def run(search: Search, *, until: int | None = None, trials: list[Trial] | None = None) -> list[Trial]:
    """Trials one at a time, up to a number."""
    trials = list(trials or [])
    for number in range(len(trials) + 1, (until or search.trials) + 1):
        parameters = suggest(search, trials, number)
        value = cost(parameters) * (-1 if search.maximize else 1)
        trials.append(
            Trial(number=number, state=TrialState.SUCCEEDED, parameters=parameters, value=value, epoch=number)
        )
    return trials


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.RANDOM])
def test_what_is_chosen_is_in_the_space(sampler: Sampler) -> None:
    for trial in run(replace(SEARCH, sampler=sampler, trials=20)):
        assert 1e-5 <= trial.parameters["optimizer.learning_rate"] <= 1
        assert trial.parameters["batch_size"] in range(16, 257, 16)
        assert trial.parameters["mlp.hidden_units"] in SPACE_WIDTHS


@pytest.mark.parametrize("sampler", [*Sampler])
def test_the_same_seed_gives_the_same_sequence_and_another_another(sampler: Sampler) -> None:
    space: Space = {"batch_size": SPACE["batch_size"], "mlp.hidden_units": SPACE["mlp.hidden_units"]}
    search = replace(SEARCH, space=space, sampler=sampler, trials=12, seed=3)

    def chosen(seed: int) -> list[Mapping[str, Any]]:
        trials: list[Trial] = []
        for number in range(1, 13):
            parameters = suggest(replace(search, seed=seed), trials, number)
            trials.append(
                Trial(number=number, state=TrialState.SUCCEEDED, parameters=parameters, value=float(number))
            )
        return [trial.parameters for trial in trials]

    assert chosen(3) == chosen(3)
    assert chosen(3) != chosen(4)


def test_another_process_goes_on_with_the_same_parameters() -> None:
    trials = run(SEARCH, until=15)
    trials[3] = replace(trials[3], state=TrialState.PRUNED)
    trials[5] = replace(trials[5], state=TrialState.FAILED, value=None)
    trials[14] = replace(trials[14], state=TrialState.RUNNING, value=None)
    program = (
        "import pickle, sys; from lepton_trainer.sampling import suggest\n"
        "print(repr(suggest(*pickle.load(sys.stdin.buffer))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((SEARCH, trials, 16)),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().strip() == repr(suggest(SEARCH, trials, 16))


@pytest.mark.parametrize("maximize", [False, True], ids=["minimize", "maximize"])
def test_tpe_finds_better_than_random(maximize: bool) -> None:
    def reached(sampler: Sampler) -> float:
        found = []
        for seed in range(7):
            search = replace(SEARCH, sampler=sampler, seed=seed, maximize=maximize)
            trial = best(search, run(search))
            assert trial is not None
            found.append(cost(trial.parameters))
        return statistics.median(found)

    assert reached(Sampler.TPE) < reached(Sampler.RANDOM) / 2


def test_trials_that_run_at_once_differ() -> None:
    trials = run(SEARCH, until=20)
    for number in range(21, 25):
        parameters = suggest(SEARCH, trials, number)
        assert parameters not in [trial.parameters for trial in trials]
        trials.append(Trial(number=number, state=TrialState.RUNNING, parameters=parameters))


def test_a_grid_is_gone_through_once_in_a_shuffled_order() -> None:
    space: Space = {"batch_size": SPACE["batch_size"], "mlp.hidden_units": SPACE["mlp.hidden_units"]}
    search = replace(SEARCH, space=space, sampler=Sampler.GRID, trials=48)
    points = [tuple(map(str, suggest(search, [], number).values())) for number in range(1, 49)]
    assert len(set(points)) == 48
    assert points != sorted(points)


def test_what_matters_most_is_told() -> None:
    trials = run(replace(SEARCH, sampler=Sampler.RANDOM))
    shares = importances(SEARCH, trials)
    assert max(shares, key=lambda path: shares[path]) == "optimizer.learning_rate"
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(SEARCH, trials[:3]) == {}, "too few"


@pytest.mark.parametrize("best", [0, 3], ids=["all alike", "all alike but the best"])
def test_nothing_is_told_where_nothing_sets_the_best_apart(best: int) -> None:
    trials = run(replace(SEARCH, sampler=Sampler.RANDOM))
    alike = [replace(trial, value=0.1 if trial.number <= best else 0.5) for trial in trials]
    assert importances(SEARCH, alike) == {}


def test_optuna_is_loaded_by_the_first_choice_alone() -> None:
    program = (
        "import sys; import lepton_trainer.__main__, lepton_trainer.sampling; print('optuna' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

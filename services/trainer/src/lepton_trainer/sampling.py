"""Choosing the parameters of the next trial, with Optuna.

A choice depends on what is searched, on the trials so far and on the trial's number, and on nothing that is
kept in memory: a service that was killed goes on as if it had not been.

Optuna takes 35 MB: it is imported at the first choice, not by a service that has none to make.
"""

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lepton_trainer.space import Choice, Domain, Integer, Real, Space, Value, grid_point, grid_size
from lepton_trainer.study import Sampler, Search, Trial, TrialState, cost

if TYPE_CHECKING:
    import optuna

_STARTUP_SHARE = 4
_MOST_STARTUP_TRIALS = 10
"""TPE begins at random, with one trial of four and at most ten: a model of fewer is guesswork, and short
searches would be nothing else with Optuna's ten."""

_BEST_SHARE = 0.1

LEAST_RANKED_TRIALS = 4
"""Trials that must have a value before parameters are weighed against each other."""


def suggest(search: Search, trials: Sequence[Trial], number: int) -> dict[str, Value]:
    """Return the parameters of trial `number`, by path.

    Args:
        search: What is searched, and how.
        trials: All trials before it; those that still run are expected to come to nothing better than what
            is known, so that parallel trials are spread (the constant liar: Ginsbourger et al., 2010).
        number: Counts from 1; in a grid at most its size.
    """
    if search.sampler is Sampler.GRID:
        order = random.Random(search.seed).sample(range(grid_size(search.space)), search.trials)
        return grid_point(search.space, order[number - 1])
    study = _study(search, trials, seed=_mix(search.seed, number))
    distributions = _distributions(search.space)
    asked = study.ask(distributions)
    return {path: _decode(domain, asked.params[path]) for path, domain in search.space.items()}


def importances(search: Search, trials: Sequence[Trial]) -> dict[str, float]:
    """Return what each parameter had to do with the value, in shares of 1, by path; the weightiest first.

    The algorithm is PED-ANOVA: Watanabe et al., IJCAI 2023. It asks what sets the best tenth of the trials
    apart. Empty while there are too few, or where nothing does, for all are alike.
    """
    valued = [trial for trial in trials if trial.state == TrialState.SUCCEEDED]
    if len(valued) < LEAST_RANKED_TRIALS:
        return {}
    costs = sorted(cost(search, trial) for trial in valued)
    if costs[math.ceil(len(costs) * _BEST_SHARE) - 1] == costs[-1]:
        return {}
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    evaluator = PedAnovaImportanceEvaluator(target_quantile=_BEST_SHARE)
    return dict(get_param_importances(_study(search, valued, seed=0), evaluator=evaluator))


def _study(search: Search, trials: Sequence[Trial], *, seed: int) -> "optuna.Study":
    """The trials as a study of Optuna's, in memory."""
    import optuna

    # It announces every study it makes.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler: optuna.samplers.BaseSampler
    if search.sampler is Sampler.RANDOM:
        sampler = optuna.samplers.RandomSampler(seed=seed)
    else:
        startup = min(_MOST_STARTUP_TRIALS, max(1, search.trials // _STARTUP_SHARE))
        sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed)
    study = optuna.create_study(direction="maximize" if search.maximize else "minimize", sampler=sampler)
    distributions = _distributions(search.space)
    study.add_trials([_encode(search.space, trial, distributions) for trial in trials])
    return study


def _encode(space: Space, trial: Trial, distributions: Mapping[str, Any]) -> "optuna.trial.FrozenTrial":
    from optuna.trial import TrialState as OptunaState
    from optuna.trial import create_trial

    states = {
        TrialState.RUNNING: OptunaState.RUNNING,
        TrialState.SUCCEEDED: OptunaState.COMPLETE,
        TrialState.PRUNED: OptunaState.PRUNED,
        TrialState.FAILED: OptunaState.FAIL,
        TrialState.CANCELLED: OptunaState.FAIL,
    }
    pruned = trial.state == TrialState.PRUNED and trial.value is not None
    return create_trial(
        state=states[trial.state],
        value=trial.value if trial.state == TrialState.SUCCEEDED else None,
        params={path: _place(domain, trial.parameters[path]) for path, domain in space.items()},
        distributions=dict(distributions),
        intermediate_values={trial.epoch: trial.value} if pruned and trial.value is not None else None,
    )


def _distributions(space: Space) -> "dict[str, optuna.distributions.BaseDistribution]":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for path, domain in space.items():
        match domain:
            case Real(least=least, greatest=greatest, log=log):
                found[path] = FloatDistribution(least, greatest, log=log)
            case Integer(least=least, greatest=greatest, step=step, log=log):
                found[path] = IntDistribution(least, greatest, log=log, step=step)
            case Choice(values=values):
                # By their places: Optuna takes no lists.
                found[path] = CategoricalDistribution(range(len(values)))
    return found


def _place(domain: Domain, value: Value) -> Value:
    return domain.values.index(value) if isinstance(domain, Choice) else value


def _decode(domain: Domain, drawn: Any) -> Value:
    return domain.values[drawn] if isinstance(domain, Choice) else drawn


def _mix(seed: int, number: int) -> int:
    """A seed of 32 bits for each trial."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4])

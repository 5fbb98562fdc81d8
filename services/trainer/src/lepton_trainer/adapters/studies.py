"""Studies, between the contract and the search that their trials follow."""

from collections.abc import Mapping, Sequence

from lepton.job.v1 import job_pb2
from lepton.training.v1 import study_pb2, training_pb2
from lepton_common.errors import FieldViolation, InvalidField, LeptonError, WrongState
from lepton_common.interceptors.validation import check as check_rules
from lepton_common.jobs.series import Series
from lepton_trainer.adapters.acceptance import fill_in_checked
from lepton_trainer.adapters.parameters import apply, decode_space, decode_value, encode_value, violation
from lepton_trainer.pruning import Course, Median, Pruner, SuccessiveHalving
from lepton_trainer.space import Space, grid_size, probes
from lepton_trainer.study import Sampler, Search, Trial, TrialState, best_values
from lepton_trainer.training import MAX_LOCAL_WORKERS, DatasetVersion

_TRIALS = 20
_MOST_TRIALS = 1000
_METRIC = "validation_loss"

_SAMPLERS: Mapping[study_pb2.Sampler.ValueType, Sampler] = {
    study_pb2.SAMPLER_UNSPECIFIED: Sampler.TPE,
    study_pb2.SAMPLER_TPE: Sampler.TPE,
    study_pb2.SAMPLER_RANDOM: Sampler.RANDOM,
    study_pb2.SAMPLER_GRID: Sampler.GRID,
}


def decode_search(spec: study_pb2.StudySpec) -> Search:
    """Return what a study searches, and how; what it leaves at zero takes its default.

    Raises:
        InvalidField: It cannot be searched.
    """
    space = decode_space(spec)
    sampler = _SAMPLERS[spec.sampler]
    return Search(
        space=space,
        trials=_grid_trials(spec, space) if sampler is Sampler.GRID else spec.trials or _TRIALS,
        parallel=spec.parallel_trials or 1,
        metric=spec.objective.metric or _METRIC,
        maximize=spec.objective.direction == study_pb2.DIRECTION_MAXIMIZE,
        sampler=sampler,
        pruner=_decode_pruner(spec),
        seed=spec.seed,
    )


def check_study(
    spec: study_pb2.StudySpec, dataset: DatasetVersion, *, most_workers: int = MAX_LOCAL_WORKERS
) -> None:
    """Check a study for a dataset version and write into it what it leaves to the server.

    What its training leaves open stays open: each trial decides for itself.

    Raises:
        InvalidField: It cannot be searched, or a value that a parameter may take cannot be trained with.
        WrongState: The dataset version has nothing to compare trials by.
        LeptonError: The training cannot be had at all; see `training.check`.
    """
    search = decode_search(spec)
    # In a copy: a default may depend on what is searched, as the step size does on the optimizer.
    base = training_pb2.TrainingSpec()
    base.CopyFrom(spec.training)
    try:
        fill_in_checked(base, dataset, most_workers=most_workers)
    except LeptonError as error:
        raise _of_study(error) from error
    spec.training.dataset_version = dataset.name
    if not dataset.validation_records and search.metric.startswith("validation_"):
        raise WrongState(
            f"{dataset.name} has no records in its validation split, by which trials could be compared"
        )
    places = {path: place for place, path in enumerate(search.space)}
    for path, values in probes(search.space):
        try:
            probe = apply(spec.training, values)
            check_rules(probe)
            fill_in_checked(probe, dataset, most_workers=most_workers)
        except LeptonError as error:
            described = ", ".join(f"{name}={value}" for name, value in values.items())
            raise violation(
                places[path], f"no training can have {described}: {_of_study(error).message}"
            ) from error
    _fill_in(spec, search)


def trial_spec(spec: study_pb2.StudySpec, parameters: Mapping[str, object]) -> training_pb2.TrainingSpec:
    """Return what a trial with these parameters trains.

    Raises:
        InvalidField: A value is none of its field, or breaks its rules.
    """
    training = apply(spec.training, parameters)
    check_rules(training)
    return training


def decode_trial(trial: study_pb2.Trial) -> Trial:
    """Return a trial as the search knows it."""
    return Trial(
        number=trial.number,
        state=TrialState(study_pb2.TrialState.Name(trial.state).removeprefix("TRIAL_STATE_")),
        parameters={path: decode_value(value) for path, value in trial.parameters.items()},
        value=trial.value if trial.HasField("value") else None,
        epoch=trial.epoch,
        reason=trial.reason,
        message=trial.message,
    )


def encode_trial(trial: Trial, *, training_job: str) -> study_pb2.Trial:
    """Return a trial as it is written down."""
    return study_pb2.Trial(
        number=trial.number,
        state=encode_state(trial.state),
        parameters={path: encode_value(value) for path, value in trial.parameters.items()},
        training_job=training_job,
        message=trial.message,
        reason=trial.reason,
    )


def encode_state(state: TrialState) -> study_pb2.TrialState.ValueType:
    """Return a state as it is written down."""
    return study_pb2.TrialState.Value(f"TRIAL_STATE_{state}")


def points_of(job: training_pb2.TrainingJob, metric: str) -> list[tuple[int, float]]:
    """Return what a training job has measured, as (epoch, value), in order."""
    series = next((each for each in job.status.metrics if each.name == metric), None)
    return [] if series is None else [(point.step, point.value) for point in series.points]


def course_of(points: Sequence[tuple[int, float]], *, maximize: bool) -> Course:
    """Return measurements as costs."""
    return [(epoch, -value if maximize else value) for epoch, value in points]


def encode_metrics(search: Search, trials: Sequence[Trial]) -> list[job_pb2.MetricSeries]:
    """Return what a study has come to, over the numbers of its trials."""
    rows = best_values(search, trials)
    series = {
        "best_value": Series((number, best) for number, _, best in rows),
        "value": Series((number, value) for number, value, _ in rows),
    }
    return [
        job_pb2.MetricSeries(
            name=name,
            points=[job_pb2.MetricPoint(step=step, value=value) for step, value in each.points()],
        )
        for name, each in series.items()
        if rows
    ]


def _decode_pruner(spec: study_pb2.StudySpec) -> Pruner | None:
    match spec.WhichOneof("pruner"):
        case "median":
            return Median(
                startup_trials=spec.median.startup_trials or Median.startup_trials,
                warmup_epochs=spec.median.warmup_epochs,
            )
        case "successive_halving":
            given, default = spec.successive_halving, SuccessiveHalving()
            if given.reduction_factor == 1:
                raise _invalid("successive_halving.reduction_factor", "must be at least 2")
            return SuccessiveHalving(
                min_epochs=given.min_epochs or default.min_epochs,
                reduction_factor=given.reduction_factor or default.reduction_factor,
                brackets=given.brackets or default.brackets,
            )
        case _:
            return None


def _grid_trials(spec: study_pb2.StudySpec, space: Space) -> int:
    try:
        size = grid_size(space)
    except ValueError as error:
        (path,) = error.args
        place = [*space].index(path)
        raise violation(
            place, f"{path} has no end of values: a grid takes whole numbers and choices"
        ) from error
    if not spec.trials and size > _MOST_TRIALS:
        raise _invalid("trials", f"must be given: the grid has {size} points, more than {_MOST_TRIALS}")
    return min(spec.trials or size, size)


def _fill_in(spec: study_pb2.StudySpec, search: Search) -> None:
    """Write the values of a search into the spec that it was decoded from, so that defaults show."""
    spec.trials = search.trials
    spec.parallel_trials = search.parallel
    spec.objective.metric = search.metric
    spec.objective.direction = (
        study_pb2.DIRECTION_MAXIMIZE if search.maximize else study_pb2.DIRECTION_MINIMIZE
    )
    spec.sampler = study_pb2.Sampler.Value(f"SAMPLER_{search.sampler}")
    match search.pruner:
        case Median(startup_trials=trials):
            spec.median.startup_trials = trials
        case SuccessiveHalving(min_epochs=epochs, reduction_factor=factor, brackets=brackets):
            spec.successive_halving.min_epochs = epochs
            spec.successive_halving.reduction_factor = factor
            spec.successive_halving.brackets = brackets


def _of_study(error: LeptonError) -> LeptonError:
    """The same error of a study, which holds the training spec at another place than a training job."""

    def moved(text: str) -> str:
        return text.replace("training_job.spec.", "study.spec.training.")

    return type(error)(
        moved(error.message),
        metadata=error.metadata,
        violations=[FieldViolation(moved(each.field), each.description) for each in error.violations],
        retry_after_seconds=error.retry_after_seconds,
    )


def _invalid(field: str, description: str) -> InvalidField:
    path = f"study.spec.{field}"
    return InvalidField(f"{path}: {description}", violations=[FieldViolation(path, description)])

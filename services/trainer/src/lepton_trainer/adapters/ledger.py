"""The ledger of privacy: what each training spends of its dataset, kept in the same store as the jobs.

A training is accepted, and what it spends is written down, in one transaction, in which nobody else is: of
two that together would be too much, the second is refused. What is written down outlives the job. It stops
counting only where the job has ended before any worker was started, for then nothing was learnt.
"""

from collections.abc import Iterable, Sequence

from lepton.training.v1 import training_pb2
from lepton_common.jobs import job as life
from lepton_common.records import Collection, ResourceStore, Rows, Transaction
from lepton_trainer.budget import Cost, check_budget, left_of, total
from lepton_trainer.training import DatasetVersion

_SEGMENT = "privacySpendings"


class Ledger:
    """What training jobs spend of the privacy of datasets."""

    def __init__(
        self,
        store: ResourceStore,
        jobs: Collection[training_pb2.TrainingJob],
        spendings: Collection[training_pb2.PrivacySpending],
    ) -> None:
        """Keep the spendings of `jobs` in `spendings`, both in `store`."""
        self._store = store
        self._jobs = jobs
        self.spendings = spendings
        """Changed by `create` alone: a transaction that calls it names this collection too."""

    async def accept(
        self,
        job: training_pb2.TrainingJob,
        dataset: DatasetVersion | None,
        *,
        request_id: str,
        uid: str = "",
    ) -> training_pb2.TrainingJob:
        """Add a job, with what it spends, and return it; once for a request.

        Args:
            job: To be added.
            dataset: What it is trained on; None where a job of its name was there before.
            request_id: As for `Collection.create`.
            uid: As for `Collection.create`.

        Raises:
            AlreadyExists: There is one of its name, made by another request.
            PrivacyBudgetExceeded: Not so much is left.
        """

        def body(transaction: Transaction) -> training_pb2.TrainingJob:
            jobs = transaction.rows(self._jobs)
            if dataset is None or jobs.find(job.name) is not None:
                return jobs.create(job, request_id=request_id, uid=uid)
            return self.create(transaction, job, dataset, request_id=request_id, uid=uid)

        return await self._store.transaction(body, self._jobs, self.spendings)

    def create(
        self,
        transaction: Transaction,
        job: training_pb2.TrainingJob,
        dataset: DatasetVersion,
        *,
        request_id: str = "",
        uid: str = "",
    ) -> training_pb2.TrainingJob:
        """Add a job that is new, with what it spends, within a transaction.

        Raises:
            AlreadyExists: There is one of its name.
            PrivacyBudgetExceeded: Not so much is left.
        """
        jobs, spendings = transaction.rows(self._jobs), transaction.rows(self.spendings)
        created = jobs.create(job, request_id=request_id, uid=uid)
        if created.spec.HasField("privacy"):
            _check(dataset, cost_of(_counted(dataset.dataset, jobs, spendings)), created.spec.privacy)
            spending = training_pb2.PrivacySpending(
                training_job=created.name,
                training_job_uid=created.uid,
                dataset_version=created.spec.dataset_version,
                epsilon=created.spec.privacy.epsilon,
                delta=created.spec.privacy.delta,
            )
            spendings.create_numbered(dataset.dataset, _SEGMENT, spending)
        return created

    async def check(
        self,
        job: training_pb2.TrainingJob,
        dataset: DatasetVersion,
        *,
        besides: Iterable[training_pb2.TrainingJob] = (),
    ) -> None:
        """Say beforehand whether a job could be added now, after others that are about to be.

        Raises:
            PrivacyBudgetExceeded: Not so much is left.
        """
        if job.spec.HasField("privacy"):
            counted = cost_of(await self.of(dataset.dataset))
            others = cost_of(other.spec.privacy for other in besides)
            _check(dataset, total([counted, others]), job.spec.privacy)

    async def of(self, dataset: str) -> Sequence[training_pb2.PrivacySpending]:
        """Return what counts for `datasets/{dataset}`, oldest first."""

        def body(transaction: Transaction) -> Sequence[training_pb2.PrivacySpending]:
            return _counted(dataset, transaction.rows(self._jobs), transaction.rows(self.spendings))

        return await self._store.snapshot(body)

    async def close(self, job: training_pb2.TrainingJob) -> None:
        """Forget what a job that is about to be deleted would have spent, if it never did."""
        if not job.spec.HasField("privacy") or not _never_started(job):
            return

        def body(transaction: Transaction) -> None:
            spendings = transaction.rows(self.spendings)
            dataset = job.spec.dataset_version.partition("/versions/")[0]
            for spending in [*spendings.each(parent=dataset)]:
                if spending.training_job_uid == job.uid:
                    spendings.delete(spending.name)

        await self._store.transaction(body, self.spendings)


def cost_of(spendings: Iterable[training_pb2.PrivacySpending | training_pb2.Privacy]) -> Cost:
    """Return what trainings spend together."""
    return total(Cost(epsilon=each.epsilon, delta=each.delta) for each in spendings)


def encode_ledger(
    dataset: str, budget: Cost | None, spendings: Sequence[training_pb2.PrivacySpending]
) -> training_pb2.PrivacyLedger:
    """Return what counts for a dataset, and what is left of its budget."""
    spent = cost_of(spendings)
    ledger = training_pb2.PrivacyLedger(
        dataset=dataset, epsilon_spent=spent.epsilon, delta_spent=spent.delta, spendings=spendings
    )
    if budget is not None:
        ledger.budget.epsilon, ledger.budget.delta = budget.epsilon, budget.delta
        ledger.epsilon_left = left_of(budget, spent).epsilon
    return ledger


def _check(dataset: DatasetVersion, spent: Cost, asked: training_pb2.Privacy) -> None:
    if dataset.privacy_budget is not None:
        check_budget(dataset.dataset, dataset.privacy_budget, spent=spent, asked=cost_of([asked]))


def _counted(
    dataset: str, jobs: Rows[training_pb2.TrainingJob], spendings: Rows[training_pb2.PrivacySpending]
) -> Sequence[training_pb2.PrivacySpending]:
    def counts(spending: training_pb2.PrivacySpending) -> bool:
        job = jobs.find(spending.training_job)
        return job is None or job.uid != spending.training_job_uid or not _never_started(job)

    return [spending for spending in spendings.each(parent=dataset) if counts(spending)]


def _never_started(job: training_pb2.TrainingJob) -> bool:
    """Say whether a job has ended before its first attempt, which is written down before workers run."""
    return life.is_final(job.status.state) and not job.status.attempt

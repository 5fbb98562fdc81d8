"""A model version under an endpoint, from its first fetch to its last answer."""

import enum
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from lepton_common.errors import DependencyUnavailable, ShuttingDown, WrongState
from lepton_inference.batch import Arrays
from lepton_inference.batcher import Batcher, BatchLimits
from lepton_inference.cache import ResponseCache, key_of
from lepton_inference.catalogue import Version
from lepton_inference.model import Model
from lepton_inference.queued import DEFAULT_PRIORITY, Queued
from lepton_inference.signature import Tensor, check_inputs
from lepton_inference.statistics import Statistics

RETRY_SECONDS = 1.0


class State(enum.Enum):
    """Whether a version can answer."""

    LOADING = enum.auto()
    READY = enum.auto()
    FAILED = enum.auto()


@dataclass(frozen=True)
class Status:
    """What this server says of one version.

    `reason` is why it is not ready, or why one that is could not be replaced; `provider` is the execution
    provider that really runs it, `provider_share` the share of its nodes there.
    """

    version: str
    state: State
    reason: str = ""
    provider: str = ""
    provider_share: float = 0.0


class Deployment:
    """A version, its state, and while it is ready its model and the queue in front of it."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.statistics = Statistics()
        self.state = State.LOADING
        self.reason = ""
        self.worked_out: dict[Hashable, object] = {}
        """What was found out about requests for the model that answers, for whoever found it out."""
        self.cache: ResponseCache | None = None
        """What the model that answers gave to earlier requests; None where nothing is kept."""
        self._cache_bytes = 0
        self._model: Model | None = None
        self._batcher: Batcher | None = None
        self._limits = BatchLimits()

    @property
    def status(self) -> Status:
        """What is reported of it."""
        status = Status(self.version.name, self.state, self.reason)
        if self._model is None:
            return status
        return replace(status, provider=self._model.provider, provider_share=self._model.provider_share)

    @property
    def memory_bytes(self) -> int:
        """What its model takes; 0 without one."""
        return self._model.memory_bytes if self._model else 0

    @property
    def queue_length(self) -> int:
        """Requests that wait."""
        return self._batcher.queue_length if self._batcher else 0

    @property
    def cache_bytes(self) -> int:
        """What the responses take that are kept."""
        return self.cache.size_bytes if self.cache else 0

    @property
    def limits(self) -> BatchLimits:
        """How its requests are batched, once it is ready."""
        return self._limits

    @property
    def is_pending(self) -> bool:
        """Whether the first try to load it is under way; one that is tried again has said why."""
        return self.state is State.LOADING and not self.reason

    @property
    def model(self) -> Model:
        """The model that answers.

        Raises:
            DependencyUnavailable: it is still being loaded.
            WrongState: it could not be loaded.
            ShuttingDown: it was retired.
        """
        if self._model is None:
            why = f": {self.reason}" if self.reason else ""
            if self.state is State.LOADING:
                raise DependencyUnavailable(
                    f"{self.version.name} is still being loaded{why}", retry_after_seconds=RETRY_SECONDS
                )
            if self.state is State.FAILED:
                raise WrongState(f"{self.version.name} could not be loaded{why}")
            raise ShuttingDown(f"{self.version.name} is not served here any more; try again")
        return self._model

    async def start(self, model: Model, limits: BatchLimits) -> None:
        """Answers with this model from now on; what waits in an earlier queue is answered first."""
        self._limits = limits if model.batched else replace(limits, max_batch_size=0)
        batcher = Batcher(
            model.run,
            self._limits,
            statistics=self.statistics,
            instances=model.instances,
            prepare=model.prepare,
            empty=model.empty,
        )
        earlier, self._batcher = self._batcher, batcher
        self._model, self.state, self.reason = model, State.READY, ""
        self._forget()
        if earlier:
            await earlier.drain()

    def keep_responses(self, most_bytes: int) -> None:
        """Keeps what the model gives, up to so many bytes, for requests that are the same; 0 for nothing."""
        if most_bytes != self._cache_bytes:
            self._cache_bytes = most_bytes
            self._forget()

    def fail(self, reason: str) -> None:
        """It cannot be loaded."""
        self.state, self.reason = State.FAILED, reason

    async def infer(
        self,
        tensors: Sequence[Tensor],
        *,
        deadline: float | None = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> Arrays:
        """All outputs for the tensors of one request, by name; see `Batcher.infer`.

        Raises:
            TensorMismatch: they are not the model's inputs.
            LeptonError: what `model` and `Batcher.infer` raise.
        """
        model = self.model
        records = check_inputs(model.signature, tensors, batched=model.batched)
        assert self._batcher is not None
        inputs = {tensor.name: tensor.array for tensor in tensors}
        cache = self.cache
        if cache is None:
            return await self._batcher.infer(inputs, records, deadline=deadline, priority=priority)
        arrived = time.monotonic()
        key = key_of(inputs)
        found = cache.find(key)
        if found is not None:
            self.statistics.found(arrived)
            return found
        self.statistics.missed(arrived)
        outputs = await self._batcher.infer(inputs, records, deadline=deadline, priority=priority)
        cache.keep(key, outputs)
        return outputs

    def submit(self, request: Queued) -> None:
        """Takes a request whose inputs are the model's, or refuses it: it is told what becomes of it.

        Raises:
            LeptonError: what `model` raises.
        """
        if self._batcher is None:
            _ = self.model
        assert self._batcher is not None
        self._batcher.submit(request)

    def withdraw(self, request: Queued) -> None:
        """Forgets a request that nobody waits for any more."""
        if self._batcher is not None:
            self._batcher.withdraw(request)

    async def retire(self) -> None:
        """Answers what waits, then lets go of the model."""
        if self._batcher:
            await self._batcher.drain()
        self._model = self._batcher = None
        self._cache_bytes = 0
        self._forget()

    def _forget(self) -> None:
        """Forgets what belongs to an earlier model. What is still under way goes into the earlier cache."""
        self.worked_out.clear()
        self.cache = ResponseCache(self._cache_bytes) if self._cache_bytes else None

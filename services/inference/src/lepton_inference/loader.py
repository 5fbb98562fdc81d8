"""From a model version to a model that runs: fetched, checked, admitted to memory, loaded, warmed up."""

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from lepton_common.errors import InvalidModel, NotFound, Overloaded, WrongState
from lepton_inference import cuda, memory
from lepton_inference.artifacts import Artifacts
from lepton_inference.background import Background
from lepton_inference.catalogue import MODEL_FILE, Catalogue, Endpoint, Version
from lepton_inference.gpu import Gpu
from lepton_inference.memory import MemoryBudget
from lepton_inference.model import Model, load_model
from lepton_inference.pinned import PinnedMemory
from lepton_inference.sessions import RuntimeOptions
from lepton_inference.signature import Signature

T = TypeVar("T")

Identity: TypeAlias = tuple[str, Signature, RuntimeOptions]
"""What makes two models the same: the files, what they are registered as, and how they run."""


@dataclass(frozen=True)
class _Batch:
    """What memory depends on."""

    identity: Identity
    records: int


@dataclass(eq=False)
class _Resident:
    """What is in memory of a model, as long as it is: also when nobody uses it any more."""

    sessions: list[Any]
    pinned: PinnedMemory | None
    on_gpu: bool
    size_bytes: int
    largest_batch: int = 0


class Loader:
    """Loads one version at a time, and what several endpoints run in the same way only once.

    All of it happens in one thread, the end of models included: to free much memory takes long, too. What
    takes most of it, to load and to warm up, gives way to calls.
    `host_memory` and `gpu_memory` are what models may take where they run.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        options: RuntimeOptions,
        *,
        gpu: Gpu | None = None,
        host_memory: MemoryBudget | None = None,
        gpu_memory: MemoryBudget | None = None,
    ) -> None:
        self._artifacts = artifacts
        self._options = options
        self._gpu = gpu
        self._host_memory = host_memory or MemoryBudget(in_use=memory.process_bytes)
        self._gpu_memory = gpu_memory or MemoryBudget(in_use=cuda.memory_in_use)
        self._models: weakref.WeakValueDictionary[Identity, Model] = weakref.WeakValueDictionary()
        self._residents: weakref.WeakKeyDictionary[Model, _Resident] = weakref.WeakKeyDictionary()
        self._resident: set[_Resident] = set()
        self._needs: dict[_Batch, int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._background = Background()
        # A model may end wherever the collector runs, also where that very thread holds the executor's lock:
        # its end is handed over by way of a queue that takes none.
        self._ended: deque[_Resident] = deque()
        self._ends: SimpleQueue[None] = SimpleQueue()
        Thread(target=self._follow_ends, name="model-ends", daemon=True).start()

    async def load(self, version: Version, endpoint: Endpoint) -> Model:
        """The version's model, run as an endpoint says and warmed up for its batches.

        Raises:
            NotFound: the registry does not know the version.
            InvalidModel: it is not stored as ONNX.
            Overloaded: it needs more memory than is left. Nothing of it stays.
            WrongState: it would run on a GPU that is lost.
            LeptonError: what `Artifacts.fetch`, `load_model` and `Model.warm_up` raise.
        """
        if not version.digest:
            raise NotFound(f"{version.name} is not in the registry")
        if not version.is_onnx or MODEL_FILE not in version.files:
            raise InvalidModel(f"{version.name} is not stored as ONNX; only that can be served")
        try:
            return await self._in_turn(lambda: self._load(version, endpoint))
        except Overloaded as error:
            # Where it was raised, the model was: that would stay in memory along with the error.
            raise error.with_traceback(None) from None

    async def prune(self, catalogue: Catalogue) -> None:
        """Deletes the files of versions that no endpoint names any more, and forgets what they needed."""
        digests = {version.digest for version in catalogue.versions.values()}
        await self._in_turn(lambda: self._prune(digests))

    async def _in_turn(self, work: Callable[[], T]) -> T:
        def in_turn() -> T:
            # What has ended before this goes before it.
            self._let_go_of_ended()
            return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, in_turn)

    # In the thread of the loader.

    def _load(self, version: Version, endpoint: Endpoint) -> Model:
        options = self._options.of(endpoint.execution)
        if self._gpu and self._gpu.reason and options.device != "cpu":
            raise WrongState(f"the GPU is lost to this server until it starts anew: {self._gpu.reason}")
        # The digest is that of the files alone: other versions of the same may be registered differently.
        identity = (version.digest, version.signature, options)
        batch = _Batch(identity, endpoint.max_batch_size)
        file_bytes = version.files[MODEL_FILE].size_bytes
        model = self._models.get(identity)
        if model is None:
            # The file tells the least that it needs, and an earlier try how much.
            needed_bytes = max(file_bytes, self._needs.get(batch, 0))
            self._check_room(version.name, needed_bytes, on_gpu=options.device != "cpu")
        memory.trim()
        before = {budget: budget.in_use() for budget in (self._host_memory, self._gpu_memory)}
        if model is None:
            model = self._open(version, options)
            self._models[identity] = model
            self._keep(model, file_bytes)
        model.divide(endpoint.max_batch_size)
        runs = endpoint.execution.warm_up_runs
        self._background.run(partial(model.warm_up, endpoint.max_batch_size, runs=runs))
        resident = self._residents[model]
        if endpoint.max_batch_size > resident.largest_batch:
            memory.trim()
            budget = self._budget(on_gpu=model.on_gpu)
            # One that runs already grows by what larger batches need.
            measured_bytes = model.memory_bytes + budget.in_use() - before[budget]
            size_bytes = max(measured_bytes, model.memory_bytes, file_bytes)
            self._needs[batch] = model.memory_bytes = size_bytes
            # Counted when it is known to fit: until then it is beside those that are.
            resident.size_bytes = 0
            try:
                self._check_room(version.name, size_bytes, on_gpu=model.on_gpu)
            finally:
                resident.size_bytes, resident.largest_batch = size_bytes, endpoint.max_batch_size
        return model

    def _check_room(self, name: str, needed_bytes: int, *, on_gpu: bool) -> None:
        taken_bytes = sum(resident.size_bytes for resident in self._resident if resident.on_gpu == on_gpu)
        self._budget(on_gpu=on_gpu).check(name, needed_bytes, taken_bytes=taken_bytes)

    def _budget(self, *, on_gpu: bool) -> MemoryBudget:
        return self._gpu_memory if on_gpu else self._host_memory

    def _open(self, version: Version, options: RuntimeOptions) -> Model:
        folder = self._artifacts.fetch(version)
        load = partial(
            load_model,
            folder / MODEL_FILE,
            options=options,
            registered=version.signature,
            on_lost=self._gpu.lose if self._gpu else None,
        )
        # Where a session has threads of its own, those would give way as long as it runs.
        return self._background.run(load) if options.cores == 1 else load()

    def _keep(self, model: Model, size_bytes: int) -> None:
        resident = _Resident(model.sessions, model.pinned, model.on_gpu, size_bytes)
        self._residents[model] = resident
        self._resident.add(resident)
        weakref.finalize(model, self._let_go_soon, resident).atexit = False

    def _let_go_soon(self, resident: _Resident) -> None:
        """Wherever the last user let go of a model, its memory is freed in the thread of the loader."""
        self._ended.append(resident)
        self._ends.put(None)

    def _follow_ends(self) -> None:
        while True:
            self._ends.get()
            try:
                self._thread.submit(self._let_go_of_ended)
            except RuntimeError:
                # The process ends, and its memory with it.
                return

    def _let_go_of_ended(self) -> None:
        while self._ended:
            self._let_go(self._ended.popleft())

    def _let_go(self, resident: _Resident) -> None:
        self._resident.discard(resident)
        # Here, whether or not the thread that let go of the model is done with that.
        resident.sessions.clear()
        if resident.pinned:
            resident.pinned.close()
        memory.trim()

    def _prune(self, digests: set[str]) -> None:
        self._artifacts.prune(digests)
        self._needs = {batch: size for batch, size in self._needs.items() if batch.identity[0] in digests}

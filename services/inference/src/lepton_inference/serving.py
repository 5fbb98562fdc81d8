"""One endpoint on this server: the versions it should answer with, and those it does.

New versions are loaded beside those that answer, and take over together when all of them
are there. A version that is to run in another way, or that was made anew, is loaded beside what
answers in its name, too. A version that cannot be loaded changes nothing for those that can, and one
that is no longer named goes when it has answered what it had taken.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from lepton_common.errors import DependencyUnavailable, LeptonError, NotFound, Overloaded, WrongState
from lepton_inference.batcher import BatchLimits
from lepton_inference.catalogue import Endpoint, Execution, Version
from lepton_inference.deployment import Deployment, State, Status
from lepton_inference.model import Model
from lepton_inference.routing import Route, choose

logger = logging.getLogger(__name__)

Load: TypeAlias = Callable[[Version, Endpoint], Awaitable[Model]]

_Wanted: TypeAlias = tuple[str, Execution, int]
"""What a version is loaded as: its digest, how it runs, and the largest batch that it is warmed up for."""

_UNLOADED = "unloaded on this server by request"
_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 30.0


class ServedEndpoint:
    """An endpoint, its deployments by version name, and the routes in force.

    `load` makes a model of a version for an endpoint; `limits` are those of queues, batches
    come from the endpoint. `on_change` is called whenever the state of a version changes.
    """

    def __init__(
        self, endpoint: Endpoint, *, load: Load, limits: BatchLimits, on_change: Callable[[], None]
    ) -> None:
        self.endpoint = endpoint
        self.deployments: dict[str, Deployment] = {}
        self._versions: Mapping[str, Version] = {}
        self._routes: tuple[Route, ...] = ()
        self._unloaded = False
        self._load = load
        self._limits = limits
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._wanted: dict[str, _Wanted] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def update(self, endpoint: Endpoint, versions: Mapping[str, Version]) -> None:
        """Works towards this endpoint from now on; `versions` holds those that it names."""
        earlier, self.endpoint, self._versions = self.endpoint, endpoint, versions
        self._plan()
        if self._batching(earlier) != self._batching(endpoint):
            for target, deployment in self.deployments.items():
                # What is being loaded batches anew when it is.
                if deployment.state is State.READY and target not in self._loading:
                    self._end(self._batch_anew(deployment))
        self._settle()

    def find(self, version: str = "", *, key: str | None = None) -> Deployment:
        """The version that answers: the one of this number, or one by weight, the same for a key.

        What is found may still be loading, or have failed: its `model` says so.

        Raises:
            NotFound: the version is not served.
            WrongState: there is none to choose.
        """
        if version:
            for deployment in self.deployments.values():
                if deployment.version.number == version:
                    return deployment
            numbers = sorted(deployment.version.number for deployment in self.deployments.values())
            raise NotFound(
                f"version {version} of {self.endpoint.name!r} is not served; "
                f"served are {', '.join(numbers) or 'none'}"
            )
        if self._unloaded:
            raise WrongState(f"{self.endpoint.name!r} was {_UNLOADED}")
        if len(self._routes) == 1:
            return self.deployments[self._routes[0].target]
        # Without a version that answers, one that should have answered tells why it does not.
        routes = self._routes or tuple(route for route in self.endpoint.routes if route.weight)
        if not routes:
            raise WrongState(f"no version of {self.endpoint.name!r} has a share of the traffic: name one")
        return self.deployments[choose(routes, key)]

    def report(self) -> list[Status]:
        """What this server says of the versions."""
        if self._unloaded:
            return [Status(route.target, State.FAILED, _UNLOADED) for route in self.endpoint.routes]
        return [deployment.status for deployment in self.deployments.values()]

    async def load(self) -> None:
        """Loads anew what was unloaded or had failed, be it to take the place of what answers.

        Raises:
            LeptonError: what `Deployment.model` raises where that does not succeed.
            WrongState: what answers could not be replaced.
        """
        self._unloaded = False
        for target, deployment in [*self.deployments.items()]:
            if deployment.state is State.FAILED:
                self._retire(target)
            elif deployment.reason:
                self._wanted.pop(target)
        self._plan()
        while any(
            target in self._loading and not deployment.reason
            for target, deployment in self.deployments.items()
        ):
            self._changed.clear()
            await self._changed.wait()
        for deployment in self.deployments.values():
            _ = deployment.model
            if deployment.reason:
                raise WrongState(f"{deployment.version.name} {deployment.reason}")

    def lose_gpu(self, reason: str) -> None:
        """Counts what runs on the GPU as failed, for good."""
        for deployment in self.deployments.values():
            if deployment.state is State.READY and deployment.model.on_gpu:
                deployment.fail(reason)
        self._settle()

    async def unload(self) -> None:
        """Takes the endpoint out of service until `load`; what it had taken is answered."""
        self._unloaded = True
        await self.retire()

    async def retire(self) -> None:
        """Ends all versions; what they had taken is answered."""
        for target in [*self.deployments]:
            self._retire(target)
        self._routes = ()
        self._note_change()
        if self._ending:
            await asyncio.wait(self._ending)

    def _plan(self) -> None:
        """Starts to load the versions that are named and not here, or not as they should be."""
        for route in () if self._unloaded else self.endpoint.routes:
            target = route.target
            version = self._versions.get(target, Version(target))
            wanted = (version.digest, self.endpoint.execution, self.endpoint.max_batch_size)
            known = self.deployments.get(target)
            if known and self._wanted.get(target) == wanted:
                continue
            if known and known.state is not State.READY:
                self._retire(target)
                known = None
            if loading := self._loading.pop(target, None):
                loading.cancel()
            deployment = known or Deployment(version)
            deployment.reason = ""
            self.deployments[target] = deployment
            self._wanted[target] = wanted
            self._loading[target] = asyncio.create_task(self._bring_up(deployment, version))
        for deployment in self.deployments.values():
            deployment.keep_responses(self.endpoint.response_cache_bytes)

    async def _bring_up(self, deployment: Deployment, version: Version) -> None:
        """Lets a deployment answer with a version, and leaves it as it is as long as that cannot be."""
        retry_seconds = _FIRST_RETRY_SECONDS
        while not await self._try(deployment, version):
            self._settle()
            await asyncio.sleep(retry_seconds)
            retry_seconds = min(2 * retry_seconds, _LAST_RETRY_SECONDS)
        self._loading.pop(version.name)
        self._settle()

    async def _try(self, deployment: Deployment, version: Version) -> bool:
        """Whether that is settled: it answers, or it never will."""
        try:
            model = await self._load(version, self.endpoint)
            deployment.version = version
            # Given up while what the old one had taken is answered, it is answered all the same.
            await deployment.start(model, self._batching(self.endpoint))
        except DependencyUnavailable as error:
            deployment.reason = str(error)
            return False
        except Overloaded as error:
            # Others may go, and leave it the memory that it needs.
            _refuse(deployment, str(error))
            return False
        except LeptonError as error:
            _refuse(deployment, str(error))
        except Exception:
            # The edge of a background task: nobody else would hear of it.
            logger.exception("loading failed", extra={"model_version": version.name})
            _refuse(deployment, "a fault of the server; its log says more")
        return True

    async def _batch_anew(self, deployment: Deployment) -> None:
        await deployment.start(deployment.model, self._batching(self.endpoint))

    def _settle(self) -> None:
        """Lets those versions answer that should and can, and ends those that do neither."""
        wanted = () if self._unloaded else self.endpoint.routes
        shares = [route for route in wanted if route.weight]
        ready = tuple(route for route in shares if self._state(route) is State.READY)
        pending = any(self._state(route) is State.LOADING for route in shares)
        answers = any(self._state(route) is State.READY for route in self._routes)
        if self.endpoint.follows and not ready and not pending:
            ready = self._stand_in()
        if not shares or not answers or (ready and not pending):
            self._routes = ready
        needed = {route.target for route in (*wanted, *self._routes)}
        for target in self.deployments.keys() - needed:
            self._retire(target)
        self._note_change()

    def _stand_in(self) -> tuple[Route, ...]:
        """The newest version that can answer, in place of newer ones of a model that cannot be loaded."""
        for route in self.endpoint.routes:
            if self._state(route) is State.READY:
                return (replace(route, weight=1),)
        return ()

    def _state(self, route: Route) -> State | None:
        deployment = self.deployments.get(route.target)
        return deployment.state if deployment else None

    def _retire(self, target: str) -> None:
        if loading := self._loading.pop(target, None):
            loading.cancel()
        self._routes = tuple(route for route in self._routes if route.target != target)
        self._wanted.pop(target, None)
        self._end(self.deployments.pop(target).retire())

    def _note_change(self) -> None:
        self._changed.set()
        self._on_change()

    def _end(self, ending: Awaitable[None]) -> None:
        task = asyncio.ensure_future(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _batching(self, endpoint: Endpoint) -> BatchLimits:
        return replace(
            self._limits,
            max_batch_size=endpoint.max_batch_size,
            max_delay_seconds=endpoint.max_delay_seconds,
            preferred_batch_sizes=endpoint.preferred_batch_sizes,
        )


def _refuse(deployment: Deployment, reason: str) -> None:
    """Says why a deployment does not answer, or goes on as it was."""
    if deployment.state is State.READY:
        deployment.reason = f"goes on as before: {reason}"
    else:
        deployment.fail(reason)

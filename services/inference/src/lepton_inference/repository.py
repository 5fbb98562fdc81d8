"""Everything that this server serves."""

import asyncio

from lepton_common.errors import NotFound
from lepton_inference.batcher import BatchLimits
from lepton_inference.catalogue import Catalogue
from lepton_inference.deployment import Deployment, State, Status
from lepton_inference.gpu import Gpu
from lepton_inference.serving import Load, ServedEndpoint


class Repository:
    """Endpoints by name. To be used from one event loop.

    `changed` is set whenever the state of a version changes; who waits for it clears it. `ready` is set for
    good when `is_ready` has first been true. `is_lost` says that the server must be started anew.
    """

    def __init__(self, load: Load, *, limits: BatchLimits) -> None:
        """`load` makes a model of a version for an endpoint; `limits` are those of queues."""
        self._load = load
        self._limits = limits
        self._endpoints: dict[str, ServedEndpoint] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._known = False
        self._settled = False
        self.is_lost = False
        self.changed = asyncio.Event()
        self.ready = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether requests are welcome: the first catalogue was worked through, and something answers.

        A server on which every version failed is not ready; one that has nothing to serve is. One that has
        lost its GPU is not, whatever it could answer without: its place is another's.
        """
        states = {deployment.state for _, deployment in self.deployments()}
        return self._settled and not self.is_lost and (not states or State.READY in states)

    def apply(self, catalogue: Catalogue) -> None:
        """Serves what the catalogue says from now on; loading goes on in the background."""
        for name in self._endpoints.keys() - {endpoint.name for endpoint in catalogue.endpoints}:
            task = asyncio.create_task(self._endpoints.pop(name).retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        for endpoint in catalogue.endpoints:
            if endpoint.name not in self._endpoints:
                self._endpoints[endpoint.name] = ServedEndpoint(
                    endpoint, load=self._load, limits=self._limits, on_change=self._on_change
                )
            self._endpoints[endpoint.name].update(endpoint, catalogue.versions)
        self._known = True
        self._on_change()

    def endpoint(self, name: str) -> ServedEndpoint:
        """The endpoint of this name.

        Raises:
            NotFound: there is none.
        """
        if name not in self._endpoints:
            raise NotFound(f"no endpoint is named {name!r}")
        return self._endpoints[name]

    def deployments(self) -> list[tuple[str, Deployment]]:
        """Every version of every endpoint, with the endpoint's name, by name."""
        return [
            (name, deployment)
            for name, endpoint in sorted(self._endpoints.items())
            for deployment in [*endpoint.deployments.values()]
        ]

    def report(self) -> dict[str, list[Status]]:
        """What this server says of the versions of every endpoint."""
        return {name: endpoint.report() for name, endpoint in sorted(self._endpoints.items())}

    async def follow(self, gpu: Gpu) -> None:
        """Ends what runs on the GPU when that is lost, and is not ready from then on."""
        await gpu.lost.wait()
        self.is_lost = True
        for endpoint in self._endpoints.values():
            endpoint.lose_gpu(gpu.reason)
        self._on_change()

    async def drain(self) -> None:
        """Ends all endpoints; what they had taken is answered."""
        await asyncio.gather(*(endpoint.retire() for endpoint in self._endpoints.values()), *self._retiring)

    def _on_change(self) -> None:
        if self._known and not any(deployment.is_pending for _, deployment in self.deployments()):
            self._settled = True
        if self.is_ready:
            self.ready.set()
        self.changed.set()

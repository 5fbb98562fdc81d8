"""Pools, as endpoints name them, servers report them and a cluster runs them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from lepton.endpoint.v1.endpoint_pb2 import Pool, Replica
from lepton_common.records import Transaction
from lepton_registry.adapters.collections import Collections
from lepton_registry.pool import DEFAULT, Place, count, count_reports
from lepton_registry.reports import counts


class Sight(Protocol):
    """A cluster that runs inference servers."""

    async def places(self) -> Sequence[Place] | None:
        """Return the servers of all pools; None while the cluster does not tell."""

    def refused(self) -> Mapping[str, str]:
        """Return why the cluster makes no servers, by pool."""


class Pools:
    """Pools of inference servers."""

    def __init__(self, collections: Collections, sight: Sight | None = None) -> None:
        """Look at what `collections` hold, and at a cluster if there is one."""
        self._all = collections
        self._sight = sight

    async def list(self) -> list[Pool]:
        """Return all pools by name."""

        def body(transaction: Transaction) -> tuple[set[str], dict[str, list[Replica]]]:
            named = {each.pool or DEFAULT for each in transaction.rows(self._all.endpoints).each()}
            reporting: defaultdict[str, list[Replica]] = defaultdict(list)
            for replica in transaction.rows(self._all.replicas).each():
                if counts(replica.update_time.ToDatetime(UTC), datetime.now(UTC)):
                    reporting[replica.name.split("/")[1]].append(replica)
            return named, reporting

        named, reporting = await self._all.records.snapshot(body)
        places = await self._sight.places() if self._sight else None
        refused = self._sight.refused() if self._sight else {}
        names = named | {*reporting} | {*refused} | {place.pool for place in places or ()}
        pools = []
        for name in sorted(names):
            replicas = sorted(reporting.get(name, ()), key=lambda replica: replica.replica)
            if places is None:
                found = count_reports(len(replicas))
            else:
                found = count([each for each in places if each.pool == name], refused=refused.get(name, ""))
            addresses = (replica.pool_address for replica in replicas if replica.pool_address)
            pools.append(
                Pool(
                    name=name,
                    address=next(addresses, ""),
                    wanted=found.wanted,
                    ready=found.ready,
                    message=found.message,
                    replicas=replicas,
                )
            )
        return pools

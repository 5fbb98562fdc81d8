"""Pools of inference servers: how many of them there are, and why some are missing."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

DEFAULT = "default"
"""The pool of endpoints and servers that name none."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A server that the cluster is to run.

    Attributes:
        pool: The pool that it is for.
        ready: Whether it answers.
        trouble: What keeps it from starting, continuing "1 server "; empty if nothing is known to.
            Example: "has no place: it asks for 1 nvidia.com/gpu; ...".
    """

    pool: str
    ready: bool = False
    trouble: str = ""


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many servers a pool should have and has.

    Attributes:
        wanted: How many there should be.
        ready: How many of them answer.
        message: Why some are missing, for a person; empty if none is.
    """

    wanted: int
    ready: int
    message: str = ""


def count(places: Sequence[Place], *, refused: str = "") -> Count:
    """Count the servers of one pool in a cluster.

    Args:
        places: Its servers.
        refused: Why the cluster makes no more of them, if it has said so.
    """
    ready = sum(place.ready for place in places)
    missing = [place for place in places if not place.ready]
    if not places:
        reason = (
            f"the cluster refuses its servers: {refused}" if refused else "the cluster runs no server for it"
        )
        return Count(wanted=0, ready=0, message=reason)
    return Count(wanted=len(places), ready=ready, message="; ".join(_troubles(missing)))


def count_reports(reporting: int) -> Count:
    """Count the servers of one pool by those that report, where no cluster is looked at."""
    return Count(wanted=reporting, ready=reporting, message="" if reporting else "no server reports for it")


def _troubles(missing: Iterable[Place]) -> list[str]:
    told = Counter(place.trouble or "is starting" for place in missing)
    # What does not end by itself is told first.
    ordered = sorted(told.items(), key=lambda item: (item[0] == "is starting", item[0]))
    return [f"{many} {'server' if many == 1 else 'servers, each'} {trouble}" for trouble, many in ordered]

"""Where a model version came from, as a walk along its lineage."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Node(Protocol):
    """One link of the chain. Files of several sources may share a name; their digests differ."""

    @property
    def name(self) -> str:
        """Name of the resource or of the file."""

    @property
    def kind(self) -> int:
        """What it is."""

    @property
    def digest(self) -> str:
        """Digest of its content; empty where it has none."""

    @property
    def parents(self) -> Sequence[str]:
        """Names of the nodes that it was made from."""


N = TypeVar("N", bound=Node)


def walk(start: N, nodes: Sequence[N]) -> list[N]:
    """Return `start` and then the nodes, nearest first: parents before their own parents.

    A parent that is not among the nodes is passed over, a node that is there twice comes once, and
    what no walk from `start` reaches comes last, in the order given: whatever was recorded shows.
    """
    by_name: dict[str, list[N]] = {}
    for node in nodes:
        by_name.setdefault(node.name, []).append(node)
    found = {_identity(start): start}
    waiting = deque([start])
    while waiting:
        for parent in waiting.popleft().parents:
            for node in by_name.pop(parent, ()):
                if _identity(node) not in found:
                    found[_identity(node)] = node
                    waiting.append(node)
    for node in nodes:
        found.setdefault(_identity(node), node)
    return list(found.values())


def _identity(node: Node) -> tuple[int, str, str]:
    return node.kind, node.name, node.digest

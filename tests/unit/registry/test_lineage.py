"""The walk from a version to its sources shows every link once, nearest first."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_registry.lineage import walk


@dataclass(frozen=True)
class Link:
    name: str
    parents: tuple[str, ...] = ()
    kind: int = 1
    digest: str = ""


VERSION = Link("version", ("job",))
JOB = Link("job", ("dataset", "source version"))
SOURCE = Link("source version", ("first job",))
FIRST_JOB = Link("first job", ("dataset",))
DATASET = Link("dataset", ("a.csv", "b.csv"))
A, B = Link("a.csv"), Link("b.csv")


@pytest.mark.parametrize(
    ("start", "nodes", "expected"),
    [
        (VERSION, [], [VERSION]),
        (VERSION, [JOB, DATASET, A, B], [VERSION, JOB, DATASET, A, B]),
        (VERSION, [B, A, DATASET, JOB], [VERSION, JOB, DATASET, A, B]),
        (
            VERSION,
            [JOB, SOURCE, FIRST_JOB, DATASET, A, B],
            [VERSION, JOB, DATASET, SOURCE, A, B, FIRST_JOB],
        ),
        (VERSION, [JOB, JOB], [VERSION, JOB]),
        (VERSION, [DATASET, A], [VERSION, DATASET, A]),
        (Link("version", ("version",)), [Link("version", ("version",))], [Link("version", ("version",))]),
        (Link("v", ("x",)), [Link("x", ("y",)), Link("y", ("x",))], None),
        (DATASET, [Link("a.csv", digest="1"), Link("a.csv", digest="2")], None),
    ],
    ids=[
        "nothing recorded",
        "a chain",
        "a chain in any order",
        "two ways to one node",
        "a node twice",
        "a parent missing",
        "its own parent",
        "a circle",
        "two files of one name",
    ],
)
def test_a_walk_goes_by_distance(start: Link, nodes: list[Link], expected: list[Link] | None) -> None:
    assert walk(start, nodes) == (expected or [start, *nodes])


names = st.sampled_from("abcdef")
links = st.builds(Link, name=names, parents=st.lists(names, max_size=3).map(tuple), digest=names)


@given(start=links, nodes=st.lists(links, max_size=12, unique_by=lambda link: (link.name, link.digest)))
def test_a_walk_ends_and_shows_every_node_once(start: Link, nodes: list[Link]) -> None:
    found = walk(start, nodes)
    identities = [(link.name, link.digest) for link in found]
    assert found[0] == start
    assert len(set(identities)) == len(identities)
    assert set(identities) == {(link.name, link.digest) for link in [start, *nodes]}

"""Which version answers."""

from collections import Counter

import pytest

from lepton_inference.routing import Route, choose

THIRDS = (Route("a", 1), Route("b", 2), Route("c", 0))
KEYS = [f"user-{number}" for number in range(3000)]


def test_requests_are_shared_out_by_weight() -> None:
    counts = Counter(choose(THIRDS) for _ in KEYS)
    assert counts["a"] / len(KEYS) == pytest.approx(1 / 3, abs=0.05)
    assert counts["c"] == 0


def test_keys_are_shared_out_by_weight() -> None:
    counts = Counter(choose(THIRDS, key) for key in KEYS)
    assert counts["a"] / len(KEYS) == pytest.approx(1 / 3, abs=0.05)
    assert counts["c"] == 0


def test_a_key_stays_with_its_version() -> None:
    assert [choose(THIRDS, key) for key in KEYS] == [choose(THIRDS[::-1], key) for key in KEYS]


def test_only_those_keys_move_that_must() -> None:
    before = {key: choose((Route("old", 99), Route("new", 1)), key) for key in KEYS}
    after = {key: choose((Route("old", 90), Route("new", 10)), key) for key in KEYS}
    moved = {(before[key], after[key]) for key in KEYS if before[key] != after[key]}
    assert moved == {("old", "new")}

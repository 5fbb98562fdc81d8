"""What a study searches: settings of a training by their paths, and the values that each may take."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Value: TypeAlias = Any
"""What JSON can hold: a number, a text, a truth value, or a list of these."""


@dataclass(frozen=True, kw_only=True)
class Real:
    """Any number from `least` to `greatest`; with `log` orders of magnitude count alike."""

    least: float
    greatest: float
    log: bool = False

    def extremes(self) -> tuple[Value, ...]:
        """Return the values between which all others are."""
        return self.least, self.greatest


@dataclass(frozen=True, kw_only=True)
class Integer:
    """Whole numbers from `least` to `greatest`, a whole number of steps away; `log` as for `Real`."""

    least: int
    greatest: int
    step: int = 1
    log: bool = False

    def extremes(self) -> tuple[Value, ...]:
        """Return the values between which all others are."""
        return self.least, self.greatest

    def __len__(self) -> int:
        """How many values there are."""
        return (self.greatest - self.least) // self.step + 1

    def __getitem__(self, place: int) -> Value:
        """The value at a place, counted from 0."""
        return self.least + place * self.step


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Value, ...]

    def extremes(self) -> tuple[Value, ...]:
        """Return all values: none is between others."""
        return self.values

    def __len__(self) -> int:
        """How many values there are."""
        return len(self.values)

    def __getitem__(self, place: int) -> Value:
        """The value at a place, counted from 0."""
        return self.values[place]


Domain: TypeAlias = Real | Integer | Choice

Space: TypeAlias = Mapping[str, Domain]
"""Domains by the path of the field that they are for, as in `optimizer.learning_rate`."""


def check_domain(domain: Domain) -> str:
    """Return what is wrong with a domain, for a person; nothing if it is fine."""
    match domain:
        case Choice(values=values):
            repeated = next((value for place, value in enumerate(values) if value in values[:place]), None)
            return "" if repeated is None else f"must have different values; {repeated!r} is there twice"
        case Real(least=least, greatest=greatest, log=log) | Integer(least=least, greatest=greatest, log=log):
            if least > greatest:
                return f"must have a min that is at most its max; {least} is above {greatest}"
            if log and least <= 0:
                return f"must have a min above 0, to count orders of magnitude; it is {least}"
            if log and isinstance(domain, Integer) and domain.step > 1:
                return "must have either steps or orders of magnitude, not both"
    return ""


def grid_size(space: Space) -> int:
    """Return how many combinations there are.

    Raises:
        ValueError: A parameter has no end of values; the text is its path.
    """
    for path, domain in space.items():
        if isinstance(domain, Real):
            raise ValueError(path)
    return math.prod(len(domain) for domain in space.values() if not isinstance(domain, Real))


def grid_point(space: Space, place: int) -> dict[str, Value]:
    """Return the combination at a place, counted from 0; the last parameter changes the fastest."""
    point = {}
    for path, domain in reversed([*space.items()]):
        assert not isinstance(domain, Real), "grid_size was asked first"
        place, within = divmod(place, len(domain))
        point[path] = domain[within]
    return {path: point[path] for path in space}


def probes(space: Space) -> Iterator[tuple[str, Mapping[str, Value]]]:
    """Yield what tells whether a space is sound: each extreme value of each parameter, the others at their
    first, with the path of the parameter that it probes."""
    first = {path: domain.extremes()[0] for path, domain in space.items()}
    seen: list[Mapping[str, Value]] = []
    for path, value in itertools.chain.from_iterable(
        ((path, value) for value in domain.extremes()) for path, domain in space.items()
    ):
        probe = {**first, path: value}
        if probe not in seen:
            seen.append(probe)
            yield path, probe

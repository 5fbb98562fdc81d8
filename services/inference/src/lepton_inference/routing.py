"""Which version answers a request that names none: by weight, and the same one for the same key.

A key is mapped by weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted
distributed hash tables", 2005, the logarithmic method): each target draws a number from the
key, the largest `-weight / ln(u)` wins. When weights change, only those keys move that must.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Route:
    """A target of an endpoint and its share of the traffic, relative to the others."""

    target: str
    weight: int


def choose(routes: Sequence[Route], key: str | None = None) -> str:
    """The target for one request; at least one of `routes` has a weight above 0."""
    shares = [route for route in routes if route.weight > 0]
    if len(shares) == 1:
        return shares[0].target
    if key is None:
        return random.choices(shares, [route.weight for route in shares])[0].target
    return max(shares, key=lambda route: -route.weight / math.log(_draw(key, route.target))).target


def _draw(key: str, target: str) -> float:
    """A number in (0, 1) that depends on both alone."""
    digest = hashlib.blake2b(f"{target}\0{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**64

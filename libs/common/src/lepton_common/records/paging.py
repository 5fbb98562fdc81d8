"""Pages of a listing, and the tokens that lead from one to the next.

A token holds the place after the last item of a page, not a count: an item that is made or
deleted meanwhile neither hides nor repeats another.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from lepton_common.errors import FieldViolation, InvalidField

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_DIGEST_LENGTH = 16

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items of a listing.

    Attributes:
        items: The items, in order.
        next_page_token: Leads to the next page; empty on the last.
    """

    items: tuple[T, ...]
    next_page_token: str


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is listed, and in which order.

    Attributes:
        kind: The collection.
        parent: Name of the direct parent; empty for all.
        labels: Labels that an item must have, with these values.
        index: What the collection's index function must have said of an item; None for all.
        newest_first: In the order of making, backwards, rather than by name.
    """

    kind: str
    parent: str = ""
    labels: Mapping[str, str]
    index: str | None = None
    newest_first: bool = False

    def token(self, place: str) -> str:
        """Return the token of the page that starts after `place`."""
        return base64.urlsafe_b64encode((self._digest(place) + place).encode()).decode().rstrip("=")

    def place(self, token: str) -> str:
        """Return the place that a token of this query holds.

        Raises:
            InvalidField: It is no token, or one of another query.
        """
        try:
            text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        except ValueError:
            text = ""
        digest, place = text[:_DIGEST_LENGTH], text[_DIGEST_LENGTH:]
        if digest != self._digest(place):
            raise InvalidField(
                "the page token is not one of this listing",
                violations=[
                    FieldViolation("page_token", "must come from the last response, with the same filters")
                ],
            )
        return place

    def _digest(self, place: str) -> str:
        parts = [self.kind, self.parent, sorted(self.labels.items()), self.index, self.newest_first, place]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGEST_LENGTH]


def limit(page_size: int) -> int:
    """Return how many items a page of the wanted size has: 0 is 100, and 1000 is the most.

    Raises:
        InvalidField: The size is negative.
    """
    if page_size < 0:
        raise InvalidField(
            "page_size is negative", violations=[FieldViolation("page_size", "must be at least 0")]
        )
    return min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)

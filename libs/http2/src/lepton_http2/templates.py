"""Header blocks that differ from an earlier one in a value or two: an id, a trace, a token that is no longer.

Clients write such values out, where nothing else of their next block changes. All octets but those of the
values mean what they meant, so only the values are read.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from lepton_http2.hpack import FIELD_OVERHEAD, HpackError, read_string
from lepton_http2.huffman import HuffmanError
from lepton_http2.requests import REGULAR, classify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lepton_http2.requests import Request

__all__ = ["Template", "Templates"]

# What is remembered: so many sizes of blocks, so many blocks of a size.
_MOST_SIZES, _MOST_OF_A_SIZE = 16, 4


class Template:
    """A header block, and what it may differ in.

    Args:
        block: the block.
        values: the places of values in it, as of `hpack.Decoder.written_out`.
        places: for each, which of the request's fields it is of.
        request: what the block meant.
        spare_bytes: by how much the header list may grow.
    """

    def __init__(
        self,
        block: bytes,
        values: Sequence[tuple[int, int]],
        places: Sequence[int],
        *,
        request: Request,
        spare_bytes: int,
    ) -> None:
        edges = [0, *(edge for value in values for edge in value), len(block)]
        self._constants = [(start, stop, block[start:stop]) for start, stop in [*pairwise(edges)][::2]]
        self._values = [
            (start, stop, block[start:stop], place)
            for (start, stop), place in zip(values, places, strict=True)
        ]
        self._request = request
        self._spare_bytes = spare_bytes
        request.varying = places

    def read(self, block: bytes) -> Request | None:
        """What a block of the same size means; None if it is not like this one."""
        for start, stop, constant in self._constants:
            if block[start:stop] != constant:
                return None
        fields = self._request.fields.copy()
        spare = self._spare_bytes
        for start, stop, earlier, place in self._values:
            if block[start:stop] == earlier:
                continue
            name, _, size, _ = fields[place]
            try:
                value, end = read_string(block, start)
            except (HpackError, HuffmanError, IndexError):
                return None
            if end != stop or classify(name, value) != REGULAR:
                return None
            grown = len(name) + len(value) + FIELD_OVERHEAD
            spare -= grown - size
            fields[place] = (name, value, grown, REGULAR)
        return self._request.varied(fields) if spare >= 0 else None


class Templates:
    """The templates of one connection. They hold as long as its dynamic table does not change."""

    def __init__(self) -> None:
        self._by_size: dict[int, list[Template]] = {}

    def read(self, block: bytes) -> Request | None:
        """What a block means; None if it is like none before."""
        for template in self._by_size.get(len(block), ()):
            request = template.read(block)
            if request is not None:
                return request
        return None

    def add(self, size: int, template: Template) -> None:
        """Remembers the template of a block of this size."""
        if size not in self._by_size and len(self._by_size) >= _MOST_SIZES:
            self._by_size.clear()
        of_size = self._by_size.setdefault(size, [])
        of_size.insert(0, template)
        del of_size[_MOST_OF_A_SIZE:]

    def clear(self) -> None:
        """Forgets all."""
        self._by_size.clear()

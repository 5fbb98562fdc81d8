"""Header blocks as they come: put together from frames, decoded once, remembered.

The blocks of a client that makes the same call again are the same octets, or the same but for a value or two.
They mean the same as long as the dynamic table does not change, so what they meant is kept until it does.
"""

from lepton_http2.errors import ConnectionFault, ErrorCode
from lepton_http2.hpack import Decoder, Field, HpackError
from lepton_http2.limits import Limits
from lepton_http2.requests import REGULAR, Request, classify, read_request
from lepton_http2.templates import Template, Templates

__all__ = ["HeaderBlocks"]

# What is remembered: so many blocks, none of them longer.
_MEMO_ENTRIES, _MEMO_BYTES = 64, 1024


class HeaderBlocks:
    """The header blocks of one connection."""

    def __init__(self, limits: Limits) -> None:
        self._decoder = Decoder(limits.header_table_bytes, classify)
        self._max_list_bytes = limits.max_header_list_bytes
        self._max_block_bytes = 2 * limits.max_header_list_bytes
        self.memo: dict[bytes, Request] = {}
        """Requests by their blocks."""
        self._templates = Templates()
        self._partial = b""
        self._partial_ends = False

    def check_size(self, size: int) -> None:
        """Checks a block, or a part of one, before it is kept.

        Raises:
            ConnectionFault: it is far longer than the limit.
        """
        if len(self._partial) + size > self._max_block_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too large")

    def begin(self, part: bytes, *, ends_stream: bool) -> None:
        """Takes the first part of a block that CONTINUATION frames will complete."""
        self._partial = part
        self._partial_ends = ends_stream

    def add(self, part: bytes) -> None:
        """Takes another part."""
        self._partial += part

    def complete(self) -> tuple[bytes, bool]:
        """Gives the whole block, and whether it ends its stream."""
        block, self._partial = self._partial, b""
        return block, self._partial_ends

    def decode(self, block: bytes) -> list[Field]:
        """Decodes a block. Every one must be, for those that follow it.

        Raises:
            ConnectionFault: the tables of both sides differ from now on.
        """
        changes = self._decoder.changes
        try:
            fields = self._decoder.decode(block)
        except HpackError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, str(error)) from error
        if changes != self._decoder.changes:
            self.memo.clear()
            self._templates.clear()
        return fields

    def request(self, block: bytes) -> Request:
        """Decodes the block of a request that `memo` does not hold.

        Raises:
            StreamFault: the request is malformed.
            ConnectionFault: see `decode`.
        """
        request = self._templates.read(block)
        if request is not None:
            return request
        changes = self._decoder.changes
        fields = self.decode(block)
        request = read_request(fields, max_list_bytes=self._max_list_bytes)
        if changes == self._decoder.changes and len(block) <= _MEMO_BYTES:
            if len(self.memo) >= _MEMO_ENTRIES:
                self.memo.clear()
            self.memo[block] = request
            self._learn(block, fields, request)
        return request

    def _learn(self, block: bytes, fields: list[Field], request: Request) -> None:
        """Remembers a block as a template, if it writes values out."""
        values = [
            (number, start, stop)
            for number, start, stop in self._decoder.written_out
            if fields[number][3] == REGULAR
        ]
        if not values or request.oversized:
            return
        # All pseudo-header fields stand in front of the others.
        first = len(fields) - len(request.fields)
        spare_bytes = self._max_list_bytes - sum(size for _, _, size, _ in fields)
        template = Template(
            block,
            [(start, stop) for _, start, stop in values],
            [number - first for number, _, _ in values],
            request=request,
            spare_bytes=spare_bytes,
        )
        self._templates.add(len(block), template)

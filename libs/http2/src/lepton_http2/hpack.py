"""Header compression (RFC 7541).

The decoder keeps the peer's dynamic table, bounded by what we announced. The encoder keeps none: it points
into the static table and writes everything else out, so that what it made once is right on every connection
at any time, and can be kept as bytes.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache

from lepton_http2 import huffman

__all__ = ["EMPTY_TABLE", "FIELD_OVERHEAD", "Decoder", "Field", "HpackError", "encode", "read_string"]

# What a table entry costs beside its octets (section 4.1).
FIELD_OVERHEAD = 32
# No index, length or size that we take needs more: 2^28 octets.
_MOST_INTEGER_BITS = 28

EMPTY_TABLE = b"\x20"
"""In front of a block: the encoder's table holds nothing (section 6.3)."""


class HpackError(ValueError):
    """A header block cannot be decoded; from here on the tables of both sides differ."""


Field = tuple[bytes, bytes, int, int]
"""A header field as the tables keep it: name, value, size, kind.

The size is what it counts for in a table and in a header list: its octets and 32. The kind is what the
decoder's `classify` said of it, once, when it was first seen. A plain tuple, since every request makes some.
"""

# Appendix A, from index 1 on.
_STATIC: tuple[tuple[str, str], ...] = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
)
_LAST_STATIC = len(_STATIC)
_STATIC_FIELDS = {
    (name.encode(), value.encode()): index for index, (name, value) in reversed([*enumerate(_STATIC, 1)])
}
_STATIC_NAMES = {name.encode(): index for index, (name, _) in reversed([*enumerate(_STATIC, 1)])}


class Decoder:
    """Decodes the header blocks of one connection, in the order in which they came.

    Args:
        max_table_bytes: SETTINGS_HEADER_TABLE_SIZE as we announced it.
        classify: asked of each field when it is first seen; see `Field`.
    """

    def __init__(self, max_table_bytes: int, classify: Callable[[bytes, bytes], int]) -> None:
        self._classify = classify
        self._static = _static_fields(classify)
        # The newest is on the right: index 62 is [-1].
        self._dynamic: deque[Field] = deque()
        self._used_bytes = 0
        self._limit_bytes = self._max_bytes = max_table_bytes
        self.changes = 0
        """Goes up whenever a block meant something for those that follow it."""
        self.written_out: list[tuple[int, int, int]] = []
        """The values that the last block wrote out and that no table keeps: the number of the field, and
        where the octets of the string begin and end."""

    def decode(self, block: bytes) -> list[Field]:
        """Decodes a whole header block.

        Raises:
            HpackError: it breaks the rules. The connection cannot go on.
        """
        try:
            return self._decode(block)
        except IndexError:
            raise HpackError("the block ends within a field") from None
        except huffman.HuffmanError as error:
            raise HpackError(str(error)) from error

    def _decode(self, block: bytes) -> list[Field]:
        static, dynamic = self._static, self._dynamic
        fields: list[Field] = []
        self.written_out = []
        at, end = 0, len(block)
        while at < end:
            byte = block[at]
            at += 1
            if byte & 0x80:
                index = byte & 0x7F
                if index == 0x7F:
                    index, at = _integer(block, at, 0x7F)
                if index > _LAST_STATIC:
                    if index - _LAST_STATIC > len(dynamic):
                        raise HpackError("an index beyond the tables is used")
                    fields.append(dynamic[_LAST_STATIC - index])
                elif index:
                    fields.append(static[index])
                else:
                    raise HpackError("index 0 is used")
            elif byte & 0x60 == 0x20:
                if fields:
                    raise HpackError("a table size update stands behind a field")
                size, at = _prefixed(block, at, byte & 0x1F, 0x1F)
                self._resize(size)
            else:
                field, start, at = self._literal(block, at, byte)
                if not byte & 0x40:
                    self.written_out.append((len(fields), start, at))
                fields.append(field)
        return fields

    def _literal(self, block: bytes, at: int, byte: int) -> tuple[Field, int, int]:
        """A field that is written out, and where its value begins and ends."""
        prefix = 0x3F if byte & 0x40 else 0x0F
        index = byte & prefix
        if index == prefix:
            index, at = _integer(block, at, prefix)
        if index:
            name = self._name(index)
        else:
            name, at = read_string(block, at)
        start = at
        value, at = read_string(block, at)
        field = (name, value, len(name) + len(value) + FIELD_OVERHEAD, self._classify(name, value))
        if byte & 0x40:
            self._add(field)
        return field, start, at

    def _name(self, index: int) -> bytes:
        if index <= _LAST_STATIC:
            return self._static[index][0]
        if index - _LAST_STATIC > len(self._dynamic):
            raise HpackError("an index beyond the tables is used")
        return self._dynamic[_LAST_STATIC - index][0]

    def _add(self, field: Field) -> None:
        self.changes += 1
        self._dynamic.append(field)
        self._used_bytes += field[2]
        self._evict()

    def _resize(self, size: int) -> None:
        if size > self._max_bytes:
            raise HpackError("the table is made larger than it may be")
        self.changes += 1
        self._limit_bytes = size
        self._evict()

    def _evict(self) -> None:
        while self._used_bytes > self._limit_bytes:
            self._used_bytes -= self._dynamic.popleft()[2]


@lru_cache(maxsize=4)
def _static_fields(classify: Callable[[bytes, bytes], int]) -> tuple[Field, ...]:
    """The static table by index, made once for each way to classify; index 0 is not in use."""
    named = ((name.encode(), value.encode()) for name, value in _STATIC)
    fields = (
        (name, value, len(name) + len(value) + FIELD_OVERHEAD, classify(name, value)) for name, value in named
    )
    return (b"", b"", 0, 0), *fields


def _prefixed(block: bytes, at: int, value: int, prefix: int) -> tuple[int, int]:
    """An integer whose prefix holds `value`, and where it ends (section 5.1)."""
    return (value, at) if value < prefix else _integer(block, at, prefix)


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """The rest of an integer whose prefix is full."""
    value, shift = prefix, 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift >= _MOST_INTEGER_BITS:
            raise HpackError("an integer is too long")


def read_string(block: bytes, at: int) -> tuple[bytes, int]:
    """A string and where it ends (section 5.2).

    Raises:
        HpackError, IndexError, HuffmanError: it is none.
    """
    byte = block[at]
    at += 1
    size = byte & 0x7F
    if size == 0x7F:
        size, at = _integer(block, at, 0x7F)
    end = at + size
    if end > len(block):
        raise HpackError("the block ends within a string")
    text = block[at:end]
    return (huffman.decode(text) if byte & 0x80 else text), end


def encode(fields: Iterable[tuple[bytes, bytes]], *, compress: bool = True) -> bytes:
    """Encodes fields without the help of a dynamic table.

    Args:
        fields: names, in lower case, and values.
        compress: whether strings are Huffman-coded where that makes them shorter.
    """
    block = bytearray()
    for name, value in fields:
        index = _STATIC_FIELDS.get((name, value))
        if index is not None:
            _write_integer(block, 0x80, 0x7F, index)
            continue
        _write_integer(block, 0x00, 0x0F, _STATIC_NAMES.get(name, 0))
        if name not in _STATIC_NAMES:
            _write_string(block, name, compress=compress)
        _write_string(block, value, compress=compress)
    return bytes(block)


def _write_integer(block: bytearray, first: int, prefix: int, value: int) -> None:
    if value < prefix:
        block.append(first | value)
        return
    block.append(first | prefix)
    value -= prefix
    while value > 0x7F:
        block.append(value & 0x7F | 0x80)
        value >>= 7
    block.append(value)


def _write_string(block: bytearray, text: bytes, *, compress: bool) -> None:
    size = huffman.encoded_bytes(text) if compress else len(text)
    if size < len(text):
        _write_integer(block, 0x80, 0x7F, size)
        block += huffman.encode(text)
    else:
        _write_integer(block, 0x00, 0x7F, len(text))
        block += text

"""The Huffman code of header strings (RFC 7541, section 5.2 and appendix B).

The code is canonical: symbols of one length have consecutive codes in the order of their values, so the
lengths say everything. Decoding walks the code's tree a whole byte at a time; the steps are worked out when
they are first needed and kept, at most 256 for each of the tree's 256 inner nodes.
"""

__all__ = ["HuffmanError", "decode", "encode", "encoded_bytes"]

# The bits of each of the 256 byte values.
_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c"
    "060a0a0c0d06080b0a0a080b080606060505050606060606060607080f060c0a"
    "0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c"
    "1416141416161617161717171717181718181617181717171715161716171718"
    "1615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b"
    "14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a"
)
# The end-of-string symbol. Its code is all ones; the padding of a string is the first bits of it.
_EOS = 256
_EOS_BITS = 30


class HuffmanError(ValueError):
    """The bytes are no string in this code."""


def _codes() -> list[int]:
    """The code of each symbol, the end of string last."""
    lengths = [*_LENGTHS, _EOS_BITS]
    codes = [0] * len(lengths)
    code = bits = 0
    for symbol in sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol)):
        code <<= lengths[symbol] - bits
        bits = lengths[symbol]
        codes[symbol] = code
        code += 1
    return codes


_CODES = _codes()


def _tree() -> list[list[int]]:
    """Inner nodes as pairs [after a 0, after a 1]: another node, or `~symbol`. The root is node 0."""
    nodes = [[0, 0]]
    for symbol, code in enumerate(_CODES):
        node = 0
        length = _LENGTHS[symbol] if symbol < _EOS else _EOS_BITS
        for shift in range(length - 1, 0, -1):
            bit = code >> shift & 1
            if not nodes[node][bit]:
                nodes[node][bit] = len(nodes)
                nodes.append([0, 0])
            node = nodes[node][bit]
        nodes[node][code & 1] = ~symbol
    return nodes


_NODES = _tree()


def _padded() -> frozenset[int]:
    """Where a string may end: at a symbol's end, or after up to seven ones."""
    nodes = [0]
    for _ in range(7):
        nodes.append(_NODES[nodes[-1]][1])
    return frozenset(nodes)


_ENDS = _padded()
# What a byte does at a node, at `node << 8 | byte`: the node after it, and the symbols that it ended.
_steps: dict[int, tuple[int, bytes]] = {}


def _step(node: int, byte: int) -> tuple[int, bytes]:
    symbols = bytearray()
    at = node
    for shift in range(7, -1, -1):
        at = _NODES[at][byte >> shift & 1]
        if at < 0:
            if ~at == _EOS:
                raise HuffmanError("the end-of-string symbol is in the string")
            symbols.append(~at)
            at = 0
    step = (at, bytes(symbols))
    _steps[node << 8 | byte] = step
    return step


def decode(data: bytes) -> bytes:
    """Decodes a string.

    Raises:
        HuffmanError: the end-of-string symbol is in it, or the padding is wrong.
    """
    steps = _steps
    node = 0
    parts = []
    for byte in data:
        node, symbols = steps.get(node << 8 | byte) or _step(node, byte)
        parts.append(symbols)
    if node not in _ENDS:
        raise HuffmanError("the padding is no start of the end-of-string symbol")
    return b"".join(parts)


def encoded_bytes(text: bytes) -> int:
    """How many bytes `encode` makes of it."""
    return (sum(_LENGTHS[symbol] for symbol in text) + 7) // 8


def encode(text: bytes) -> bytes:
    """Encodes a string."""
    number = bits = 0
    for symbol in text:
        length = _LENGTHS[symbol]
        number = number << length | _CODES[symbol]
        bits += length
    padding = -bits % 8
    number = number << padding | (1 << padding) - 1
    return number.to_bytes((bits + padding) // 8)

"""Where things are in the bytes of an inference request, without making a message of them.

Requests of a client differ in their tensors and in their ids. All other bytes are the same again and again:
what they said once they say again, at the same places.

Only the plain form is read: each field once, tensors raw, no parameters. Whatever else a request may be, it
has no layout here, and the generated code reads it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

Message: TypeAlias = bytes | memoryview
"""A request as it came, or where it lies."""

# Tags of length-delimited fields, as one byte (field number << 3 | 2), of `inference.ModelInferRequest` ...
_MODEL_NAME, _MODEL_VERSION, _ID, _INPUT, _OUTPUT, _RAW = 0x0A, 0x12, 0x1A, 0x2A, 0x32, 0x3A
# ... and of the tensors in it.
_NAME, _DATATYPE, _SHAPE = 0x0A, 0x12, 0x1A

_CONTINUES = 0x80
# A length of more bytes is that of no message which is taken here.
_LONGEST_VARINT = 5
# What is kept: so many layouts, so many of one size, none of longer constant parts.
_MOST_LAYOUTS = 1024
_MOST_OF_A_SIZE = 8
_MOST_CONSTANT_BYTES = 4096


class _Unusual(Exception):
    """The request has no layout."""


@dataclass(frozen=True)
class RawTensor:
    """A tensor of a request: what it claims to be, and where its elements are."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Layout:
    """What requests of one layout say.

    `id_start` to `id_stop` is the whole field of the id, its tag included; empty where there is none.
    `constants` are the other bytes that are no elements, each part with its place.
    """

    model_name: str
    model_version: str
    inputs: tuple[RawTensor, ...]
    outputs: tuple[str, ...]
    id_start: int
    id_text: int
    id_stop: int
    constants: tuple[tuple[int, int, bytes], ...]

    def fits(self, message: Message) -> bool:
        """Whether a message of the same size has this layout."""
        for start, stop, constant in self.constants:
            if message[start:stop] != constant:
                return False
        return not self.id_stop or bytes(message[self.id_text : self.id_stop]).isascii()


class Layouts:
    """The layouts of requests, as they come. Remembers a bounded number of them."""

    def __init__(self) -> None:
        self._by_size: dict[int, list[Layout]] = {}
        self._count = 0

    def find(self, message: Message) -> Layout | None:
        """The layout of a message; None if it has none."""
        for layout in self._by_size.get(len(message), ()):
            if layout.fits(message):
                return layout
        made = read_layout(message)
        if made is not None and sum(len(part) for _, _, part in made.constants) <= _MOST_CONSTANT_BYTES:
            self._keep(len(message), made)
        return made

    def _keep(self, size: int, layout: Layout) -> None:
        if self._count >= _MOST_LAYOUTS:
            self._by_size.clear()
            self._count = 0
        same_size = self._by_size.setdefault(size, [])
        if len(same_size) < _MOST_OF_A_SIZE:
            same_size.append(layout)
            self._count += 1
        else:
            same_size[:] = [*same_size[1:], layout]


def read_layout(message: Message) -> Layout | None:
    """Reads the layout of a message; None if it has none."""
    try:
        return _read(message)
    except (_Unusual, UnicodeDecodeError):
        return None


def _read(message: Message) -> Layout:
    names: dict[int, str] = {}
    tensors: list[tuple[str, str, tuple[int, ...]]] = []
    outputs: list[str] = []
    raws: list[tuple[int, int]] = []
    id_field = (0, 0, 0)
    field = 0
    for tag, start, stop in _fields(message, 0, len(message)):
        if tag in (_MODEL_NAME, _MODEL_VERSION, _ID):
            if tag in names:
                raise _Unusual
            names[tag] = str(message[start:stop], "utf-8")
            if tag == _ID:
                id_field = (field, start, stop)
        elif tag == _INPUT:
            tensors.append(_read_tensor(message, start, stop))
        elif tag == _OUTPUT:
            outputs.append(_read_output(message, start, stop))
        elif tag == _RAW:
            raws.append((start, stop))
        else:
            raise _Unusual
        field = stop
    if not raws or len(raws) != len(tensors):
        raise _Unusual
    return Layout(
        model_name=names.get(_MODEL_NAME, ""),
        model_version=names.get(_MODEL_VERSION, ""),
        inputs=tuple(RawTensor(*tensor, *raw) for tensor, raw in zip(tensors, raws, strict=True)),
        outputs=tuple(outputs),
        id_start=id_field[0],
        id_text=id_field[1],
        id_stop=id_field[2],
        constants=_constants(message, sorted([*raws, id_field[1:]])),
    )


def _read_tensor(message: Message, start: int, stop: int) -> tuple[str, str, tuple[int, ...]]:
    texts: dict[int, str] = {}
    shape: tuple[int, ...] | None = None
    for tag, first, last in _fields(message, start, stop):
        if tag in (_NAME, _DATATYPE) and tag not in texts:
            texts[tag] = str(message[first:last], "utf-8")
        elif tag == _SHAPE and shape is None:
            shape = tuple(_sizes(message, first, last))
        else:
            raise _Unusual
    return texts.get(_NAME, ""), texts.get(_DATATYPE, ""), shape or ()


def _read_output(message: Message, start: int, stop: int) -> str:
    name: str | None = None
    for tag, first, last in _fields(message, start, stop):
        if tag != _NAME or name is not None:
            raise _Unusual
        name = str(message[first:last], "utf-8")
    return name or ""


def _constants(message: Message, gaps: list[tuple[int, int]]) -> tuple[tuple[int, int, bytes], ...]:
    """The parts of a message outside of `gaps`."""
    parts = []
    place = 0
    for start, stop in [*gaps, (len(message), len(message))]:
        if start > place:
            parts.append((place, start, bytes(message[place:start])))
        place = stop
    return tuple(parts)


def _fields(message: Message, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The tags of the fields in a part of a message, and where their contents begin and end."""
    while place < end:
        tag = message[place]
        size, start = _varint(message, place + 1, end)
        place = start + size
        if place > end:
            raise _Unusual
        yield tag, start, place


def _sizes(message: Message, place: int, end: int) -> Iterator[int]:
    """The numbers of a packed field."""
    while place < end:
        size, place = _varint(message, place, end)
        yield size


def _varint(message: Message, place: int, end: int) -> tuple[int, int]:
    """A number, and where the next byte is."""
    value = shift = 0
    for byte in message[place : min(end, place + _LONGEST_VARINT)]:
        value |= (byte & ~_CONTINUES) << shift
        place += 1
        if not byte & _CONTINUES:
            return value, place
        shift += 7
    raise _Unusual

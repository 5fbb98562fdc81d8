"""Outputs that are kept for requests that are the same, up to a number of bytes.

What is the same is told by a digest of the inputs: whatever else requests say (their ids, deadlines, the
outputs they ask for and how they want them) is applied to the outputs, which are kept all. The digest is
SHA-256 (FIPS 180-4): nobody finds other inputs with the same one, and processors compute it in hardware, at
2 GB/s where BLAKE2b takes twice as long.

It is right for models that always give the same for the same, as most do. One that draws random numbers
would draw them once.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from lepton_inference.batch import Arrays
from lepton_inference.tensors import Array

if TYPE_CHECKING:
    from _hashlib import HASH as Digest

# What an entry costs besides the elements of its arrays, and each of them.
_ENTRY_BYTES = 400
_ARRAY_BYTES = 200


class ResponseCache:
    """The outputs of one model by the digests of its inputs; those not asked for the longest go first.

    What it takes in memory stays below `most_bytes`. Not thread-safe: belongs to one event loop.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._entries: OrderedDict[bytes, tuple[Arrays, int]] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: bytes) -> Arrays | None:
        """The outputs for inputs of this digest, by name, not to be written to; None if they are not here."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def keep(self, key: bytes, outputs: Arrays) -> None:
        """Keeps a copy of the outputs for inputs of this digest, unless that alone were too much."""
        size = _ENTRY_BYTES + sum(_size_of(array) for array in outputs.values())
        if size > self._most_bytes:
            return
        if earlier := self._entries.pop(key, None):
            self.size_bytes -= earlier[1]
        # A part of a batch would hold on to all of it.
        self._entries[key] = ({name: _copy(array) for name, array in outputs.items()}, size)
        self.size_bytes += size
        while self.size_bytes > self._most_bytes:
            _, (_, size) = self._entries.popitem(last=False)
            self.size_bytes -= size


def begin_key(shapes: Iterable[tuple[str, Sequence[int]]]) -> Digest:
    """A digest of inputs of these names and shapes, to be updated with their elements in the order of names.

    The elements are row-major and little-endian, as they are sent.
    """
    said = sorted((name, tuple(shape)) for name, shape in shapes)
    return sha256(repr(said).encode())


def key_of(inputs: Mapping[str, Array]) -> bytes:
    """The digest of the inputs of a request, whose names and datatypes are the model's."""
    digest = begin_key((name, array.shape) for name, array in inputs.items())
    for _, array in sorted(inputs.items(), key=lambda item: item[0]):
        if array.dtype.hasobject:
            for element in array.ravel():
                text = str(element).encode()
                digest.update(len(text).to_bytes(8, "little"))
                digest.update(text)
        else:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.digest()


def _copy(array: Array) -> Array:
    copied = np.array(array)
    copied.setflags(write=False)
    return copied


def _size_of(array: Array) -> int:
    texts = sum(map(sys.getsizeof, array.ravel())) if array.dtype.hasobject else 0
    return _ARRAY_BYTES + array.nbytes + texts

"""Arrays in memory that is given back and used again, here out of the C library's."""

import ctypes
import gc
from collections.abc import Iterator

import numpy as np
import pytest

from lepton_inference.pinned import PinnedMemory

FP32 = np.dtype(np.float32)


class Allocator:
    """The C library's memory, counted."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.malloc.restype = ctypes.c_void_p
        self.allocated: dict[int, int] = {}

    def allocate(self, size: int) -> int:
        address: int = self._library.malloc(ctypes.c_size_t(size))
        self.allocated[address] = size
        return address

    def free(self, address: int) -> None:
        del self.allocated[address]
        self._library.free(ctypes.c_void_p(address))


@pytest.fixture
def allocator() -> Iterator[Allocator]:
    allocator = Allocator()
    yield allocator
    gc.collect()
    for address in [*allocator.allocated]:
        allocator.free(address)


@pytest.fixture
def memory(allocator: Allocator) -> PinnedMemory:
    return PinnedMemory(allocator.allocate, allocator.free)


def address(array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> int:
    return int(array.ctypes.data)


def test_an_array_lies_in_the_memory_that_was_made(memory: PinnedMemory, allocator: Allocator) -> None:
    array = memory.empty((2, 3), FP32)
    array[:] = np.arange(6).reshape(2, 3)
    assert address(array) in allocator.allocated
    assert allocator.allocated[address(array)] >= array.nbytes
    np.testing.assert_array_equal(array, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("shape", [(), (0, 4), (1025,), (3, 5, 7)])
def test_every_shape_has_room(shape: tuple[int, ...], memory: PinnedMemory) -> None:
    array = memory.empty(shape, FP32)
    array[...] = 7
    assert array.shape == shape
    assert (array == 7).all()


def test_memory_is_used_again_when_the_last_view_is_gone(memory: PinnedMemory, allocator: Allocator) -> None:
    first = memory.empty((4, 4), FP32)
    place = address(first)
    view = first[1:]
    del first
    gc.collect()
    assert address(memory.empty((4, 4), FP32)) != place
    del view
    gc.collect()
    places = {address(array) for array in [memory.empty((4, 4), FP32) for _ in range(2)]}
    assert place in places
    assert len(allocator.allocated) == 2


def test_no_more_is_kept_than_is_of_use(memory: PinnedMemory, allocator: Allocator) -> None:
    arrays = [memory.empty((4, 4), FP32) for _ in range(50)]
    assert len(allocator.allocated) == 50
    del arrays
    gc.collect()
    assert 0 < len(allocator.allocated) <= 8


def test_what_is_closed_keeps_nothing(memory: PinnedMemory, allocator: Allocator) -> None:
    kept, used = memory.empty((4, 4), FP32), memory.empty((4, 4), FP32)
    place = address(used)
    del kept
    gc.collect()
    memory.close()
    assert [*allocator.allocated] == [place]
    used[:] = 3
    del used
    gc.collect()
    assert not allocator.allocated


def refuse(size: int) -> int:
    raise MemoryError


def test_where_there_is_no_such_memory_arrays_are_ordinary() -> None:
    array = PinnedMemory(refuse, lambda address: None).empty((2, 2), FP32)
    array[:] = 1
    np.testing.assert_array_equal(array, np.ones((2, 2)))


def test_objects_lie_elsewhere(memory: PinnedMemory, allocator: Allocator) -> None:
    array = memory.empty((2, 1), np.dtype(object))
    array[:] = "text"
    assert not allocator.allocated

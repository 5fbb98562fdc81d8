"""What is asked of the CUDA runtime itself: how full the GPU is, and memory that it can copy from at once.

ONNX Runtime shows neither to Python. The library is the one that it has loaded.
"""

import ctypes

_NAMES = ("libcudart.so.13", "libcudart.so.12")


def _library() -> ctypes.CDLL | None:
    # Not kept: it is there as soon as the runtime has loaded it.
    for name in _NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def memory_in_use() -> int:
    """Bytes of the GPU's memory that are in use, by whoever it is; 0 without a GPU."""
    free, total = _memory()
    return total - free


def memory_free() -> int:
    """Bytes of the GPU's memory that are free; 0 without a GPU."""
    return _memory()[0]


def allocate_host(size: int) -> int:
    """The address of `size` bytes of page-locked memory.

    Raises:
        MemoryError: there is none.
    """
    library = _library()
    address = ctypes.c_void_p()
    if library is None:
        raise MemoryError("no page-locked memory without a GPU")
    # 0: the default flags.
    failed = library.cudaHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), 0)
    if failed:
        # Else it would be taken for an error of what the GPU does next: a run of a model.
        library.cudaGetLastError()
        raise MemoryError(f"no page-locked memory: CUDA error {failed}")
    assert address.value is not None
    return address.value


def free_host(address: int) -> None:
    """Gives page-locked memory back."""
    library = _library()
    if library is not None:
        library.cudaFreeHost(ctypes.c_void_p(address))


def _memory() -> tuple[int, int]:
    library = _library()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if library is None:
        return 0, 0
    if library.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) != 0:
        library.cudaGetLastError()
        return 0, 0
    return free.value, total.value

"""A GPU that a process has lost: told from the runtime's errors, and final.

Some errors of CUDA leave the context of the process corrupt: every later call fails with the same one, and
NVIDIA's documentation of `cudaError_t` knows no cure but to end the process and start it anew. Others, such
as the lack of memory, end with the run that they happen to.
"""

import asyncio
import re

from lepton_common.errors import ShuttingDown

# Of `cudaError_t`: those after which the process must be started anew, by its documentation, those that a
# broken device or link gives, and 999, an unknown error, of which nothing is known that would end it.
_FATAL_CODES = frozenset({214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 911, 999})
_CODE = re.compile(r"cuda (?:failure|error):? (\d+)", re.IGNORECASE)
# The texts of `cudaGetErrorString`, for what names no code.
_FATAL_TEXTS = (
    "an illegal memory access was encountered",
    "an illegal instruction was encountered",
    "device-side assert triggered",
    "hardware stack error",
    "invalid program counter",
    "misaligned address",
    "operation not supported on global/shared address space",
    "the launch timed out and was terminated",
    "uncorrectable ecc error encountered",
    "uncorrectable nvlink error detected during the execution",
    "unspecified launch failure",
)
# A model chooses the names of its nodes: they say nothing of the device.
_NODE_NAME = re.compile(r"Name:'.*' Status Message:", re.DOTALL)
_SHOWN = 200


class GpuLost(ShuttingDown):
    """The GPU is lost to this process; another replica answers."""


def gpu_lost() -> GpuLost:
    """What is raised to callers."""
    return GpuLost("the GPU of this server does not answer any more; another server does")


def fatal_error(text: str) -> str | None:
    """What the runtime's error text says of a GPU that is lost for good; None where it is not."""
    told = _NODE_NAME.sub("Status Message:", text)
    fatal = any(int(code) in _FATAL_CODES for code in _CODE.findall(told))
    lowered = told.lower()
    if not fatal and not any(phrase in lowered for phrase in _FATAL_TEXTS):
        return None
    found = _CODE.search(told)
    start = found.start() if found else 0
    return told[start:].split(" ; ")[0].strip()[:_SHOWN]


class Gpu:
    """Whether this process still has its GPU. To be made within a running event loop.

    `lost` is set once it has not; `reason` then says what happened.
    """

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.reason = ""
        self._loop = asyncio.get_running_loop()

    def lose(self, reason: str) -> None:
        """It is lost; may be called from any thread, and again."""
        if not self.reason:
            self.reason = reason
            self._loop.call_soon_threadsafe(self.lost.set)

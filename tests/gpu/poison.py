"""Runs a model on CUDA, corrupts the context of this process, and tells what the model says before and after.

Usage: `python poison.py MODEL`. A kernel that writes to nowhere does the harm.
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np

from lepton_common.errors import LeptonError
from lepton_inference.model import Model, load_model
from lepton_inference.sessions import RuntimeOptions
from lepton_inference.signature import Signature

# Stores a word at address 0.
KERNEL = b"""
.version 7.0
.target sm_50
.address_size 64
.visible .entry poison()
{
    .reg .b64 %address;
    .reg .b32 %word;
    mov.u64 %address, 0;
    mov.u32 %word, 1;
    st.global.u32 [%address], %word;
    ret;
}
"""


def poison() -> None:
    """Runs the kernel in the context that the CUDA runtime has made for this thread."""
    driver = ctypes.CDLL("libcuda.so.1")
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    assert driver.cuModuleLoadData(ctypes.byref(module), KERNEL) == 0
    assert driver.cuModuleGetFunction(ctypes.byref(function), module, b"poison") == 0
    one, none = ctypes.c_uint(1), ctypes.c_void_p()
    grid_and_block = (one,) * 6
    launched = driver.cuLaunchKernel(function, *grid_and_block, ctypes.c_uint(0), none, none, none)
    assert launched == 0
    # It ends in an error, which is what it is for.
    assert driver.cuCtxSynchronize() != 0


def main() -> None:
    """See the module."""
    lost: list[str] = []

    def load() -> Model:
        return load_model(
            Path(sys.argv[1]),
            options=RuntimeOptions("cuda"),
            registered=Signature(),
            on_lost=lost.append,
        )

    model = load()
    inputs = {"x": np.ones((1, 2), np.float32)}
    before = model.run(inputs)["y"].tolist()
    poison()
    after = []
    for attempt in (lambda: model.run(inputs), lambda: model.run(inputs), load):
        try:
            attempt()
        except LeptonError as error:
            after.append(type(error).__name__)
    sys.stdout.write(json.dumps({"before": before, "after": after, "lost": lost}) + "\n")
    # The runtime may abort the process when it ends without its device.
    sys.stdout.flush()


if __name__ == "__main__":
    main()

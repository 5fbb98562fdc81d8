"""What TensorFlow reads from the environment when it is imported, and so must be told before."""

import os
from pathlib import Path


def prepare() -> None:
    """Keep TensorFlow's start short and quiet; what the environment says already goes first."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        # Without a GPU the search for one only costs time and warnings.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

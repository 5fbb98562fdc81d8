"""Requests that every service must refuse, and what the caller must be told of each.

They speak of the datasets, models and agents that `refusing_cloud.fill` has made.
"""

from .agents import AGENTS
from .compression import COMPRESSION
from .datasets import DATASETS
from .inference import INFERENCE
from .refusal import Refusals
from .registry import REGISTRY
from .training import TRAINING

REQUESTS: Refusals = {
    f"{service}: {case}": refusal
    for service, refusals in (
        ("data-ingest", DATASETS),
        ("trainer", TRAINING),
        ("compressor", COMPRESSION),
        ("registry", REGISTRY),
        ("inference", INFERENCE),
        ("rl-agent", AGENTS),
    )
    for case, refusal in refusals.items()
}
"""All of them."""

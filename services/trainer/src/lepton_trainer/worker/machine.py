"""What a worker may use of the machine it runs on."""

import os
from collections.abc import Sequence

from lepton_common.machine import memory_limit_bytes, usable_cores

_INPUT_SHARE = 4
"""Records may take one part in so many of the memory: the model, TensorFlow and the kernel need some too."""


def own_cores(*, peers: Sequence[str], index: int) -> int:
    """The cores for one worker, which shares the machine with its peers that run there too."""
    return max(1, usable_cores() // _at_one_place(peers, index))


def own_input_bytes(*, peers: Sequence[str], index: int) -> int:
    """The memory that one worker's records may take, which shares the machine in the same way."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(memory, memory_limit_bytes() or memory) // _INPUT_SHARE // _at_one_place(peers, index)


def _at_one_place(peers: Sequence[str], index: int) -> int:
    """How many of the workers, this one among them, run on its machine."""
    hosts = [peer.rpartition(":")[0] for peer in peers]
    return max(1, hosts.count(hosts[index]))

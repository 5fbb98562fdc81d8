"""The trainer as a process, with another program to train with: `python trainer_of.py known_optimum`."""

import functools
import sys

from lepton_common.server import main
from lepton_trainer.__main__ import run

if __name__ == "__main__":
    main(functools.partial(run, worker=sys.argv[1]))

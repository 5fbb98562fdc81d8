"""The trainer as a process, with another program to train with: `python trainer_of.py known_optimum`."""

import functools
import sys

from lepton_common.server import main
from lepton_trainer import __main__ as trainer

if __name__ == "__main__":
    trainer.TrainingKind = functools.partial(trainer.TrainingKind, worker=sys.argv[1])  # type: ignore[misc]
    main(trainer.run)

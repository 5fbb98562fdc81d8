"""The trainer's two services over gRPC: decode, one call, encode."""

from lepton_trainer.api.studies import StudyServicer
from lepton_trainer.api.training import TrainingServicer

__all__ = ["StudyServicer", "TrainingServicer"]

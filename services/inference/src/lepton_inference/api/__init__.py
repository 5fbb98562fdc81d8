"""The Open Inference Protocol over gRPC: decode, one call, encode."""

from lepton_inference.api.servicer import service

__all__ = ["service"]

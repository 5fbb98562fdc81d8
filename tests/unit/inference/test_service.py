"""What the service offers, and to whom."""

from inference import grpc_service_pb2 as pb
from lepton.access.v1 import access_pb2
from lepton_inference.api import service
from lepton_inference.batcher import BatchLimits
from lepton_inference.catalogue import Endpoint, Version
from lepton_inference.model import Model
from lepton_inference.repository import Repository


async def nothing_to_load(version: Version, endpoint: Endpoint) -> Model:
    raise AssertionError(version)


async def test_every_method_has_its_permission() -> None:
    offered = service(Repository(nothing_to_load, limits=BatchLimits()))
    methods = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    assert offered.permissions.keys() == {method.name for method in methods}
    assert offered.permissions["ModelInfer"] == access_pb2.PERMISSION_PREDICT
    assert offered.permissions["ModelMetadata"] == access_pb2.PERMISSION_READ
    assert offered.permissions["RepositoryModelUnload"] == access_pb2.PERMISSION_WRITE
    assert offered.permissions["SystemSharedMemoryRegister"] == access_pb2.PERMISSION_ADMIN

import pytest

from inference import grpc_service_pb2, grpc_service_pb2_grpc
from lepton.access.v1.access_pb2 import PERMISSION_ADMIN, PERMISSION_PREDICT, PERMISSION_READ
from lepton.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from lepton_common.interceptors.call import Method
from lepton_common.methods import Service


def methods_of(service: Service) -> dict[str, Method]:
    return {method.name: method for method in service.methods()}


DATASETS = methods_of(
    Service(
        descriptor=dataset_pb2.DESCRIPTOR.services_by_name["DatasetService"],
        add=dataset_pb2_grpc.add_DatasetServiceServicer_to_server,
        servicer=object(),
    )
)


def inference_service(**permissions: int | None) -> Service:
    return Service(
        descriptor=grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
        add=grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server,
        servicer=object(),
        permissions=permissions,  # type: ignore[arg-type]
        validate=False,
    )


def test_the_contract_says_what_a_method_asks_for() -> None:
    method = DATASETS["GetDataset"]

    assert method.permission == PERMISSION_READ
    assert method.path == "/lepton.dataset.v1.DatasetService/GetDataset"
    assert method.validate


def test_where_a_contract_says_nothing_the_service_does_and_else_it_is_admin() -> None:
    methods = methods_of(inference_service(ModelInfer=PERMISSION_PREDICT, ServerLive=None))

    assert methods["ModelInfer"].permission == PERMISSION_PREDICT
    assert methods["ServerLive"].permission is None
    assert methods["RepositoryModelLoad"].permission == PERMISSION_ADMIN


def test_a_permission_for_a_method_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="no method ModelInfre"):
        methods_of(inference_service(ModelInfre=PERMISSION_PREDICT))


@pytest.mark.parametrize(
    ("name", "client_streaming", "server_streaming", "endless"),
    [
        ("GetDataset", False, False, False),
        ("WriteUpload", True, False, False),
        ("WatchDatasetVersion", False, True, True),
    ],
)
def test_a_method_knows_its_streams(
    name: str, client_streaming: bool, server_streaming: bool, endless: bool
) -> None:
    method = DATASETS[name]

    assert (method.client_streaming, method.server_streaming, method.endless) == (
        client_streaming,
        server_streaming,
        endless,
    )


def test_a_stream_in_both_directions_ends_by_itself() -> None:
    method = methods_of(inference_service())["ModelStreamInfer"]

    assert (method.client_streaming, method.server_streaming, method.endless) == (True, True, False)

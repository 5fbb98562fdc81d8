"""The ids by which a pipeline finds what it has asked for before."""

import itertools

from lepton.training.v1 import training_pb2
from lepton_sdk.pipeline.execution import request_id_of

SPEC = training_pb2.TrainingSpec(
    dataset_version="datasets/digits/versions/1",
    model="models/digits",
    mlp=training_pb2.Mlp(hidden_units=[64]),
)


def test_an_id_is_the_same_in_every_run() -> None:
    # Not even another version may change it: what an older one has asked for must be found.
    assert request_id_of("digits", "train", SPEC, 0) == "4cd326827eeed694c55f08af10484ee8d058698a"


def test_an_id_fits_the_contract_and_the_name_of_a_job() -> None:
    assert len(request_id_of("digits")) <= 64
    assert request_id_of("digits").isalnum()


def test_what_differs_has_another_id() -> None:
    deeper = training_pb2.TrainingSpec()
    deeper.CopyFrom(SPEC)
    deeper.mlp.hidden_units.append(32)
    asked = [
        ("digits", "train", SPEC, 0),
        ("digits", "train", SPEC, 1),
        ("digits", "train", deeper, 0),
        ("digits", "compress", SPEC, 0),
        ("other", "train", SPEC, 0),
        # Where the parts meet makes a difference too.
        ("digit", "strain", SPEC, 0),
        ("digits", "train"),
        ("digitstrain",),
    ]
    ids = [request_id_of(*parts) for parts in asked]
    for one, other in itertools.combinations(ids, 2):
        assert one != other

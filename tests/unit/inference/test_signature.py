"""Requests and registrations against what a model takes and gives."""

import numpy as np
import pytest

from lepton_common.errors import InvalidModel, TensorMismatch
from lepton_inference.signature import (
    Signature,
    Tensor,
    TensorSpec,
    check_inputs,
    check_outputs,
    check_registered,
    may_batch,
)

SIGNATURE = Signature(
    inputs=(TensorSpec("image", "UINT8", (-1, 4, 4)), TensorSpec("age", "FP32", (-1, 1))),
    outputs=(TensorSpec("probabilities", "FP32", (-1, 3)),),
)


def tensor(name: str, datatype: str, *shape: int) -> Tensor:
    return Tensor(name, datatype, np.zeros(shape, np.float32))


IMAGE, AGE = tensor("image", "UINT8", 2, 4, 4), tensor("age", "FP32", 2, 1)


def test_inputs_in_any_order_are_counted() -> None:
    assert check_inputs(SIGNATURE, [AGE, IMAGE], batched=True) == 2


def test_a_model_without_a_batch_gets_one_record() -> None:
    assert check_inputs(SIGNATURE, [IMAGE, AGE], batched=False) == 1


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        pytest.param([IMAGE], "inputs must be 'image', 'age', got 'image'", id="one missing"),
        pytest.param([IMAGE, AGE, tensor("x", "FP32", 2)], "got 'image', 'age', 'x'", id="one too many"),
        pytest.param([IMAGE, AGE, AGE], "given twice", id="one twice"),
        pytest.param([], "got none", id="none"),
        pytest.param(
            [tensor("image", "FP32", 2, 4, 4), AGE],
            "input 'image' must be UINT8 of shape [-1, 4, 4], got FP32 of shape [2, 4, 4]",
            id="another datatype",
        ),
        pytest.param(
            [tensor("image", "UINT8", 2, 4, 5), AGE], "got UINT8 of shape [2, 4, 5]", id="another size"
        ),
        pytest.param([tensor("image", "UINT8", 4, 4), AGE], "got UINT8 of shape [4, 4]", id="no batch"),
        pytest.param(
            [IMAGE, tensor("age", "FP32", 3, 1)],
            "different numbers of records: {'image': 2, 'age': 3}",
            id="different numbers of records",
        ),
    ],
)
def test_wrong_inputs_are_named(tensors: list[Tensor], says: str) -> None:
    with pytest.raises(TensorMismatch) as caught:
        check_inputs(SIGNATURE, tensors, batched=True)
    assert says in str(caught.value)


def test_a_flood_of_names_is_not_repeated_to_the_caller() -> None:
    with pytest.raises(TensorMismatch) as caught:
        check_inputs(SIGNATURE, [tensor("n" * 1000 + str(n), "FP32", 1) for n in range(50)], batched=True)
    assert len(str(caught.value)) < 2000


def test_outputs_are_those_asked_for_or_all() -> None:
    assert check_outputs(SIGNATURE, []) == SIGNATURE.outputs
    assert check_outputs(SIGNATURE, ["probabilities"]) == SIGNATURE.outputs
    with pytest.raises(TensorMismatch, match="outputs are 'probabilities', asked for 'scores'"):
        check_outputs(SIGNATURE, ["scores"])


@pytest.mark.parametrize(
    "registered",
    [
        pytest.param(Signature(), id="nothing registered"),
        pytest.param(SIGNATURE, id="the same"),
        pytest.param(Signature(inputs=SIGNATURE.inputs[::-1]), id="another order"),
        pytest.param(Signature(outputs=(TensorSpec("probabilities", "FP32", (-1, -1)),)), id="less exact"),
    ],
)
def test_a_registration_that_agrees_is_fine(registered: Signature) -> None:
    check_registered(SIGNATURE, registered)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(TensorSpec("scores", "FP32", (-1, 3)), id="another name"),
        pytest.param(TensorSpec("probabilities", "FP64", (-1, 3)), id="another datatype"),
        pytest.param(TensorSpec("probabilities", "FP32", (-1, 4)), id="another size"),
        pytest.param(TensorSpec("probabilities", "FP32", (-1,)), id="another rank"),
    ],
)
def test_a_registration_that_contradicts_the_graph_is_refused(told: TensorSpec) -> None:
    with pytest.raises(InvalidModel, match="outputs of the graph are probabilities FP32"):
        check_registered(SIGNATURE, Signature(outputs=(told,)))


@pytest.mark.parametrize(
    ("inputs", "outputs", "batched"),
    [
        pytest.param([["batch", 2]], [["batch", 3]], True, id="one name"),
        pytest.param([["batch", 2]], [["unk__7", 3]], True, id="a name lost in the output"),
        pytest.param([[None, 2]], [[None, 3]], True, id="no names"),
        pytest.param([["a", 2], ["b", 2]], [["a", 3]], False, id="inputs of two names"),
        pytest.param([[1, 2]], [["batch", 3]], False, id="a fixed input"),
        pytest.param([["batch", 2]], [[3]], False, id="a fixed output"),
        pytest.param([[]], [[]], False, id="no dimensions"),
    ],
)
def test_records_are_put_together_only_along_one_dynamic_dimension(
    inputs: list[list[str | int | None]], outputs: list[list[str | int | None]], batched: bool
) -> None:
    assert may_batch(inputs, outputs) is batched

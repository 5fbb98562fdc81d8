"""A GPU that a process has lost, told from errors as the runtime and its users have reported them."""

import asyncio

import pytest

from lepton_inference.gpu import Gpu, fatal_error

WHILE_RUNNING = (
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running {kind} node. "
    "Name:'{name}' Status Message: {message}"
)
IN_A_CALL = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:129 bool onnxruntime::CudaCall(...) "
    "CUDA failure {code}: {text} ; GPU=0 ; hostname=gpu-7 ; "
    "file=/onnxruntime_src/onnxruntime/core/providers/cuda/gpu_data_transfer.cc ; line=73 ; "
    "expr=cudaMemcpyAsync(dst_data, src_data, bytes, cudaMemcpyHostToDevice); "
)
FATAL = {
    700: "an illegal memory access was encountered",
    710: "device-side assert triggered",
    719: "unspecified launch failure",
    214: "uncorrectable ECC error encountered",
    702: "the launch timed out and was terminated",
    999: "unknown error",
}
PASSING = {
    1: "invalid argument",
    2: "out of memory",
    3: "initialization error",
    98: "invalid device function",
    209: "no kernel image is available for execution on the device",
}


@pytest.mark.parametrize(("code", "text"), FATAL.items(), ids=map(str, FATAL))
def test_an_error_that_poisons_the_context_loses_the_gpu(code: int, text: str) -> None:
    in_a_call = IN_A_CALL.format(code=code, text=text)
    assert fatal_error(in_a_call) == f"CUDA failure {code}: {text}"
    while_running = WHILE_RUNNING.format(kind="Conv", name="/stem/Conv", message=in_a_call)
    assert fatal_error(while_running) == f"CUDA failure {code}: {text}"


@pytest.mark.parametrize(("code", "text"), PASSING.items(), ids=map(str, PASSING))
def test_an_error_of_one_run_does_not(code: int, text: str) -> None:
    assert fatal_error(IN_A_CALL.format(code=code, text=text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error cudaErrorIllegalAddress:an illegal memory access was encountered",
        "CUDA error executing cudaGetLastError(): unspecified launch failure",
        "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (an illegal memory access was encountered)",
    ],
)
def test_errors_without_a_code_are_known_by_their_words(text: str) -> None:
    assert fatal_error(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "onnxruntime::BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9",
        "CUDNN failure 3: CUDNN_STATUS_BAD_PARAM ; GPU=0 ; expr=cudnnSetTensorNdDescriptor()",
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x",
        "",
    ],
)
def test_other_errors_are_those_of_a_run(text: str) -> None:
    assert fatal_error(text) is None


def test_a_model_cannot_lose_the_gpu_by_the_names_of_its_nodes() -> None:
    name = "CUDA failure 700: an illegal memory access was encountered"
    error = WHILE_RUNNING.format(kind="Reshape", name=name, message="the input shape does not fit")
    assert fatal_error(error) is None


async def test_a_gpu_is_lost_once_and_from_any_thread() -> None:
    gpu = Gpu()
    assert not gpu.lost.is_set()
    for reason in ("the first", "the second"):
        await asyncio.to_thread(gpu.lose, reason)
    async with asyncio.timeout(30):
        await gpu.lost.wait()
    assert gpu.reason == "the first"

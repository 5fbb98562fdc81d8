"""An endpoint, as `lepton endpoint get` shows it to a person."""

import pytest

from lepton.endpoint.v1 import endpoint_pb2 as pb
from lepton_sdk.cli.endpoint import describe
from lepton_sdk.cli.output import Output


def test_it_tells_what_runs_each_version_and_how_much_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"models/m/versions/{number}" for number in (1, 2, 3)]
    endpoint = pb.Endpoint(
        name="endpoints/e",
        pool="default",
        targets=[pb.TrafficTarget(model_version=name, weight=1) for name in names],
        serving=[
            pb.ServingStatus(
                model_version=names[0],
                replica="a",
                state=pb.SERVING_STATE_READY,
                provider="CUDAExecutionProvider",
                provider_share=0.95,
            ),
            pb.ServingStatus(
                model_version=names[1], replica="a", state=pb.SERVING_STATE_FAILED, reason="a GPU is required"
            ),
        ],
    )
    describe(Output(json=False), endpoint, "")
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [names[0], "1", "a", "READY", "CUDAExecutionProvider", "95%"] in shown
    assert [names[1], "1", "a", "FAILED", "a", "GPU", "is", "required"] in shown
    assert shown[-1][:4] == [names[2], "1", "NOT", "LOADED"]

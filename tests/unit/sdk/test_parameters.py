"""Parameters of a search as they are typed."""

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from lepton_common.errors import InvalidField
from lepton_sdk.cli.parameters import read_parameter


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("a.b=log(1e-4,1e-1)", {"real": {"min": 1e-4, "max": 0.1, "log": True}}),
        (" a.b = uniform( 0.1 , 2 ) ", {"real": {"min": 0.1, "max": 2.0}}),
        ("a.b=int(16,256,step=16)", {"integer": {"min": "16", "max": "256", "step": "16"}}),
        ("a.b=int(-1, 8)", {"integer": {"min": "-1", "max": "8"}}),
        ("a.b=int(1,64,log)", {"integer": {"min": "1", "max": "64", "log": True}}),
        ("a.b=choice(relu,tanh)", {"choice": {"values": ["relu", "tanh"]}}),
        ("a.b=choice([32],[64, 32])", {"choice": {"values": [[32.0], [64.0, 32.0]]}}),
        ("a.b=choice(1e-3,0.5,2)", {"choice": {"values": [0.001, 0.5, 2.0]}}),
        ("a.b=choice(true,false)", {"choice": {"values": [True, False]}}),
    ],
    ids=str,
)
def test_a_domain_is_read(text: str, domain: dict[str, Any]) -> None:
    assert MessageToDict(read_parameter(text)) == {"path": "a.b", **domain}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "batch_size",
        "=log(1,2)",
        "batch_size=16",
        "batch_size=log(1,2",
        "batch_size=log(1)",
        "batch_size=log(a,b)",
        "batch_size=log([1],2)",
        "batch_size=range(1,2)",
        "batch_size=int(1)",
        "batch_size=int(1,2.5)",
        "batch_size=int(1,2,steps=1)",
        "batch_size=int(1,2,step=a)",
        "batch_size=int(1,1e400)",
        "batch_size=int(1,99999999999999999999)",
        "batch_size=choice()",
        "batch_size=choice({a: 1})",
        "batch_size=choice(a: 1)",
        "batch_size=choice([)",
        "batch_size=choice(!!python/name:os.system)",
        f"batch_size=choice({'[' * 600})",
    ],
    ids=lambda text: text[:40] or "nothing",
)
def test_what_is_no_domain_is_told_with_what_would_be(text: str) -> None:
    with pytest.raises(InvalidField, match=r"log\(MIN,MAX\)"):
        read_parameter(text)

"""Settings that do not go together are refused at the start."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lepton_inference.settings import Settings


def settings(**given: Any) -> Settings:
    needed = {
        "registry_address": "127.0.0.1:1",
        "run_directory": Path("/run"),
        "object_store_url": "file:///o",
    }
    return Settings.model_validate({**needed, **given})


def test_workers_need_the_transport_that_has_them() -> None:
    assert settings(workers=2).workers == 2
    assert settings(transport="grpc").workers == 0
    with pytest.raises(ValidationError, match="workers need the transport http2"):
        settings(transport="grpc", workers=2)

import io
import json
import logging
from collections.abc import Iterator

import pytest

from lepton_common.request_id import REQUEST_ID
from lepton_common.telemetry.logs import configure_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the root logger writes, at INFO."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # Set aside: configuring closes what it replaces, and pytest goes on with its own.
    root.handlers = []
    stream = io.StringIO()
    configure_logging("INFO", stream=stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)


def test_a_record_is_one_line_of_json(lines: io.StringIO) -> None:
    logging.getLogger("lepton.test").info("hello\n%s", "world", extra={"code": "OK", "duration_ms": 1.5})

    (line,) = lines.getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("+00:00")
    assert record == {
        "level": "INFO",
        "logger": "lepton.test",
        "message": "hello\nworld",
        "code": "OK",
        "duration_ms": 1.5,
    }


def test_a_record_tells_the_request_it_belongs_to(lines: io.StringIO) -> None:
    token = REQUEST_ID.set("abc")
    logging.getLogger("lepton.test").warning("hello")
    REQUEST_ID.reset(token)

    assert json.loads(lines.getvalue())["request_id"] == "abc"


def test_an_exception_is_told_whole_in_the_same_line(lines: io.StringIO) -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logging.getLogger("lepton.test").exception("failed")

    (line,) = lines.getvalue().splitlines()
    assert "RuntimeError: boom" in json.loads(line)["exception"]
    assert "Traceback" in json.loads(line)["exception"]


def test_what_is_no_json_is_told_as_text(lines: io.StringIO) -> None:
    logging.getLogger("lepton.test").info("hello", extra={"thing": {1}})

    assert json.loads(lines.getvalue())["thing"] == "{1}"


def test_records_below_the_level_are_left_out(lines: io.StringIO) -> None:
    logging.getLogger("lepton.test").debug("hello")

    assert lines.getvalue() == ""

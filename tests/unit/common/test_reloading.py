import logging
import os
from pathlib import Path

import pytest

from lepton_common.reloading import Reloading


def replace(path: Path, text: str) -> None:
    """Puts a new file in the place of the old one, as renewing programs do."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


@pytest.fixture
def number(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


def test_a_replaced_file_is_read_again(number: Path) -> None:
    value = Reloading([number], lambda: int(number.read_text()))
    assert value.get() == 1

    replace(number, "2")

    assert value.get() == 2


def test_a_file_that_stays_is_read_once(number: Path) -> None:
    reads: list[str] = []
    value = Reloading([number], lambda: reads.append(number.read_text()))

    value.get()
    value.get()

    assert reads == ["1"]


def test_a_swapped_link_is_a_change(number: Path, tmp_path: Path) -> None:
    # How Kubernetes renews a mounted Secret.
    link, other = tmp_path / "link", tmp_path / "other"
    link.symlink_to(number)
    value = Reloading([link], lambda: int(link.read_text()))
    other.write_text("2")

    (tmp_path / "link.new").symlink_to(other)
    os.replace(tmp_path / "link.new", link)

    assert value.get() == 2


def test_a_change_for_the_worse_is_logged_once_and_the_last_good_value_stays(
    number: Path, caplog: pytest.LogCaptureFixture
) -> None:
    value = Reloading([number], lambda: int(number.read_text()))

    replace(number, "not a number")

    assert [value.get(), value.get()] == [1, 1]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    replace(number, "3")
    assert value.get() == 3


def test_a_file_that_vanishes_keeps_its_value(number: Path) -> None:
    value = Reloading([number], lambda: int(number.read_text()))

    number.unlink()

    assert value.get() == 1


def test_a_bad_file_at_the_start_is_an_error(number: Path) -> None:
    number.write_text("not a number")

    with pytest.raises(ValueError, match="not a number"):
        Reloading([number], lambda: int(number.read_text()))
